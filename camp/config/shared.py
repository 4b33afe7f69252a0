"""Settings that are to be the same for all instances of an environment."""

from __future__ import annotations

from camp.config.settings import VARIABLES, written

# What names one instance, or is where it listens.
OWN = frozenset({"HOST", "PORT", "CAMP_INSTANCE", "CAMP_DIGEST", "CAMP_CONFIG_HASH"})


def shared() -> dict[str, str | None]:
    """Their names with the defaults, as a process gets them; None for what has no default."""
    return {
        variable.name: None
        if variable.default is None
        else written(variable.parse(variable.default))
        for variable in VARIABLES
        if variable.name not in OWN
    }
