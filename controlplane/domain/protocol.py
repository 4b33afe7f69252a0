"""Which goals and reports a program understands."""

from __future__ import annotations

from controlplane.domain.errors import Skewed

# Which goals and reports a program understands. Leaders and agents of neighbouring numbers work
# together; raise it when an agent of the number before could misread what is written now.
PROTOCOL = 1


def skewed(theirs: int, ours: int = PROTOCOL) -> bool:
    """Whether two programs are too far apart to believe each other."""
    return abs(theirs - ours) > 1


def require_understood(host: str, protocol: int) -> None:
    """Raises Skewed when the goals were written by a leader too far from this program."""
    if skewed(protocol):
        raise Skewed(
            f"The leader speaks protocol {protocol} and this agent {PROTOCOL}, and only"
            f" neighbouring ones understand each other. Replace the agent of {host} by one"
            " of the leader's release; nothing is changed here until then."
        )
