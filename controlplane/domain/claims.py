"""Whose host it is, when two agents were started under one name."""

from __future__ import annotations

from controlplane.domain.records import CLAIM_VALID_S, HostRow, Rival


def claim(row: HostRow, agent: str, silence_s: float, now: float) -> tuple[str, Rival | None]:
    """(holder, rival) after this agent asked for the host; `now` is database time.

    A host passes on once its holder was silent, and the claimant in contact, for all of
    `silence_s`: after an outage of the database everybody was silent, and that says nothing.
    """
    if row.holder in ("", agent):
        return agent, row.rival
    rival = row.rival
    asking = rival is not None and now - rival.at <= CLAIM_VALID_S
    if rival is None or not asking:
        return row.holder, Rival(agent, now, now)
    if rival.agent != agent:
        return row.holder, rival
    if now - row.seen_at > silence_s and now - rival.since > silence_s:
        return agent, None
    return row.holder, Rival(agent, rival.since, now)


def claimed_too(row: HostRow, now: float) -> str:
    """The id of a second agent that asks for this host at present; empty when there is none."""
    rival = row.rival
    asks = rival is not None and now - rival.at <= CLAIM_VALID_S and rival.agent != row.holder
    return rival.agent if rival is not None and asks else ""
