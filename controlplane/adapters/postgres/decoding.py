"""What another release may have written: read where it can be, refused with a sentence where not.

Unknown fields are passed over. An unknown value (a phase, a goal) is not guessed at: in a report
it makes that one host unread, in what leaders write it is refused as a whole.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from controlplane.domain.errors import Skewed
from controlplane.domain.goals import HostDesired
from controlplane.domain.protocol import require_understood
from controlplane.domain.records import Snapshot
from controlplane.domain.reports import HostReport, Unread


class _Spoken(msgspec.Struct):
    """What every release says in the same way."""

    host: str = ""
    protocol: int = 0
    agent_version: str = ""


class _Host(msgspec.Struct):
    name: str
    report: msgspec.Raw


class _Hosts(msgspec.Struct):
    hosts: list[_Host]


_snapshots = msgspec.json.Decoder(Snapshot)
_hosts = msgspec.json.Decoder(_Hosts)
_reports: msgspec.json.Decoder[HostReport | None] = msgspec.json.Decoder(HostReport | None)
_desired = msgspec.json.Decoder(HostDesired)
_spoken = msgspec.json.Decoder(_Spoken)


def read_snapshot(raw: str) -> Snapshot:
    """One look. Raises Skewed when more than a report in it cannot be read."""
    try:
        return _snapshots.decode(raw)
    except msgspec.ValidationError as error:
        return _without_unread(raw, error)


def _without_unread(raw: str, error: msgspec.ValidationError) -> Snapshot:
    """The look with those reports set aside that cannot be read: rare, so it may read twice."""
    told = {host.name: read_report(bytes(host.report)) for host in _hosts.decode(raw).hosts}
    unread = {name: said for name, said in told.items() if isinstance(said, Unread)}
    loose = msgspec.json.decode(raw)
    for host in loose["hosts"]:
        if host["name"] in unread:
            host["report"] = None
    try:
        seen = msgspec.convert(loose, Snapshot)
    except msgspec.ValidationError:
        raise Skewed(
            f"PostgreSQL holds what this program cannot read ({error}): a newer leader wrote it."
            " Replace this program by one of the leader's release; nothing is decided here until"
            " then."
        ) from error
    rows = tuple(replace(row, unread=unread.get(row.name)) for row in seen.hosts)
    return replace(seen, hosts=rows)


def read_report(raw: bytes) -> HostReport | Unread | None:
    """An agent's report, or what can be said of one that cannot be read; None: none yet."""
    try:
        return _reports.decode(raw)
    except msgspec.ValidationError as error:
        spoken = _spoken_of(raw)
        return Unread(spoken.protocol, spoken.agent_version, str(error))


def read_desired(raw: str) -> HostDesired:
    """A host's goals; the protocol is read first. Raises Skewed."""
    spoken = _spoken_of(raw)
    require_understood(spoken.host, spoken.protocol)
    try:
        return _desired.decode(raw)
    except msgspec.ValidationError as error:
        raise Skewed(
            f"The goals of {spoken.host} cannot be read by this agent ({error}): a newer leader"
            f" wrote them. Replace the agent of {spoken.host} by one of the leader's release;"
            " nothing is changed here until then."
        ) from error


def _spoken_of(raw: bytes | str) -> _Spoken:
    try:
        return _spoken.decode(raw)
    except msgspec.ValidationError:
        return _Spoken()
