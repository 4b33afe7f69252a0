"""Where files are kept, as the settings name it: a folder, a bucket or a container."""

from pathlib import Path
from urllib.parse import urlsplit

SHARED = ("s3", "az")


def parse_url(raw: str) -> str:
    """The URL, a folder's made absolute. Raises ValueError with a sentence."""
    parts = urlsplit(raw)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return f"file://{Path(parts.path).absolute()}"
    if parts.scheme in SHARED and parts.netloc and not parts.query:
        return raw
    raise ValueError("does not name a folder, a bucket or a container")


def parse_options(raw: str) -> tuple[str, ...]:
    """NAME=VALUE options of the provider, by their names in lower case. Raises ValueError."""
    options = tuple(option.strip() for option in raw.split(",") if option.strip())
    for option in options:
        name, equals, _ = option.partition("=")
        if not equals or not name.startswith(("aws_", "azure_")):
            raise ValueError("has an option that is not aws_NAME=VALUE or azure_NAME=VALUE")
    return options


def options_fault(url: str, options: tuple[str, ...]) -> str | None:
    """What is wrong with options for this storage; None when they are of its provider."""
    prefix = {"s3": "aws_", "az": "azure_"}.get(urlsplit(url).scheme)
    wrong = [option for option in options if prefix is None or not option.startswith(prefix)]
    if not wrong:
        return None
    name = wrong[0].partition("=")[0]
    return f"names {name}, which {url.partition(':')[0]}:// of STORAGE_URL does not know"


def folder_of(url: str) -> Path | None:
    """The local folder; None for storage that several hosts share."""
    return Path(url.removeprefix("file://")) if url.startswith("file://") else None
