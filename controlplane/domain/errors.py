"""What can go wrong in the control plane: a code, a sentence, and whether retrying helps."""

from __future__ import annotations


class ControlError(Exception):
    """Base of all control-plane errors."""

    code = "control_error"
    retry = False

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Unavailable(ControlError):
    """A server we depend on did not answer; the same call may work later."""

    code = "unavailable"
    retry = True


class StoreUnavailable(Unavailable):
    """PostgreSQL did not answer."""

    code = "store_unavailable"


class BusUnavailable(Unavailable):
    """Redis did not answer."""

    code = "bus_unavailable"


class AgentSilent(Unavailable):
    """The agent of a host did not answer in time."""

    code = "agent_silent"


class RuntimeUnavailable(Unavailable):
    """What runs a host's instances did not answer, or not as it should; they may still serve."""

    code = "runtime_unavailable"


class Fenced(ControlError):
    """A newer leader exists: step down at once, nothing was written."""

    code = "fenced"


class Stale(ControlError):
    """What the plan was made from has changed: look again, nothing was written."""

    code = "stale"
    retry = True


class TruthWentBack(ControlError):
    """PostgreSQL says less than was known: restored, or failed over without its last commits."""

    code = "truth_went_back"
    retry = True


class Skewed(ControlError):
    """An agent and a leader are of versions too far apart to work together."""

    code = "protocol_skew"


class NotFound(ControlError):
    """An environment, release, rollout or host of that name is not known."""

    code = "not_found"


class Conflict(ControlError):
    """The request does not fit the present state."""

    code = "conflict"


class Invalid(ControlError):
    """The input is wrong; the sentence names the field and the remedy."""

    code = "invalid"


class NotAllowed(ControlError):
    """No valid token was presented."""

    code = "not_allowed"


class TooManyFailures(ControlError):
    """Too many unknown tokens came from one place; known ones pass all the same."""

    code = "too_many_failures"
    retry = True


class BundleError(ControlError):
    """A release bundle is missing, damaged, or not the one that was announced."""

    code = "bundle"


class HostTaken(ControlError):
    """Another agent already works for this host."""

    code = "host_taken"


class BrokenInvariant(ControlError):
    """A plan would break a safety property; it was not carried out."""

    code = "broken_invariant"
