"""What the operational routes say."""

from typing import Annotated, Literal

import msgspec


class Index(msgspec.Struct, frozen=True):
    """The service in three facts."""

    name: str
    version: str
    links: dict[str, str]


class Live(msgspec.Struct, frozen=True):
    """The process runs its event loop."""

    status: Literal["live"] = "live"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this instance can take traffic, which build of camp it is, and what it has running.

    All that the agent of a host wants to know, in one answer; counts as in Health.
    """

    status: Literal["ready", "unready", "draining"]
    reason: str | None
    version: str
    digest: str
    config_hash: str
    instance: str
    streams: int
    requests: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How this instance is; `requests` leaves out probes and streams.

    `storage` is local when files lie in a folder of this host, which other hosts do not see.
    """

    status: Literal["ok", "degraded", "draining"]
    version: str
    digest: str
    config_hash: str
    instance: str
    uptime_s: float
    database: Literal["ok", "down"]
    redis: Literal["ok", "down", "off"]
    storage: Literal["local", "shared"]
    schema: str
    streams: int
    event_streams: int
    requests: int
    draining: bool


class DrainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long chat streams may run on."""

    deadline_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Draining(msgspec.Struct, frozen=True):
    """The drain has started; what is still running."""

    draining: bool
    streams: int
    requests: int
