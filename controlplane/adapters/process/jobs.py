"""One-shot runs of a release as processes; how they ended is known even to the next agent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from controlplane.adapters.process import state as process_state
from controlplane.adapters.process.state import Birth, Handle
from controlplane.domain.goals import JobState
from controlplane.domain.reports import JobReport
from controlplane.ports.runtime import KEPT_RUNS

EXIT = "exit"
# The shell waits for the run and writes down its exit code: the agent may be gone by then.
WRAPPER = ("/bin/sh", "-c", f'"$@"; echo "$?" > {EXIT}.new; mv {EXIT}.new {EXIT}', "sh")
LOST = "The run ended without an exit code: it was killed, or the agent died before it began."


class JobRecord(msgspec.Struct, frozen=True):
    """On disk before the run starts; `refused` says why it never did."""

    id: str
    digest: str
    mark: str
    birth: Birth | None = None
    refused: str = ""


@dataclass(slots=True)
class Run:
    record: JobRecord
    handle: Handle | None
    ended: JobReport | None = None


class Jobs:
    """The one-shot runs known to one host, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, Run] = {}

    def open(self, marks: Mapping[str, Handle]) -> None:
        found = process_state.saved(self._folder, JobRecord)
        for _, record in sorted(found, key=lambda each: process_state.written_at(each[0])):
            handle = process_state.adopt(record.mark, record.birth, marks)
            self._runs[record.id] = Run(record, handle)

    def marks(self) -> frozenset[str]:
        return frozenset(run.record.mark for run in self._runs.values())

    def knows(self, job_id: str) -> bool:
        return job_id in self._runs

    def digests(self) -> frozenset[str]:
        """What is being run now."""
        live = (run for run in self._runs.values() if run.handle and run.handle.alive())
        return frozenset(run.record.digest for run in live)

    def handles(self) -> tuple[Handle, ...]:
        return tuple(run.handle for run in self._runs.values() if run.handle)

    def refuse(self, job_id: str, digest: str, sentence: str) -> None:
        """Take note of a run that cannot be begun."""
        record = JobRecord(job_id, digest, process_state.new_mark(), refused=sentence)
        process_state.save(self._place(job_id), record)
        self._runs[job_id] = Run(record, None)

    def begin(
        self, job_id: str, digest: str, argv: tuple[str, ...], environ: Mapping[str, str]
    ) -> None:
        """Record the run, begin it, record its process."""
        place = self._place(job_id)
        record = JobRecord(job_id, digest, process_state.new_mark())
        process_state.save(place, record)
        marked = {**environ, process_state.START_MARK: record.mark}
        try:
            handle = process_state.launch((*WRAPPER, *argv), marked, place)
        except OSError as error:
            self.refuse(job_id, digest, f"The run could not be begun: {error}.")
            return
        record = msgspec.structs.replace(record, birth=handle.birth)
        process_state.save(place, record)
        self._runs[job_id] = Run(record, handle)

    def reports(self) -> tuple[JobReport, ...]:
        return tuple([self._report(run) for run in self._runs.values()])

    def forget(self, wanted: frozenset[str]) -> None:
        """Forget ended runs that are not wanted, but for the latest KEPT_RUNS."""
        ended = [
            job_id
            for job_id, run in self._runs.items()
            if job_id not in wanted and self._report(run).state is not JobState.RUNNING
        ]
        for job_id in ended[:-KEPT_RUNS]:
            shutil.rmtree(self._place(job_id), ignore_errors=True)
            del self._runs[job_id]

    def _report(self, run: Run) -> JobReport:
        if run.ended is None:
            # Alive is asked first: what ends between the two looks has its code written by then.
            alive = run.handle is not None and run.handle.alive()
            words = process_state.last_words(self._place(run.record.id))
            if alive:
                return JobReport(run.record.id, JobState.RUNNING, words)
            run.ended = self._ended(run.record, words)
        return run.ended

    def _ended(self, record: JobRecord, words: str) -> JobReport:
        code = self._place(record.id) / EXIT
        if record.refused or not code.exists():
            return JobReport(record.id, JobState.FAILED, record.refused or LOST)
        ended = code.read_text("ascii").strip()
        if ended == "0":
            return JobReport(record.id, JobState.SUCCEEDED, words)
        return JobReport(record.id, JobState.FAILED, words or f"exit code {ended}, no output")

    def _place(self, job_id: str) -> Path:
        return self._folder / quote(job_id, safe="")
