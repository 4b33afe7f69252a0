"""The load's process as its starter sees it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from camp.config.sign_in import DEFAULT_MOCK_TOKEN
from controlplane.demo.measure.load import Status
from controlplane.demo.stage import DemoFailed
from controlplane.demo.sweeper import mark
from controlplane.embedded.kept import environment, tail

# The longest chat takes ten seconds, and a silent one is given up after fifteen.
STOP_DEADLINE_S = 40.0


class LoadProcess:
    """`async with` it; `latest` is the newest status. Leaving ends the load at once."""

    def __init__(
        self,
        url: str,
        rate: float,
        streams: int,
        folder: Path,
        token: str = DEFAULT_MOCK_TOKEN,
    ) -> None:
        self.latest: Status | None = None
        self._url, self._rate, self._streams, self._folder = url, rate, streams, folder
        # Not an argument: those of a process are everybody's to read.
        self._token = {"DEV_MOCK_TOKEN": token}
        self._log = folder / "logs" / "load.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "controlplane.demo.measure.load", self._url),
                *("--rate", str(self._rate), "--streams", str(self._streams)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment() | mark(self._folder) | self._token,
                cwd=self._folder,
                start_new_session=True,
                limit=2**20,
            )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reading is not None
        # What said its last word ends by itself; a signal now would race with its end.
        if self.latest is None or not self.latest.final:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reading

    async def stop(self) -> Status:
        """End it in good order; the final status. Raises DemoFailed when there is none."""
        assert self._process is not None
        assert self._reading is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(b"s")
            await self._process.stdin.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE_S):
                await asyncio.shield(self._reading)
        if self.latest is None or not self.latest.final:
            raise DemoFailed(f"The load did not end in good order:\n{tail(self._log)}")
        return self.latest

    def require(self) -> None:
        """Raises DemoFailed when the load has ended by itself."""
        if self._reading is not None and self._reading.done():
            raise DemoFailed(f"The load ended by itself:\n{tail(self._log)}")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.latest = msgspec.json.decode(line, type=Status)
