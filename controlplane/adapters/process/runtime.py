"""Instances as processes of this machine: a release is a bundle, a slot is a process group.

    folder/lock                 held while an agent works here
    folder/images/<sha256>/     unpacked bundles
    folder/slots/<n>/           state.json, log
    folder/jobs/<id>/           state.json, log, exit

Every start is recorded before it happens and carries a mark in its environment, so that the next
agent finds each process, even one whose start its predecessor had no time to record.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import msgspec

from controlplane.adapters.host import lock as host_lock
from controlplane.adapters.host.exits import how_ended
from controlplane.adapters.process import state as process_state
from controlplane.adapters.process.images import Images
from controlplane.adapters.process.jobs import Jobs
from controlplane.adapters.process.seal import broken
from controlplane.adapters.process.state import HOME_MARK, START_MARK, STATE, Birth, Handle
from controlplane.domain.goals import Job
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport, JobReport, PullReport
from controlplane.ports.runtime import Running

LOG_CHECK_INTERVAL_S = 10.0
# Handles of processes that outlive their runtime: dropped, they would be complained about.
LEFT_RUNNING: list[Handle] = []


class SlotRecord(msgspec.Struct, frozen=True):
    """On disk before a process starts; times are this machine's monotonic seconds.

    `kill_at` is set once the process was asked to end. `refused` says why none was started.
    """

    slot: int
    release: Release
    address: str
    started: float
    mark: str
    birth: Birth | None = None
    kill_at: float | None = None
    refused: str = ""


@dataclass(slots=True)
class Slot:
    record: SlotRecord
    handle: Handle | None
    last_words: str | None = None
    seen: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.handle is not None and self.handle.alive()


class ProcessRuntime:
    """The runtime port without containers; `with` it, so that one agent works for the host.

    `environ` is what instances and one-shot runs get besides what names them: database, Redis,
    secrets; those named in `shared`, each with its default, shall be the same on all hosts.
    Dependencies come from this interpreter, camp's own code from the bundle.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        address: str = "127.0.0.1",
        environ: Mapping[str, str] | None = None,
        shared: Mapping[str, str | None] | None = None,
    ) -> None:
        self._folder = folder.resolve()
        self._host = host
        self._address = address
        self._environ = dict(environ or {})
        self._shared = dict(shared or {})
        self._images = Images(self._folder / "images")
        self._jobs = Jobs(self._folder / "jobs")
        self._slots: dict[int, Slot] = {}
        self._lock: IO[str] | None = None
        self._logs_checked = 0.0

    def open(self) -> Self:
        """Take the host and find what runs here. Raises HostTaken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = host_lock.take(self._folder / "lock", self._host)
        marks = process_state.marked(self._folder)
        self._images.open()
        self._jobs.open(marks)
        for _, record in process_state.saved(self._folder / "slots", SlotRecord):
            handle = process_state.adopt(record.mark, record.birth, marks)
            self._slots[record.slot] = Slot(record, handle)
        self._end_strangers(marks)
        return self

    def close(self) -> None:
        """Leave the host to the next agent; every process goes on."""
        LEFT_RUNNING.extend(slot.handle for slot in self._slots.values() if slot.handle)
        LEFT_RUNNING.extend(self._jobs.handles())
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def running(self) -> tuple[Running, ...]:
        self._bound_logs()
        for slot in list(self._slots.values()):
            self._finish_stop(slot)
        return tuple([self._look(slot) for slot in self._slots.values()])

    async def start(self, slot: int, release: Release) -> None:
        held = self._slots.get(slot)
        if held is None or not held.alive:
            # In a thread: writing to the disk for good must not hold up the lease.
            self._slots[slot] = await asyncio.to_thread(self._begin, slot, release)

    async def stop(self, slot: int, grace_s: float) -> None:
        held = self._slots.get(slot)
        if held is None:
            return
        if not held.alive:
            self._free(slot)
            return
        kill_at, asked = time.monotonic() + grace_s, held.record.kill_at
        if asked is None:
            # Recorded first: a second SIGTERM would end the instance at once.
            self._record(held, msgspec.structs.replace(held.record, kill_at=kill_at))
            self._signal(held, signal.SIGTERM)
        elif kill_at < asked:
            self._record(held, msgspec.structs.replace(held.record, kill_at=kill_at))
        self._finish_stop(held)

    async def environ(self) -> Mapping[str, str]:
        return self._shared_of(self._environ)

    async def pull(self, release: Release) -> None:
        self._images.pull(release)

    async def images(self) -> tuple[ImageReport, ...]:
        return self._images.reports()

    async def pulls(self) -> tuple[PullReport, ...]:
        """None: a bundle is copied and checked within a second or two."""
        return ()

    async def prune(self, keep: frozenset[str]) -> None:
        running = {s.record.release.digest for s in self._slots.values() if s.alive}
        await self._images.prune(keep | running | self._jobs.digests())

    async def run_once(self, job: Job) -> None:
        if self._jobs.knows(job.id):
            return
        digest = job.release.digest
        image = self._images.of(digest)
        if image is None:
            self._jobs.refuse(job.id, digest, _not_here(digest))
            return
        environ = self._environ_of(job.release, image) | {"CAMP_JOB": job.id}
        await asyncio.to_thread(self._jobs.begin, job.id, digest, _camp(*job.command), environ)

    async def jobs(self) -> tuple[JobReport, ...]:
        return self._jobs.reports()

    async def forget_jobs(self, wanted: frozenset[str]) -> None:
        self._jobs.forget(wanted)

    async def logs(self, slot: int, lines: int) -> tuple[str, ...]:
        return process_state.tail(self._place(slot), lines)

    def _begin(self, slot: int, release: Release) -> Slot:
        """Record the start, start, record the process."""
        place = self._place(slot)
        image = self._images.of(release.digest)
        record = self._new_record(slot, release, image)
        process_state.save(place, record)
        if image is None or record.refused:
            return Slot(record, None)
        _, _, port = record.address.rpartition(":")
        environ = self._environ_of(release, image) | {
            START_MARK: record.mark,
            "CAMP_INSTANCE": f"{self._host}/{slot}",
            "HOST": self._address,
            "PORT": port,
        }
        argv = _camp("serve", "--host", self._address, "--port", port)
        try:
            handle = process_state.launch(argv, environ, place)
        except OSError as error:
            refused = f"The instance could not be started: {error}."
            return Slot(msgspec.structs.replace(record, refused=refused), None)
        held = Slot(record, handle)
        self._record(held, msgspec.structs.replace(record, birth=handle.birth))
        return held

    def _new_record(self, slot: int, release: Release, image: Path | None) -> SlotRecord:
        refused = _not_here(release.digest) if image is None else _spoilt(image)
        ports = (s.record.address.rpartition(":")[2] for s in self._slots.values())
        try:
            port = process_state.free_port(self._address, frozenset(map(int, ports)))
        except OSError as error:
            port, refused = 0, f"The instance could not be started: {error}."
        return SlotRecord(
            slot=slot,
            release=release,
            address=f"{self._address}:{port}",
            started=time.monotonic(),
            mark=process_state.new_mark(),
            refused=refused,
        )

    def _look(self, slot: Slot) -> Running:
        record, alive = slot.record, slot.alive
        if alive and slot.handle is not None and not slot.seen:
            slot.seen = slot.handle.environ()
        return Running(
            slot=record.slot,
            spec=record.release.spec,
            address=record.address,
            alive=alive,
            started=record.started,
            stopping=record.kill_at is not None,
            detail="" if alive else self._why_ended(slot),
            digest=self._images.digest_at(slot.seen.get("PYTHONPATH", "")),
            environ=self._shared_of(slot.seen),
        )

    def _shared_of(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Without what is at its default anyway: newer agents know more variables."""
        return {n: v for n, v in environ.items() if n in self._shared and v != self._shared[n]}

    def _why_ended(self, slot: Slot) -> str:
        if slot.last_words is None:
            code = slot.handle.exit_code if slot.handle else None
            ended = "ended" if code is None else how_ended(code)
            words = process_state.last_words(self._place(slot.record.slot))
            slot.last_words = slot.record.refused or (f"{ended}: {words}" if words else ended)
        return slot.last_words

    def _finish_stop(self, slot: Slot) -> None:
        """Free the slot of an ended process, or end by force what outstayed its grace."""
        if slot.record.kill_at is None:
            return
        if not slot.alive:
            self._free(slot.record.slot)
        elif time.monotonic() >= slot.record.kill_at:
            self._signal(slot, signal.SIGKILL)

    def _free(self, slot: int) -> None:
        # The log stays: it says why the process ended.
        (self._place(slot) / STATE).unlink(missing_ok=True)
        del self._slots[slot]

    def _record(self, slot: Slot, record: SlotRecord) -> None:
        process_state.save(self._place(record.slot), record)
        slot.record = record

    def _signal(self, slot: Slot, number: signal.Signals) -> None:
        if slot.handle is not None:
            slot.handle.signal(number)

    def _place(self, slot: int) -> Path:
        return self._folder / "slots" / str(slot)

    def _environ_of(self, release: Release, image: Path) -> dict[str, str]:
        return {
            **self._environ,
            HOME_MARK: str(self._folder),
            "CAMP_DIGEST": release.digest,
            "CAMP_CONFIG_HASH": release.config_hash,
            "CAMP_INSTANCE": self._host,
            "PYTHONPATH": str(image),
            "PYTHONUNBUFFERED": "1",
        }

    def _bound_logs(self) -> None:
        now = time.monotonic()
        if now - self._logs_checked >= LOG_CHECK_INTERVAL_S:
            self._logs_checked = now
            for slot in self._slots:
                process_state.bound_log(self._place(slot))

    def _end_strangers(self, marks: Mapping[str, Handle]) -> None:
        """End what carries our mark and no record names: nobody would ever stop it."""
        ours = {slot.record.mark for slot in self._slots.values()} | self._jobs.marks()
        for mark, handle in marks.items():
            if mark not in ours:
                handle.signal(signal.SIGTERM)


def _camp(*arguments: str) -> tuple[str, ...]:
    # -P: the working directory has no say in what `camp` is; PYTHONPATH has.
    return (sys.executable, "-P", "-m", "camp", *arguments)


def _spoilt(image: Path) -> str:
    name = broken(image)
    return name and (
        f"{name} in {image} is not what was unpacked there; stop the agent, remove that folder and"
        " start the agent, which fetches the bundle again."
    )


def _not_here(digest: str) -> str:
    return f"The bytes of {digest} are not on this host; pull them first."
