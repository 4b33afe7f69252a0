"""What only real processes can show: marks, locks, crashes of the agent in bad moments."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from controlplane.adapters.process import state as process_state
from controlplane.adapters.process.jobs import JobRecord
from controlplane.adapters.process.runtime import ProcessRuntime, SlotRecord
from controlplane.domain.errors import HostTaken
from controlplane.domain.goals import Job, JobState
from tests.hosts import RealGround, image, only, processes, pulled, real_ground
from tests.standin import bundle_of
from tests.waiting import eventually, wait_until


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[RealGround]:
    with real_ground(tmp_path) as made:
        yield made


async def started(ground: RealGround, **behaviour: Any) -> int:
    """Start an instance in slot 1; its pid."""
    await ground.runtime.start(1, await pulled(ground, ground.release(**behaviour)))
    (process,) = processes(ground.home)
    return process.pid


async def ready(ground: RealGround) -> dict[str, object]:
    """What the instance in slot 1 answers once it does."""
    address = (await only(ground)).address
    answer: dict[str, object] = {}
    async with httpx.AsyncClient(trust_env=False) as client:

        async def answered() -> object:
            nonlocal answer
            try:
                answer = (await client.get(f"http://{address}/health/ready")).json()
            except httpx.HTTPError:
                return False
            return True

        assert await eventually(answered)
    return answer


def test_second_agent_of_a_host_is_refused(ground: RealGround) -> None:
    with pytest.raises(HostTaken, match=rf"process {os.getpid()}\) already works for host-a"):
        ProcessRuntime(ground.home, "host-a").open()


def test_host_is_free_again_when_its_agent_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, os\n"
        "from controlplane.adapters.process.runtime import ProcessRuntime\n"
        "ProcessRuntime(pathlib.Path(sys.argv[1]), 'host-a').open()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ran.returncode == -9
    ProcessRuntime(tmp_path, "host-a").open().close()


async def test_instance_is_told_what_it_is(ground: RealGround) -> None:
    await started(ground)
    answer = await ready(ground)
    running = await only(ground)
    assert answer["instance"] == "host-a/1"
    assert (answer["digest"], answer["config_hash"]) == (running.spec.digest, "cfg")


async def test_instance_leads_a_session_of_its_own(ground: RealGround) -> None:
    pid = await started(ground)
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_code_of_the_bundle_wins_over_the_checkout(ground: RealGround) -> None:
    where = "import camp, sys; print(camp.__file__)"
    release = bundle_of(
        ground.folder / "b", "1.0.0", {"camp/__init__.py": "", "camp/__main__.py": where}
    )
    job = Job("r/1", "host-a", await pulled(ground, release), ("where",))
    await ground.runtime.run_once(job)

    async def over() -> bool:
        return (await ground.runtime.jobs())[0].state is JobState.SUCCEEDED

    assert await eventually(over)
    assert (await ground.runtime.jobs())[0].detail.startswith(str(ground.home / "images"))


async def test_start_that_was_not_recorded_is_found_by_the_next_agent(ground: RealGround) -> None:
    pid = await started(ground)
    # As if the agent had died between the start and the note of its pid.
    place = ground.home / "slots" / "1"
    (_, record), *_ = process_state.saved(ground.home / "slots", SlotRecord)
    process_state.save(place, msgspec.structs.replace(record, birth=None))
    ground.agent_restarts()
    assert (await only(ground)).alive
    await ground.runtime.stop(1, 5.0)
    assert await eventually(lambda: not processes(ground.home)), pid


async def test_start_that_was_recorded_and_never_happened_is_a_dead_slot(
    ground: RealGround,
) -> None:
    await started(ground)
    (process,) = processes(ground.home)
    process.kill()
    (_, record), *_ = process_state.saved(ground.home / "slots", SlotRecord)
    unborn = msgspec.structs.replace(record, birth=None, mark=process_state.new_mark())
    process_state.save(ground.home / "slots" / "1", unborn)
    ground.agent_restarts()
    assert not (await only(ground)).alive


async def test_process_that_no_record_names_is_ended(ground: RealGround) -> None:
    await started(ground)
    (ground.home / "slots" / "1" / "state.json").unlink()
    ground.agent_restarts()
    assert await ground.runtime.running() == ()
    assert await eventually(lambda: not processes(ground.home))


async def test_processes_of_another_folder_are_left_alone(
    ground: RealGround, tmp_path: Path
) -> None:
    pid = await started(ground)
    with real_ground(tmp_path / "other"):
        assert [p.pid for p in processes(ground.home)] == [pid]


async def test_pid_of_somebody_else_is_not_adopted(ground: RealGround) -> None:
    birth = process_state.Birth(os.getpid(), created=1.0)
    assert process_state.adopt("no-such-mark", birth, {}) is None


async def test_dead_instance_says_its_code_and_last_words(ground: RealGround) -> None:
    await started(ground, crash="no memory")

    async def ended() -> bool:
        return not (await only(ground)).alive

    assert await eventually(ended)
    assert (await only(ground)).detail == "ended with code 1: crashed: no memory"


async def test_each_start_takes_a_port_that_is_free(ground: RealGround) -> None:
    await started(ground)
    first = (await only(ground)).address
    (process,) = processes(ground.home)
    process.kill()
    port = int(first.rpartition(":")[2])
    assert wait_until(lambda: not process.is_running() or process.status() == "zombie")
    with socket.create_server(("127.0.0.1", port)):
        await ground.runtime.start(1, ground.release())
        assert (await only(ground)).address != first
        assert (await ready(ground))["version"] == "1.0.0"


async def test_run_that_was_killed_with_its_shell_failed(ground: RealGround) -> None:
    job = Job("r/1", "host-a", await pulled(ground, ground.release(job_s=60)), ("migrate",))
    await ground.runtime.run_once(job)
    for process in processes(ground.home, CAMP_JOB="r/1"):
        process.kill()
    ground.agent_restarts()

    async def failed() -> bool:
        return (await ground.runtime.jobs())[0].state is JobState.FAILED

    assert await eventually(failed)
    assert "without an exit code" in (await ground.runtime.jobs())[0].detail


async def test_run_that_was_recorded_and_never_began_failed_and_is_not_repeated(
    ground: RealGround,
) -> None:
    record = JobRecord("r/1", "sha256:1", process_state.new_mark())
    process_state.save(ground.home / "jobs" / "r%2F1", record)
    ground.agent_restarts()
    await ground.runtime.run_once(Job("r/1", "host-a", ground.release(), ("migrate",)))
    (report,) = await ground.runtime.jobs()
    assert report.state is JobState.FAILED


async def test_bundle_whose_bytes_were_changed_is_not_started_and_says_which(
    ground: RealGround,
) -> None:
    release = await pulled(ground, ground.release())
    (tree,) = (ground.home / "images").iterdir()
    program = tree / "camp" / "__main__.py"
    program.write_text(program.read_text() + "# more\n")
    await ground.runtime.start(1, release)
    one = await only(ground)
    assert not one.alive
    assert "camp/__main__.py" in one.detail
    assert "remove that folder" in one.detail


async def test_half_unpacked_bundle_of_a_killed_agent_goes(ground: RealGround) -> None:
    half = ground.home / "images" / ".unpack-x"
    half.mkdir()
    ground.agent_restarts()
    assert not half.exists()
    assert await ground.runtime.images() == ()


async def test_bundle_that_is_missing_is_tried_again(ground: RealGround) -> None:
    release = ground.release()
    bundle, away = Path(release.image), ground.folder / "away"
    bundle.rename(away)  # noqa: ASYNC240 - nothing else runs
    await pulled(ground, release)
    report = await image(ground, release)
    assert report is not None
    assert not report.permanent
    away.rename(bundle)
    await ground.runtime.pull(release)

    async def present() -> bool:
        report = await image(ground, release)
        return report is not None and report.present

    assert await eventually(present)


def test_grown_log_is_moved_aside_under_its_writer(tmp_path: Path) -> None:
    with process_state.open_log(tmp_path) as log:
        log.write(b"old\n" * (process_state.MAX_LOG_BYTES // 4 + 1))
        log.flush()
        process_state.bound_log(tmp_path)
        log.write(b"new\n")
        log.flush()
    assert (tmp_path / "log").read_bytes() == b"new\n"
    assert process_state.tail(tmp_path, 5) == ("new",)
    assert (tmp_path / "log.1").stat().st_size > process_state.MAX_LOG_BYTES
