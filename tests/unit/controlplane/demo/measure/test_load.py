"""The load as a process: open arrivals, every failure counted, an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from controlplane.demo.measure.http1 import Http
from controlplane.demo.measure.load import ROUTES, Load, Tally, percentile_ms
from controlplane.demo.measure.loading import LoadProcess
from tests.waiting import eventually


def test_percentile_is_a_value_that_was_seen() -> None:
    ordered = [n / 1000 for n in range(1, 101)]
    assert percentile_ms(ordered, 50) == 50.0
    assert percentile_ms(ordered, 99) == 99.0
    assert percentile_ms(ordered, 100) == 100.0
    assert percentile_ms([], 99) == 0.0


def test_status_names_failures_with_route_and_reason() -> None:
    tally = Tally()
    tally.answered(tally.started)
    tally.fail("GET /", "503: busy")
    status = tally.status(final=True)
    assert status.final
    assert [(f.route, f.error) for f in status.failures] == [("GET /", "503: busy")]


class TinyCamp:
    """Answers every route; `stall` holds answers back, `status` is what requests get."""

    def __init__(self) -> None:
        self.status = 200
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.arrived = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((x for x in head.split("\r\n") if x.startswith("content-length")), "")
                body = await reader.readexactly(int(length.partition(": ")[2] or 0))
                self.arrived += 1
                await self.flowing.wait()
                writer.write(self._answer(head, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, head: str, body: bytes) -> bytes:
        content, kind = b'{"id": "1"}', "application/json"
        if "/stream" in head.split("\r\n", 1)[0]:
            text = msgspec.json.decode(body)["content"]
            data = msgspec.json.encode({"text": text})
            content = b"id: q:0\nevent: token\ndata: " + data + b"\n\nevent: done\ndata: {}\n\n"
            kind = "text/event-stream"
        lines = f"HTTP/1.1 {self.status} X\r\ncontent-type: {kind}\r\n"
        return f"{lines}content-length: {len(content)}\r\n\r\n".encode() + content


@pytest.fixture
async def camp() -> AsyncIterator[TinyCamp]:
    tiny = TinyCamp()
    server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0)
    tiny.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield tiny


async def test_requests_arrive_by_schedule_while_none_is_answered(camp: TinyCamp) -> None:
    http = Http(*address(camp), {})
    load = Load(http, rate=200, streams=0)
    camp.flowing.clear()
    running = asyncio.create_task(load.run())
    assert await eventually(lambda: camp.arrived >= 50)
    camp.flowing.set()
    load.stop()
    await running
    http.close()
    assert load.tally.failed == 0
    # The stall shows in the latency of those that arrived first.
    assert load.tally.status(final=True).max_ms > 200


async def test_each_answer_but_2xx_is_a_failed_request(camp: TinyCamp) -> None:
    http = Http(*address(camp), {})
    load = Load(http, rate=500, streams=0)
    camp.status = 503
    running = asyncio.create_task(load.run())
    assert await eventually(lambda: load.tally.failed >= 20)
    load.stop()
    await running
    http.close()
    status = load.tally.status(final=True)
    assert status.failed == status.requests == camp.arrived
    assert {f.route for f in status.failures} <= set(ROUTES)


async def test_process_ends_in_good_order_with_a_final_status(
    camp: TinyCamp, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    async with LoadProcess(camp.url, 100, 2, tmp_path) as load:
        assert await eventually(lambda: load.latest is not None and load.latest.requests > 20)
        final = await load.stop()
    assert final.final
    assert final.failed == final.cut == final.open == 0
    assert final.streams > 0
    # Nothing was sent twice: what arrived is what was counted.
    assert camp.arrived == final.requests + final.streams


def address(camp: TinyCamp) -> tuple[str, int]:
    host, _, port = camp.url.removeprefix("http://").partition(":")
    return host, int(port)
