"""What an environment may say about itself: each problem names its field and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite
from typing import Any

from controlplane.domain.bounds import immovable
from controlplane.domain.errors import Invalid
from controlplane.domain.follow import FIELDS, Follow, follow_of
from controlplane.domain.model import MOST_INSTANCES, Policy
from controlplane.domain.route import EVERYTHING, ROUTE_FIELDS, Route, route_of

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
PER_CENT = re.compile(r"(\d{1,3})%")
URL = re.compile(r"https?://[^\s/]+(/\S*)?")
ENVIRONMENT_FIELDS = ("hosts", "edges", "policy", "follow", "route")
MAY_BE_ZERO = frozenset({"min_healthy_s", "bake_s", "drain_deadline_s"})
LEAST_SILENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Draft:
    """An environment as someone asked for it, checked but not yet stored."""

    name: str
    hosts: tuple[str, ...]
    edges: tuple[str, ...]
    policy: Policy
    follow: Follow | None = None
    route: Route = EVERYTHING


def draft(name: str, table: Mapping[str, object]) -> Draft:
    """Check a parsed `[environments.NAME]` table. Raises Invalid with every problem found."""
    problems = _unknown(table, ENVIRONMENT_FIELDS, "")
    if not NAME.fullmatch(name):
        problems.append(_bad_name("name", name))
    hosts = _texts(table, "hosts", problems)
    problems += [_bad_name("hosts", host) for host in hosts if not NAME.fullmatch(host)]
    edges = _texts(table, "edges", problems)
    problems += [
        f"edges: {edge!r} is no URL; write the edge's API address, such as http://127.0.0.1:8080."
        for edge in edges
        if not URL.fullmatch(edge)
    ]
    policy = _policy(table.get("policy", {}), len(hosts), problems)
    rule = table.get("follow")
    if isinstance(rule, Mapping):
        problems += _unknown(rule, FIELDS, "follow.")
    follow = follow_of(rule, problems)
    way = table.get("route")
    if isinstance(way, Mapping):
        problems += _unknown(way, ROUTE_FIELDS, "route.")
    route = route_of(way, problems)
    if problems:
        raise Invalid(f"Environment {name!r}: " + " ".join(problems))
    return Draft(name, hosts, tuple(edge.rstrip("/") for edge in edges), policy, follow, route)


def _bad_name(field: str, name: str) -> str:
    return (
        f"{field}: {name!r} is not a name; use up to 40 lower-case letters, digits and hyphens, "
        "a letter first."
    )


def _unknown(table: Mapping[str, object], known: tuple[str, ...], prefix: str) -> list[str]:
    problems = []
    for field in table:
        if field not in known:
            close = get_close_matches(field, known, 1)
            remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
            problems.append(f"{prefix}{field}: there is no such field; {remedy}")
    return problems


def _texts(table: Mapping[str, object], field: str, problems: list[str]) -> tuple[str, ...]:
    given = table.get(field)
    if not isinstance(given, list | tuple) or not given:
        problems.append(f'{field}: give at least one, as in {field} = ["..."].')
        return ()
    texts = tuple(text for text in given if isinstance(text, str))
    if len(texts) != len(given):
        problems.append(f"{field}: every entry must be text in quotes.")
    if len(set(texts)) != len(texts):
        problems.append(f"{field}: an entry is there twice; remove one.")
    return texts


def _policy(table: object, hosts: int, problems: list[str]) -> Policy:
    if not isinstance(table, Mapping):
        problems.append("policy: must be a table, as in [environments.NAME.policy].")
        return Policy()
    known = {field.name: field.default for field in fields(Policy)}
    found = _unknown(table, tuple(known), "policy.")
    values = {name: value for name, value in table.items() if name in known}
    for name, value in values.items():
        remedy = _check(name, known[name])(value)
        if remedy:
            found.append(f"policy.{name}: {value!r} does not do; {remedy}.")
    problems += found
    if found:
        return Policy()
    typed: dict[str, Any] = {name: _typed(known[name], value) for name, value in values.items()}
    policy = Policy(**typed)
    if problem := immovable(policy, hosts):
        problems.append(problem)
    return policy


def _typed(default: object, value: object) -> object:
    if isinstance(default, StrEnum):
        return type(default)(str(value))
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    return value


def _check(name: str, default: object) -> Callable[[object], str]:
    """The check that fits a policy field: it returns the remedy, or "" when the value is good."""
    match default:
        case _ if name in ("max_surge", "max_unavailable", "max_failures"):
            return _amount(0)
        case _ if name == "batch_size":
            return _amount(1)
        case _ if name == "smoke_url":
            return _url_or_nothing
        case StrEnum():
            return _one_of(type(default))
        case bool():
            return lambda value: "" if isinstance(value, bool) else "write true or false"
        case float():
            return _seconds(name)
        case _:
            most = MOST_INSTANCES if name == "instances_per_host" else None
            return _whole(0 if name == "max_restarts" else 1, most)


def _amount(least: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        number: object = value
        if isinstance(value, str):
            share = PER_CENT.fullmatch(value)
            number = int(share[1]) if share and int(share[1]) <= 100 else None
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            return f'write a count from {least} or a share from "{least}%" to "100%"'
        return ""

    return check


def _seconds(name: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return "write seconds as a number"
        if name == "host_silence_s" and value < LEAST_SILENCE_S:
            return f"agents report once a second, so write at least {LEAST_SILENCE_S:g}"
        if name == "edge_silence_s" and value < LEAST_SILENCE_S:
            return f"edges may take a second to follow, so write at least {LEAST_SILENCE_S:g}"
        if value < 0 or (value == 0 and name not in MAY_BE_ZERO):
            return "write seconds above 0"
        return ""

    return check


def _whole(least: int, most: int | None = None) -> Callable[[object], str]:
    def check(value: object) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        good = good and (most is None or int(str(value)) <= most)
        return (
            "" if good else f"write a whole number from {least}" + (f" to {most}" if most else "")
        )

    return check


def _url_or_nothing(value: object) -> str:
    good = isinstance(value, str) and (not value or URL.fullmatch(value))
    return "" if good else 'write the URL that users call, as in "http://127.0.0.1:8000", or ""'


def _one_of(known: type[StrEnum]) -> Callable[[object], str]:
    return lambda value: "" if value in tuple(known) else f"write {' or '.join(known)}"
