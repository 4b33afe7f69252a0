"""A Docker engine: its blocking client off the event loop, its failures as our errors."""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from controlplane.domain.errors import RuntimeUnavailable

T = TypeVar("T")
TIMEOUT_S = 20
NOT_FOUND = 404
CONFLICT = 409
# A host whose agent is quiet for 4 s counts as silent; it must be able to say why before that.
ANSWER_S = 3.0
CLOCK_SAMPLES = 9
CLOCK_GRAIN_S = 0.01


class EngineUnavailable(RuntimeUnavailable):
    """The Docker engine did not answer; what runs on it is left alone."""

    code = "engine_unavailable"


class EngineRefused(RuntimeUnavailable):
    """The Docker engine answered with an error; `status` is that of HTTP."""

    code = "engine_refused"

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Engine:
    """One engine; `url` as in DOCKER_HOST, which is used when it is empty.

    The client is made with the first call: an engine that is down then is down for that call only.
    """

    def __init__(
        self, url: str = "", timeout_s: int = TIMEOUT_S, answer_s: float = ANSWER_S
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._answer_s = answer_s
        self._late: asyncio.Future[Any] | None = None
        self._client: docker.APIClient | None = None
        self._making = threading.Lock()

    async def call(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` in a thread. Raises EngineUnavailable or EngineRefused.

        What takes longer than `answer_s` goes on behind us, and nothing else is begun until it is
        over: an engine that hangs gets no second request, and two works never meet.
        """
        if self._late is not None and not self._late.done():
            raise self._silent(f"it has an earlier request for longer than {self._answer_s:g} s")
        self._late = None
        running = asyncio.ensure_future(asyncio.to_thread(self.do, work))
        await asyncio.wait((running,), timeout=self._answer_s)
        if running.done():
            return running.result()
        running.add_done_callback(_heard)
        self._late = running
        raise self._silent(f"no answer for {self._answer_s:g} s")

    async def aside(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` as `call` does, for as long as it takes, beside whatever else runs."""
        return await asyncio.to_thread(self.do, work)

    def do(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` in this thread. Raises EngineUnavailable or EngineRefused."""
        with self._translated():
            return work(self._connected())

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> docker.APIClient:
        with self._making:
            if self._client is None:
                where = {"base_url": self._url} if self._url else kwargs_from_env()
                self._client = docker.APIClient(version="auto", timeout=self._timeout_s, **where)
            return self._client

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except APIError as error:
            raise EngineRefused(
                f"The Docker engine refuses: {said(error)}.", status(error)
            ) from error
        except (DockerException, RequestException, HTTPError, OSError) as error:
            raise self._silent(_reason(error)) from error

    def _silent(self, reason: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"The Docker engine{f' at {self._url}' if self._url else ''} does not answer"
            f" ({reason}); start it, or let this user use it (`docker info` tells)."
            " Nothing on this host is changed until it does."
        )


def _heard(late: asyncio.Future[T]) -> None:
    """Take note of how a late work ended: the next look tells what it has done."""
    if not late.cancelled():
        late.exception()


def said(error: APIError) -> str:
    """What the engine said, in one line without a full stop."""
    return " ".join(str(error.explanation or error).split()).rstrip(".")


def status(error: APIError) -> int:
    """The status of HTTP; 500 when the engine gave none."""
    return error.status_code or 500


@contextmanager
def passing(*statuses: int) -> Iterator[None]:
    """Take these answers of the engine for done: what we would change is so already."""
    try:
        yield
    except APIError as error:
        if status(error) not in statuses:
            raise


def epoch_s(stamp: str) -> float:
    """Seconds since 1970 of an engine's time stamp, which has up to nine decimals; 0 for never."""
    parts = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp)
    if parts is None or stamp.startswith("0001"):
        return 0.0
    whole = datetime.fromisoformat(parts[1] + ("+00:00" if parts[3] == "Z" else parts[3]))
    return whole.astimezone(UTC).timestamp() + float(parts[2] or 0)


def monotonic_s(epoch: float) -> float:
    """That moment on this machine's monotonic clock, and never later than now.

    The clocks' distance is rounded, so that the next agent gives the same moment the same number.
    """
    samples = []
    for _ in range(CLOCK_SAMPLES):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        samples.append((after - before, wall - (before + after) // 2))
    distance_s = min(samples)[1] / 1e9
    return min(epoch - math.ceil(distance_s / CLOCK_GRAIN_S) * CLOCK_GRAIN_S, time.monotonic())


def _reason(error: BaseException) -> str:
    """The innermost cause: requests and urllib3 wrap it several times."""
    while True:
        inner = [e for e in (error.__cause__, *error.args[::-1]) if isinstance(e, BaseException)]
        if not inner:
            break
        error = inner[0]
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
