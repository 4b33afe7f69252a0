"""What instances start with, compared without being told: keyed hashes of variables."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256

from controlplane.domain.fleet import Host

# Enough to tell two values apart; nobody chooses values to collide with a key that he lacks.
DIGITS = 12
Prints = tuple[tuple[str, str], ...]


def prints(key: str, environ: Mapping[str, str]) -> Prints:
    """(name, keyed hash) of each variable by name; nothing while there is no key."""
    return _prints(key, tuple(sorted(environ.items()))) if key and environ else ()


# The same variables are looked at again and again, each second by every agent.
@lru_cache(maxsize=64)
def _prints(key: str, variables: tuple[tuple[str, str], ...]) -> Prints:
    return tuple((name, _keyed(key, f"{name}={value}")) for name, value in variables)


@lru_cache(maxsize=4096)
def whole(found: Prints) -> str:
    """One text that is equal when all variables are; empty when nothing is known."""
    return sha256(repr(found).encode()).hexdigest()[:DIGITS] if found else ""


def _keyed(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), sha256).hexdigest()[:DIGITS]


def differences(hosts: Iterable[Host]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(variable, hosts) wherever hosts do not agree: those that differ from most of them.

    A silent host says nothing, and neither does an agent too old to know. Agents of different
    releases may know different variables, so only those of one release are compared.
    """
    heard = [host for host in hosts if host.environ and not host.silent]
    if len({host.environ for host in heard}) <= 1:
        return ()
    found: list[tuple[str, tuple[str, ...]]] = []
    for version in sorted({host.agent_version for host in heard}):
        known = {h.name: dict(h.environ) for h in heard if h.agent_version == version}
        for variable in sorted({name for environ in known.values() for name in environ}):
            held = {name: environ.get(variable, "") for name, environ in known.items()}
            if odd := _minority(held):
                found.append((variable, odd))
    return tuple(found)


def _minority(held: Mapping[str, str]) -> tuple[str, ...]:
    values = list(held.values())
    usual = max(values, key=values.count)
    return tuple(name for name, value in held.items() if value != usual)
