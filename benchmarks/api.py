"""camp against a FastAPI twin: requests per second and p99 of three routes: `just bench api`.

One process each, the same PostgreSQL, Redis and load; the two take turns, round by round, so that
what else happens on the machine strikes both. The load keeps some connections busy: it sends the
next request when the last was answered. Exit code 1 when the ratio of requests per second, over
all routes, is below the goal, or camp's p99 is not the lower one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import uvloop
from msgspec import Struct

from camp.config.sign_in import DEFAULT_MOCK_TOKEN
from controlplane.demo.measure.http1 import Http
from controlplane.demo.measure.load import percentile_ms
from controlplane.embedded.kept import free_port
from controlplane.embedded.servers import start_postgres, start_redis
from controlplane.schema.runner import upgrade

GOAL = 2.5
CONNECTIONS = 10
WARM_UP_S = 2.0
START_DEADLINE_S = 30.0
REQUEST_TIMEOUT_S = 10.0
TOKEN = {"authorization": f"Bearer {DEFAULT_MOCK_TOKEN}"}
ROUTES: dict[str, tuple[str, str, object]] = {
    "whoami": ("GET", "/api/v1/users/me", None),
    "list": ("GET", "/api/v1/chats?limit=20", None),
    "create": ("POST", "/api/v1/chats", {"title": "A chat about tents"}),
}
SIDES = {"camp": ["-m", "camp", "serve", "--port"], "twin": ["-m", "benchmarks.twin.app"]}


class Round(Struct, frozen=True):
    """What one side did in one round; rates are per second of wall-clock time."""

    rps: float
    p50_ms: float
    p99_ms: float


class Route(Struct, frozen=True):
    """Medians over the rounds; `ratio` is camp's rate divided by the twin's."""

    camp: Round
    twin: Round
    ratio: float


async def one_round(port: int, route: str, seconds: float) -> Round:
    """Raises RuntimeError at the first answer that is not 2xx."""
    method, path, body = ROUTES[route]
    http = Http("127.0.0.1", port, TOKEN)
    latencies: list[float] = []
    began = time.perf_counter()

    async def ask() -> None:
        while (sent := time.perf_counter()) - began < seconds:
            status, answer = await http.request(method, path, body, REQUEST_TIMEOUT_S)
            latencies.append(time.perf_counter() - sent)
            if not 200 <= status < 300:
                raise RuntimeError(f"{method} {path} answered {status}: {answer[:200]!r}")

    try:
        await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    finally:
        http.close()
    rps = len(latencies) / (time.perf_counter() - began)
    latencies.sort()
    return Round(rps, percentile_ms(latencies, 50), percentile_ms(latencies, 99))


async def compare(ports: dict[str, int], rounds: int, seconds: float) -> dict[str, Route]:
    """Every route by both sides, in turns."""
    found = {}
    for route in ROUTES:
        done: dict[str, list[Round]] = {side: [] for side in ports}
        for port in ports.values():
            await one_round(port, route, WARM_UP_S)
        for number in range(rounds):
            order = list(ports) if number % 2 == 0 else list(reversed(ports))
            for side in order:
                done[side].append(await one_round(ports[side], route, seconds))
        camp, twin = _median(done["camp"]), _median(done["twin"])
        found[route] = Route(camp, twin, camp.rps / twin.rps)
        _say(f"{route}: {camp.rps:.0f} against {twin.rps:.0f} requests/s")
    return found


def _median(rounds: list[Round]) -> Round:
    columns = zip(*((r.rps, r.p50_ms, r.p99_ms) for r in rounds), strict=True)
    return Round(*(statistics.median(column) for column in columns))


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, Route]:
    """Start the servers and both services, and compare them."""
    with ExitStack() as stack:
        postgres, redis = start_postgres(folder / "postgres"), start_redis(folder / "redis")
        stack.callback(postgres.stop)
        stack.callback(redis.stop)
        url = postgres.url("postgres")
        asyncio.run(upgrade(url, say=_quiet))
        environ = os.environ | {
            "ENVIRONMENT": "local",
            "DATABASE_URL": url,
            "REDIS_URL": redis.url(),
            "RATE_LIMIT": "100000000/minute",
            "LOG_LEVEL": "info",
        }
        ports = {side: free_port() for side in SIDES}
        for side, port in ports.items():
            stack.callback(_stop, _start(side, port, environ, folder))
            _wait_until_it_answers(side, port, folder)
        _same_answers(ports)
        return uvloop.run(compare(ports, rounds, seconds))


def _start(side: str, port: int, environ: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{side}.log").open("wb") as log:
        command = [sys.executable, *SIDES[side], str(port)]
        return subprocess.Popen(command, env=environ, stdout=log, stderr=log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_until_it_answers(side: str, port: int, folder: Path) -> None:
    end = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/users/me", headers=TOKEN)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == httpx.codes.OK:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{side} does not answer:\n{(folder / f'{side}.log').read_text()[-2000:]}")


def _same_answers(ports: dict[str, int]) -> None:
    """Both do the same work: raises RuntimeError when an answer differs in more than its times."""
    for name, (method, path, body) in ROUTES.items():
        answers = [
            httpx.request(method, f"http://127.0.0.1:{port}{path}", json=body, headers=TOKEN)
            for port in ports.values()
        ]
        shapes = [(a.status_code, sorted(a.json())) for a in answers]
        if shapes[0] != shapes[1]:
            raise RuntimeError(f"{name}: camp and its twin answer differently: {shapes}")


def lines(found: dict[str, Route]) -> Iterator[str]:
    """The comparison as a table."""
    yield f"{'':<10}{'camp':>10}{'twin':>10}{'ratio':>8}{'camp p99':>12}{'twin p99':>12}"
    for name, route in found.items():
        ours, theirs = route.camp, route.twin
        yield (
            f"{name:<10}{ours.rps:8.0f}/s{theirs.rps:8.0f}/s{route.ratio:8.2f}"
            f"{ours.p99_ms:9.1f} ms{theirs.p99_ms:9.1f} ms"
        )
    yield f"{'all':<10}{'':>20}{overall(found):8.2f}   (geometric mean; goal: at least {GOAL})"
    yield (
        f"One process each, {CONNECTIONS} connections, medians of rounds in turns; a request per"
        " connection at a time."
    )


def overall(found: dict[str, Route]) -> float:
    """The geometric mean of the routes' ratios."""
    return statistics.geometric_mean(route.ratio for route in found.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="just bench api")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side and route")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camp-bench-", ignore_cleanup_errors=True) as name:
        try:
            found = measure(Path(name).resolve(), given.rounds, given.seconds)
        except RuntimeError as error:
            sys.stderr.write(f"Error: {error}\n")
            return 1
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(lines(found)))
    lower = all(route.camp.p99_ms < route.twin.p99_ms for route in found.values())
    return 0 if overall(found) >= GOAL and lower else 1


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _quiet(_: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
