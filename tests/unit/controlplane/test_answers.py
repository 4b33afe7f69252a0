"""An error crosses the wire as what it was."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from controlplane.answers import BY_CODE, refusal
from controlplane.domain import errors
from controlplane.domain.errors import ControlError
from controlplane.wire import Problem


def answer(status: int, code: str) -> httpx.Response:
    body = msgspec.json.encode(Problem(status=status, code=code, detail="Why."))
    return httpx.Response(status, content=body, request=httpx.Request("GET", "http://camp.test/"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("protocol_skew", errors.Skewed),
        ("truth_went_back", errors.TruthWentBack),
        ("host_taken", errors.HostTaken),
        ("bus_unavailable", errors.BusUnavailable),
    ],
)
def test_error_keeps_its_kind_whatever_the_status(code: str, kind: type[ControlError]) -> None:
    assert type(refusal(answer(503, code))) is kind


def test_unknown_code_is_told_by_its_status() -> None:
    assert "registry_denied" not in BY_CODE
    assert type(refusal(answer(409, "registry_denied"))) is errors.Conflict


def test_codes_are_of_one_error_each() -> None:
    kinds = [
        k for k in vars(errors).values() if isinstance(k, type) and k.__module__ == errors.__name__
    ]
    assert len(BY_CODE) == len(kinds)
