"""`camp smoke URL`: does this instance, or what is behind this edge, do what users need?"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import rich_click as click

from controlplane.cli.common import (
    ExitCode,
    Finite,
    header_safe,
    json_option,
    print_json,
    run,
    table,
)

LIMIT_S = 3.0
RUN_LIMIT_S = 2.0
RUN_POLL_S = 0.05
API = "/api/v1"
NAME = "camp smoke"
WORDS = "one two three"
# In place of an answer's status.
UNREACHED = -1


class Finding(msgspec.Struct, frozen=True):
    """What became of one check."""

    check: str
    passed: bool
    took_ms: float
    detail: str


class Report(msgspec.Struct, frozen=True):
    """All checks of one visit."""

    url: str
    passed: bool
    took_ms: float
    checks: list[Finding]


class Unexpected(Exception):
    """An answer other than the one that a check needs; the text says which."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


@click.command()
@click.argument("url")
@click.option(
    "--token",
    envvar=["CAMP_USER_TOKEN", "CAMP_SMOKE_TOKEN", "DEV_MOCK_TOKEN"],
    required=True,
    callback=header_safe,
    help="CAMP_SMOKE_TOKEN of the instances; or a user's, CAMP_USER_TOKEN or DEV_MOCK_TOKEN.",
)
@click.option(
    "--timeout",
    "limit_s",
    default=LIMIT_S,
    show_default=True,
    type=Finite(min=0, min_open=True),
    help="Seconds for all checks.",
)
@json_option
@click.pass_context
def smoke(context: click.Context, url: str, token: str, limit_s: float, as_json: bool) -> None:
    """Use each part of the service once as a user would, and clean up afterwards.

    With CAMP_SMOKE_TOKEN it is an account of its own, which the echo answers and no model.

    Exit code 0: everything works; 4: something does not; 6: the token is not accepted.

    Example: camp smoke http://127.0.0.1:8000 --token camp-dev-token
    """
    report, refused = run(visit(url, token, limit_s))
    if as_json:
        print_json(report)
    else:
        for line in _lines(report):
            click.echo(line)
    if not report.passed:
        context.exit(ExitCode.NOT_ALLOWED if refused else ExitCode.FAILED)


def _lines(report: Report) -> list[str]:
    rows = [
        ("pass" if f.passed else "FAIL", f.check, f"{f.took_ms:.0f} ms", f.detail)
        for f in report.checks
    ]
    passed = sum(finding.passed for finding in report.checks)
    # A rollout that waits for this has room for one line: the last one tells it all.
    failed = "".join(f"; {f.check}: {f.detail}" for f in report.checks if not f.passed)
    return [
        *table(("", "check", "took", "what was seen"), rows),
        f"{passed} of {len(CHECKS)} checks passed in {report.took_ms:.0f} ms{failed}",
    ]


async def visit(url: str, token: str, limit_s: float = LIMIT_S) -> tuple[Report, bool]:
    """(what was found, whether the token was refused); after the first one all run at once.

    Where nothing answers the first one, the others would only say so again.
    """
    began = time.monotonic()
    headers = {"authorization": f"Bearer {token}", "user-agent": "camp-smoke"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=limit_s) as client:
        api, until = Api(client), began + limit_s
        # By itself: what the others make a cold instance do could hold its answer up.
        first, *rest = CHECKS.items()
        found = [await _finding(*first, api, until)]
        if found[0][1] == UNREACHED:
            rest = []
        found += await asyncio.gather(*(_finding(*one, api, until) for one in rest))
    findings = [finding for finding, _ in found]
    passed = all(finding.passed for finding in findings)
    report = Report(url, passed, _since_ms(began), findings)
    return report, any(status in {401, 403} for _, status in found)


class Api:
    """Requests that must be answered as a check expects."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(
        self, status: int | tuple[int, ...], method: str, path: str, **request: Any
    ) -> httpx.Response:
        """The answer; raises Unexpected when its status is another."""
        response = await self._client.request(method, path, **request)
        wanted = status if isinstance(status, tuple) else (status,)
        if response.status_code not in wanted:
            raise Unexpected(_complaint(method, path, wanted[0], response), response.status_code)
        return response

    @asynccontextmanager
    async def made(self, path: str, **request: Any) -> AsyncIterator[dict[str, Any]]:
        """What a POST makes, until the end of the block."""
        made: dict[str, Any] = (await self.ask(201, "POST", path, **request)).json()
        try:
            yield made
        finally:
            await self.ask(204, "DELETE", f"{path}/{made['id']}")


Check = Callable[[Api], Awaitable[str]]


async def _finding(name: str, check: Check, api: Api, until: float) -> tuple[Finding, int]:
    began, passed, status = time.monotonic(), False, 0
    try:
        async with asyncio.timeout(until - began):
            detail = await check(api)
        passed = True
    except Unexpected as error:
        detail, status = str(error), error.status
    except TimeoutError:
        detail = "not done in time"
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        detail, status = f"nothing answers there ({error})", UNREACHED
    except (httpx.HTTPError, ValueError, LookupError) as error:
        detail = f"{type(error).__name__}: {error}"
    return Finding(name, passed, _since_ms(began), detail), status


async def _health(api: Api) -> str:
    await api.ask(200, "GET", "/health/ready")
    health = (await api.ask(200, "GET", "/health")).json()
    _holds(health["status"] == "ok", f"/health says {health['status']}")
    return f"{health['version']} on {health['instance']}, redis {health['redis']}"


async def _metrics(api: Api) -> str:
    answer = await api.ask((200, 403), "GET", "/metrics")
    if answer.status_code == 403:
        return "kept from callers behind an edge"
    _holds("camp_db_pool_in_use" in answer.text, "/metrics does not tell of the pool")
    return f"{answer.text.count('# TYPE')} metrics"


async def _docs(api: Api) -> str:
    described = (await api.ask(200, "GET", "/docs/openapi.json")).json()
    await api.ask(200, "GET", "/docs")
    return f"{len(described['paths'])} routes described"


async def _problems(api: Api) -> str:
    problem = (await api.ask(404, "GET", "/no/such/route")).json()
    _holds(problem["code"] == "route_not_found", f"the problem's code is {problem['code']}")
    return "unknown routes are problems"


async def _users(api: Api) -> str:
    me = (await api.ask(200, "GET", f"{API}/users/me")).json()
    return f"signed in as {me['display_name']}"


async def _projects(api: Api) -> str:
    async with api.made(f"{API}/projects", json={"name": NAME}) as project:
        path = f"{API}/projects/{project['id']}"
        read = await api.ask(200, "GET", path)
        changed = await api.ask(
            200,
            "PATCH",
            path,
            json={"description": "changed"},
            headers={"if-match": read.headers["etag"]},
        )
        _holds(changed.json()["description"] == "changed", "the change is not seen")
    await api.ask(404, "GET", path)
    return "made, changed, deleted"


async def _files(api: Api) -> str:
    async with api.made(f"{API}/projects", json={"name": NAME}) as project:
        path = f"{API}/projects/{project['id']}/files"
        text = {"content": WORDS, "headers": {"content-type": "text/plain"}}
        async with api.made(path, params={"name": "smoke.txt"}, **text) as file:
            content = f"{path}/{file['id']}/content"
            part = await api.ask(206, "GET", content, headers={"range": "bytes=4-6"})
            _holds(part.text == WORDS[4:7], f"the middle of the file is {part.text!r}")
    return "kept, read in part, deleted"


async def _chats(api: Api) -> str:
    async with api.made(f"{API}/chats", json={"title": NAME}) as made:
        path = f"{API}/chats/{made['id']}"
        prompt = {"content": WORDS, "token_delay_ms": 0}
        stream = (await api.ask(200, "POST", f"{path}/stream", json=prompt)).text
        names = [line[7:] for line in stream.splitlines() if line.startswith("event: ")]
        _holds(names[-1:] == ["done"], f"the answer ended with {names[-1:]}")
        data = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
        said = "".join(item.get("text", "") for item in data)
        kept = (await api.ask(200, "GET", path)).json()["messages"]
        _holds(kept[-1]["content"] == said, "the answer was not kept as it was streamed")
    return f"{names.count('token')} tokens streamed and kept"


async def _runs(api: Api) -> str:
    work = {"kind": "echo", "input": {"text": WORDS, "steps": 1, "delay_ms": 0}}
    run = (await api.ask(202, "POST", f"{API}/runs", json=work)).json()
    path = f"{API}/runs/{run['id']}"
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            while run["state"] in {"waiting", "running"}:
                await asyncio.sleep(RUN_POLL_S)
                run = (await api.ask(200, "GET", path)).json()
    except TimeoutError:
        # As when RUN_WORKERS=0 everywhere: nothing of it shall stay behind.
        await api.ask(200, "POST", f"{path}/cancel")
    await api.ask(204, "DELETE", path)
    _holds(run["state"] == "succeeded", f"the run is {run['state']} after {RUN_LIMIT_S:g} s")
    return "one done and forgotten"


CHECKS: dict[str, Check] = {
    "health": _health,
    "metrics": _metrics,
    "docs": _docs,
    "problems": _problems,
    "users": _users,
    "projects": _projects,
    "files": _files,
    "chats": _chats,
    "runs": _runs,
}


def _holds(claim: bool, otherwise: str) -> None:
    if not claim:
        raise Unexpected(otherwise)


def _complaint(method: str, path: str, wanted: int, response: httpx.Response) -> str:
    """What came instead; a problem's code and request id lead to the log line."""
    said = f"{method} {path} answered {response.status_code} instead of {wanted}"
    if "problem" in response.headers.get("content-type", ""):
        problem = response.json()
        said += f" ({problem['code']}: {problem['detail']} request {problem.get('request_id')})"
    return said


def _since_ms(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
