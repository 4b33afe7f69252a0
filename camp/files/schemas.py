"""What files look like over HTTP."""

from datetime import datetime
from uuid import UUID

import msgspec


class FileOut(msgspec.Struct, frozen=True):
    """A file without its content: size in bytes, sha256 in hex, times in UTC."""

    id: UUID
    project_id: UUID
    user_id: UUID | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime
