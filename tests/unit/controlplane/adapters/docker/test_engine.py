"""An engine that is not there, and the engine's stamps on this machine's clock."""

from __future__ import annotations

import gc
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.adapters.docker.engine import Engine, EngineUnavailable, epoch_s, monotonic_s
from tests.waiting import eventually


# Docker's client drops a socket that could not connect without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_engine_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/no.sock")
    with pytest.raises(EngineUnavailable, match="No such file or directory") as caught:
        await engine.call(lambda client: client.version())
    assert caught.value.retry
    del caught
    gc.collect()


def test_stamps_with_nine_decimals_are_read() -> None:
    assert epoch_s("1970-01-01T00:00:10.500000000Z") == 10.5
    assert epoch_s("1970-01-01T01:00:10+01:00") == 10.0
    assert epoch_s("0001-01-01T00:00:00Z") == 0.0


def test_a_moment_has_one_place_on_the_monotonic_clock() -> None:
    stamp = epoch_s(datetime.now(UTC).isoformat().replace("+00:00", "Z"))
    first = monotonic_s(stamp)
    assert monotonic_s(stamp) == first
    assert 0 <= time.monotonic() - first < 1.0


def test_a_moment_is_never_in_the_future() -> None:
    assert monotonic_s(time.time() + 3600) <= time.monotonic()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_engine_that_hangs_gets_no_second_request_until_the_first_is_over(
    tmp_path: Path,
) -> None:
    engine = Engine(f"unix://{tmp_path}/hung.sock", answer_s=0.05)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(f"{tmp_path}/hung.sock")
        hung.listen()
        with pytest.raises(EngineUnavailable, match=r"no answer for 0\.05 s"):
            await engine.call(lambda client: client.version())
        with pytest.raises(EngineUnavailable, match="earlier request"):
            await engine.call(lambda client: client.version())

    async def refused() -> bool:
        with pytest.raises(EngineUnavailable) as caught:
            await engine.call(lambda client: client.version())
        return "refused" in caught.value.sentence

    assert await eventually(refused)
    gc.collect()
