"""A systemd unit for an agent, as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

PLAIN = re.compile(r"[\w@:+,./=-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unit:
    """What differs between hosts; `variables` is the path of the file with the settings."""

    command: tuple[str, ...]
    environment: str
    host: str
    user: str
    variables: str
    docker: bool = False


def rendered(unit: Unit) -> str:
    """The unit's file."""
    engine = " docker.service" if unit.docker else ""
    group = "SupplementaryGroups=docker\n" if unit.docker else ""
    return f"""\
[Unit]
Description=camp agent of {unit.host} in {unit.environment}
Wants=network-online.target
After=network-online.target{engine}
# However often it ends, it is started again.
StartLimitIntervalSec=0

[Service]
Type=exec
User={unit.user}
{group}EnvironmentFile={unit.variables}
ExecStart={" ".join(_word(word) for word in unit.command)}
Restart=always
RestartSec=2
# Only the agent is stopped. Its instances serve on, and the next agent adopts them.
KillMode=process
# An instance that the kernel kills for its memory takes nothing else along.
OOMPolicy=continue
TimeoutStopSec=30
LimitNOFILE=65536
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""


def _word(word: str) -> str:
    """One argument of ExecStart=, where % and $ have a meaning of their own."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if PLAIN.fullmatch(word):
        return escaped
    inner = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'
