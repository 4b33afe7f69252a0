"""What is under way while every instance is replaced: `just bench survival`.

Three instances behind Traefik and a load of requests. A chat stream, an upload and a background
run are begun, then a rollout to another version; each has to come to its end: the stream whole
and in order, the file with the bytes that were sent, the run succeeded. Exit code 1 when something
was lost, a request failed, or the rollout did not succeed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from camp.config.sign_in import DEFAULT_MOCK_TOKEN
from controlplane.demo.measure.http1 import Http
from controlplane.demo.measure.loading import LoadProcess
from controlplane.demo.measure.streams import follow
from controlplane.demo.processes import Processes
from controlplane.demo.site import Site, opened, until
from controlplane.demo.stage import sources
from controlplane.domain.errors import ControlError
from controlplane.domain.model import State

TOKEN = {"authorization": f"Bearer {DEFAULT_MOCK_TOKEN}"}
PNG = b"\x89PNG\r\n\x1a\n"
CHUNK_BYTES = 256 * 1024
RATE = 30.0
SAMPLE_INTERVAL_S = 0.5
WORD = "camp"
RUN_STEP_MS = 500
PATIENCE_S = 120.0
POLICY = """\
instances_per_host = 1
max_surge = 1
max_unavailable = 0
on_failure = "rollback"
min_healthy_s = 0.5
bake_s = 0.5
start_deadline_s = 30.0
drain_deadline_s = {drain_deadline_s}
stop_grace_s = 10.0
"""


class Size(Struct, frozen=True, kw_only=True):
    """How long the stream, the upload and the run take when nothing disturbs them."""

    stream_s: float = 60.0
    upload_mb: int = 200
    upload_s: float = 30.0
    run_s: float = 60.0
    drain_deadline_s: float = 40.0


class Survival(Struct, frozen=True, kw_only=True):
    """What became of everything; `resumed` and `attempt` tell how often it changed instances."""

    rollout: str
    rollout_s: float
    stream_s: float
    stream_tokens: int
    stream_resumed: int
    upload_s: float
    upload_bytes: int
    upload_whole: bool
    run_state: str
    run_attempt: int
    run_steps: int
    requests: int
    failed: int
    failures: list[str]

    @property
    def whole(self) -> bool:
        """Nothing was lost."""
        return (
            self.rollout == State.SUCCEEDED
            and self.upload_whole
            and self.run_state == "succeeded"
            and self.failed == 0
        )


async def survive(folder: Path, size: Size) -> Survival:
    """Replace three instances under all this. Raises ControlError, httpx.HTTPError, Cut."""
    policy = POLICY.format(drain_deadline_s=size.drain_deadline_s)
    hosting = Processes(folder, sources())
    async with opened(folder, hosting, _say, interval_s=SAMPLE_INTERVAL_S, policy=policy) as site:
        first = await site.client.start(site.environment, "1.0.0", reason="benchmark")
        await site.finished(first)
        await site.to_fleet()
        async with (
            LoadProcess(site.servers.traefik.url, RATE, 0, site.folder, site.user_token) as load,
            httpx.AsyncClient(
                base_url=site.servers.traefik.url, headers=TOKEN, timeout=PATIENCE_S
            ) as client,
        ):
            _say("A stream, an upload and a run begin")
            return await _replaced(site, load, client, size)


async def _replaced(
    site: Site, load: LoadProcess, client: httpx.AsyncClient, size: Size
) -> Survival:
    streaming = asyncio.create_task(_stream(site.servers.traefik.url, client, size.stream_s))
    uploading = asyncio.create_task(_upload(client, size))
    running = asyncio.create_task(_run(client, size.run_s))
    rolling = asyncio.create_task(_roll(site))
    done = await asyncio.gather(streaming, uploading, running, rolling)
    (tokens, resumed, stream_s), (whole, sent, upload_s), run, (state, rollout_s) = done
    status = await load.stop()
    return Survival(
        rollout=state,
        rollout_s=rollout_s,
        stream_s=stream_s,
        stream_tokens=tokens,
        stream_resumed=resumed,
        upload_s=upload_s,
        upload_bytes=sent,
        upload_whole=whole,
        run_state=run["state"],
        run_attempt=run["attempt"],
        run_steps=run["steps_done"],
        requests=status.requests,
        failed=status.failed,
        failures=[f"{failed.route}: {failed.error}" for failed in status.failures[:10]],
    )


async def _roll(site: Site) -> tuple[str, float]:
    rollout = await site.client.start(site.environment, "1.1.0", reason="benchmark")
    done, move = await site.finished(rollout)
    _say(f"The rollout ended {done.state} after {move.duration_s:.1f} s")
    return done.state, move.duration_s


async def _stream(url: str, client: httpx.AsyncClient, seconds: float) -> tuple[int, int, float]:
    """(tokens, times resumed, seconds); raises Cut when one is missing or comes twice."""
    chat = (await _created(client, "/api/v1/chats", {"title": "survival"}))["id"]
    delay_ms = 250
    words = int(seconds * 1000 / delay_ms)
    where = urlsplit(url)
    http = Http(where.hostname or "", where.port or 80, TOKEN)
    began = time.monotonic()
    try:
        prompt = " ".join([WORD] * words)
        path = f"/api/v1/chats/{chat}/stream"
        resumed = await follow(http, path, prompt, delay_ms, nullcontext)
    finally:
        http.close()
    return words, resumed, time.monotonic() - began


async def _upload(client: httpx.AsyncClient, size: Size) -> tuple[bool, int, float]:
    """(the file has the bytes that were sent, how many, seconds)."""
    project = (await _created(client, "/api/v1/projects", {"name": "survival"}))["id"]
    path = f"/api/v1/projects/{project}/files"
    told, total = hashlib.sha256(), size.upload_mb * 1_000_000
    began = time.monotonic()

    async def body() -> AsyncIterator[bytes]:
        sent = 0
        block = hashlib.shake_256(b"survival").digest(CHUNK_BYTES)
        while sent < total:
            chunk = (PNG + block if sent == 0 else block)[: total - sent]
            told.update(chunk)
            sent += len(chunk)
            yield chunk
            due = began + size.upload_s * sent / total
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    headers = {"content-type": "image/png", "content-length": str(total)}
    answer = await client.post(path, params={"name": "big.png"}, content=body(), headers=headers)
    took_s = time.monotonic() - began
    if answer.status_code != httpx.codes.CREATED:
        _say(f"The upload ended with {answer.status_code}: {answer.text[:200]}")
        return False, 0, took_s
    file = answer.json()
    kept = hashlib.sha256()
    async with client.stream("GET", f"{path}/{file['id']}/content") as content:
        async for chunk in content.aiter_bytes():
            kept.update(chunk)
    whole = told.hexdigest() == kept.hexdigest() == file["sha256"] and file["size"] == total
    return whole, file["size"], took_s


async def _run(client: httpx.AsyncClient, seconds: float) -> dict[str, Any]:
    """The run once it has ended."""
    steps = int(seconds * 1000 / RUN_STEP_MS)
    wanted = {"text": "survival", "steps": steps, "delay_ms": RUN_STEP_MS}
    run = await _created(client, "/api/v1/runs", {"kind": "echo", "input": wanted})

    async def over() -> bool:
        answer = await client.get(f"/api/v1/runs/{run['id']}")
        answer.raise_for_status()
        run.update(answer.json())
        return run["state"] not in {"waiting", "running"}

    await until(over, "The run does not end.", PATIENCE_S)
    return run


async def _created(client: httpx.AsyncClient, path: str, body: object) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def lines(found: Survival) -> Iterator[str]:
    """The outcome as a table."""
    yield f"rollout   {found.rollout} in {found.rollout_s:.1f} s, all three instances replaced"
    yield (
        f"stream    {found.stream_tokens} tokens in {found.stream_s:.1f} s, whole and in order,"
        f" resumed {found.stream_resumed} times"
    )
    whole = "the bytes that were sent" if found.upload_whole else "LOST"
    yield f"upload    {found.upload_bytes:,} bytes in {found.upload_s:.1f} s, {whole}"
    yield f"run       {found.run_state}, {found.run_steps} steps, attempt {found.run_attempt}"
    yield f"requests  {found.requests:,}, {found.failed} failed"
    yield from (f"  {failure}" for failure in found.failures)


def main() -> int:
    parser = argparse.ArgumentParser(prog="just bench survival")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camp-bench-", ignore_cleanup_errors=True) as name:
        try:
            found = asyncio.run(survive(Path(name).resolve() / "site", Size()))
        except ControlError as error:
            sys.stderr.write(f"Error: {error.sentence}\n")
            return 1
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(lines(found)))
    return 0 if found.whole else 1


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
