"""What a gate says, and how it becomes the one blocker of a rollout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.domain.commands import Command, allowed
from controlplane.domain.model import Blocker, Rollout


@dataclass(frozen=True, slots=True)
class Wait:
    """A gate that is closed for now; `detail` says how far it has come, and changes."""

    code: str
    sentence: str
    next_actions: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A gate that will not open for this release."""

    sentence: str


def blocker(wait: Wait, rollout: Rollout, now: float) -> Blocker:
    """The wait as the rollout's blocker; `since` stays while the same thing is waited for.

    A command that the rollout would refuse in its present state is no next action.
    """
    last = rollout.blocker
    # Releases before wrote the detail into the sentence.
    if last is not None and last.code == wait.code and last.sentence.startswith(wait.sentence):
        return replace(last, sentence=wait.sentence, detail=wait.detail)
    refused = set(Command) - set(allowed(rollout))
    actions = tuple(a for a in wait.next_actions if a not in refused)
    return Blocker(wait.code, wait.sentence, now, actions, wait.detail)
