"""Which goals and reports a program understands."""

from __future__ import annotations

# Which goals and reports a program understands. Leaders and agents of neighbouring numbers work
# together; raise it when an agent of the number before could misread what is written now.
PROTOCOL = 1


def skewed(theirs: int, ours: int = PROTOCOL) -> bool:
    """Whether two programs are too far apart to believe each other."""
    return abs(theirs - ours) > 1
