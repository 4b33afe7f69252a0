"""Strong entity tags, and the comparison that keeps two writers from undoing each other."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from litestar.params import HeaderParameter

from camp.errors import PreconditionFailed

HEADER = "ETag"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description="The ETag that you read; 412 if it is old."),
]


def etag(id_: UUID, version: int) -> str:
    """The tag of one version of a row."""
    return f'"{id_.hex}-{version}"'


def etag_at(id_: UUID, changed_at: datetime) -> str:
    """The tag of a row that knows when it was changed last, to the microsecond."""
    return etag(id_, (changed_at - EPOCH) // MICROSECOND)


def matches(header: str | None, current: str) -> bool:
    """Whether an If-Match or If-None-Match header names this tag; no header names none."""
    if header is None:
        return False
    return header.strip() == "*" or current in {tag.strip() for tag in header.split(",")}


def require_match(if_match: str | None, current: str) -> None:
    """Raises PreconditionFailed when If-Match names another version; no header asks nothing."""
    if if_match is not None and not matches(if_match, current):
        raise changed_since()


def changed_since() -> PreconditionFailed:
    """The error for a change to something that is no longer what the caller read."""
    return PreconditionFailed(
        "It was changed since you read it: If-Match names another version. Get it again,"
        " apply your change to what it is now, and send the new ETag."
    )
