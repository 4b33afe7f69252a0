"""What runs look like over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from camp.runs.models import State

KindName = Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern=r"^[a-z_]+$")]


class NewRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Work to do; `input` depends on the kind: `echo` (text, steps, delay_ms), `summarise_chat`
    (chat_id)."""

    kind: KindName
    input: dict[str, Any]


class RunFault(msgspec.Struct, frozen=True):
    """Why the last attempt failed; `retryable` says whether another run may succeed."""

    code: str
    detail: str
    retryable: bool


class RunOut(msgspec.Struct, frozen=True):
    """A run; times are UTC. `attempt` counts from 1, 0 before the first; what has not ended by
    `expires_at` fails."""

    id: UUID
    kind: str
    input: dict[str, Any]
    state: State
    attempt: int
    attempts_max: int
    steps_done: int
    steps_total: int | None
    result: dict[str, Any] | None
    error: RunFault | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime

    @property
    def ended(self) -> bool:
        return self.state not in {"waiting", "running"}
