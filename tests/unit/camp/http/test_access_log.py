"""Which requests the log is spared."""

from __future__ import annotations

import pytest

from camp.http.access_log import quiet
from controlplane.router.watching import LogController

LOGS = LogController.read_log.paths


def test_reading_a_log_does_not_write_into_it() -> None:
    (route,) = LOGS
    assert quiet("/control/v1/hosts/local/host-a/slots/1/logs", route)


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_probes_are_quiet(path: str) -> None:
    assert quiet(path, path)


@pytest.mark.parametrize("path", ["/api/v1/chats", "/control/v1/rollouts", "/api/v1/projects"])
def test_what_users_and_operators_do_is_logged(path: str) -> None:
    assert not quiet(path, path)
