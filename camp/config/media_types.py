"""The kinds of files that an instance takes."""

# What a GenAI back office reads. Nothing that a browser would run.
_OFFICE = "application/vnd.openxmlformats-officedocument"
TYPES = (
    "application/json",
    "application/pdf",
    f"{_OFFICE}.presentationml.presentation",
    f"{_OFFICE}.spreadsheetml.sheet",
    f"{_OFFICE}.wordprocessingml.document",
    "application/zip",
    "audio/mpeg",
    "audio/wav",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/csv",
    "text/markdown",
    "text/plain",
    "video/mp4",
)


def parse_types(raw: str) -> tuple[str, ...]:
    """Media types in lower case, separated by commas. Raises ValueError."""
    types = tuple(kind.strip().lower() for kind in raw.split(",") if kind.strip())
    wrong = [kind for kind in types if kind.count("/") != 1 or "*" in kind]
    if wrong or not types:
        raise ValueError(f"has {(wrong or [raw])[0]!r}, which is not a media type")
    return types
