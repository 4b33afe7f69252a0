"""Who may come in, as far as the settings decide it: what a mode of AUTH_MODE needs."""

from collections.abc import Mapping
from typing import Any

from camp.config.production import KEY_REMEDY, WEAK, is_here, weak

# Public on purpose, and so worth something only where nobody else can send it.
DEFAULT_MOCK_TOKEN = "camp-dev-token"  # noqa: S105 - see above
# Where people work on camp itself, rather than with it.
WORKBENCHES = frozenset({"development", "local"})
PUBLIC = (
    "DEV_MOCK_TOKEN is public unless you set it, and opens everything: it is taken with"
    " ENVIRONMENT=local on a loopback HOST only. Set a DEV_MOCK_TOKEN of your own, or"
    " AUTH_MODE=production."
)
GUESSABLE = f"DEV_MOCK_TOKEN {WEAK}, and others can try it here."


def sign_in_faults(given: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """What the chosen AUTH_MODE cannot do without, in any environment.

    A value is None when it is unset or could not be read.
    """
    if values["auth_mode"] == "production":
        return _directory_faults(given)
    if values["auth_mode"] is None or values["environment"] in {None, "production"}:
        return []  # told already, or refused altogether
    return _token_faults(values)


def _directory_faults(given: Mapping[str, str]) -> list[str]:
    needs = {
        "ENTRA_TENANT_ID": "Set the id of your directory in Entra ID.",
        "ENTRA_AUDIENCE": "Set the application id of the API in Entra ID.",
    }
    return [
        f"{name} is not set, and AUTH_MODE=production needs it. {remedy}"
        for name, remedy in needs.items()
        if name not in given
    ]


def _token_faults(values: Mapping[str, Any]) -> list[str]:
    """Who has the token is a SYSTEM_ADMIN: the public one is for this machine alone."""
    environment, token = values["environment"], values["dev_mock_token"]
    on_loopback, at_work = is_here(values["host"] or ""), environment in WORKBENCHES
    if token == DEFAULT_MOCK_TOKEN and not (on_loopback and environment == "local"):
        return [f"{PUBLIC} {KEY_REMEDY}"]
    if token != DEFAULT_MOCK_TOKEN and weak(token) and not (on_loopback and at_work):
        return [f"{GUESSABLE} {KEY_REMEDY}"]
    return []
