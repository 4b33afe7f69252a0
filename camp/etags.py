"""Strong entity tags, and the comparison that keeps two writers from undoing each other."""

from uuid import UUID

from camp.errors import PreconditionFailed

HEADER = "ETag"


def etag(id_: UUID, version: int) -> str:
    """The tag of one version of a row."""
    return f'"{id_.hex}-{version}"'


def matches(header: str | None, current: str) -> bool:
    """Whether an If-Match or If-None-Match header names this tag; no header names none."""
    if header is None:
        return False
    return header.strip() == "*" or current in {tag.strip() for tag in header.split(",")}


def require_match(if_match: str | None, current: str) -> None:
    """Raises PreconditionFailed when If-Match names another version; no header asks nothing."""
    if if_match is not None and not matches(if_match, current):
        raise PreconditionFailed(
            "It was changed since you read it: If-Match names another version. Get it again,"
            " apply your change to what it is now, and send the new ETag."
        )
