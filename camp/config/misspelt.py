"""Variables that look like a setting and are none: what they say would go unheard."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Of other programs, or of parts of camp that read them themselves.
OTHERS = ("OTEL_", "AZURE_TENANT")
# HOST is near HOSTNAME, PORT near PORTS: short names are too near to too many.
LEAST_CHARS = 8
NEAR = 0.88


def misspelt(given: Iterable[str], settings: Sequence[str]) -> list[str]:
    """A fault for each name that is almost a setting's."""
    known = set(settings)
    strangers = (name for name in given if name not in known and not name.startswith(OTHERS))
    return [
        f"{name} is no setting: {nearest[0]} is meant, or a variable of another name."
        for name in strangers
        if len(name) >= LEAST_CHARS
        and (nearest := get_close_matches(name.upper(), settings, n=1, cutoff=NEAR))
    ]
