"""Fuzz the service by its own OpenAPI document: `just fuzz`, or `just fuzz --cases 100`.

Schemathesis asks a real instance on real servers with valid, invalid and chained requests. An
answer of 5xx is a failure, and so is one that the document does not name. Event streams are left
out, since they have no end of their own, and the drain, since it would end the instance. Exit code
1 when something failed, or when there were fewer requests than the goal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from camp.config.sign_in import DEFAULT_MOCK_TOKEN
from controlplane.embedded.kept import free_port
from controlplane.embedded.servers import start_postgres, start_redis
from controlplane.schema.runner import upgrade
from tests.waiting import wait_until

GOAL = 10_000
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
WITHOUT_END = r"(/stream|/events|/internal/drain)$"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)


def fuzzed(folder: Path, cases: int, seed: int) -> int:
    """Start everything, let Schemathesis ask, and stop everything; its exit code."""
    with ExitStack() as stack:
        postgres, redis = start_postgres(folder / "postgres"), start_redis(folder / "redis")
        stack.callback(postgres.stop)
        stack.callback(redis.stop)
        url = postgres.url("postgres")
        asyncio.run(upgrade(url, say=lambda _: None))
        port = free_port()
        (folder / "files").mkdir()
        environ = os.environ | {
            "ENVIRONMENT": "local",
            "DATABASE_URL": url,
            "REDIS_URL": redis.url(),
            "LOG_LEVEL": "warning",
            "STORAGE_URL": f"file://{folder}/files",
        }
        log = stack.enter_context((folder / "camp.log").open("w+"))
        command = [sys.executable, "-m", "camp", "serve", "--port", str(port)]
        service = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        stack.callback(stopped, service)
        assert wait_until(lambda: answers(port), START_DEADLINE_S), (
            folder / "camp.log"
        ).read_text()
        code = asked(f"http://127.0.0.1:{port}", folder, cases, seed)
        if code:
            print((folder / "camp.log").read_text()[-20_000:], file=sys.stderr)
        return code


def answers(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success
    except httpx.TransportError:
        return False


def asked(url: str, folder: Path, cases: int, seed: int) -> int:
    """Run Schemathesis; its exit code."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
    command += [f"{url}/docs/openapi.json", "-H", f"Authorization: Bearer {DEFAULT_MOCK_TOKEN}"]
    command += ["--include-path-regex", "^/(api|health|metrics|$)"]
    command += ["--exclude-path-regex", WITHOUT_END, "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"]
    command += ["--max-examples", str(cases), "--seed", str(seed), "--request-timeout", "20"]
    command += ["--suppress-health-check", "all", "--no-shrink"]
    # One thread: two that parse Python at once can fail in CPython 3.11 (python/cpython#106905).
    command += ["--workers", "1"]
    command += ["--report", "json", "--report-json-path", str(folder / "report.json")]
    # It keeps a cache where it runs.
    return subprocess.run(command, cwd=folder, check=False).returncode


def stopped(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        service.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="just fuzz")
    parser.add_argument("--cases", type=int, default=400, help="at most, of each route and phase")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same")
    parser.add_argument("--goal", type=int, default=GOAL, help="fewer in all are a failure")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camp-fuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        code = fuzzed(folder, given.cases, given.seed)
        asked_in_all = json.loads((folder / "report.json").read_text())["test_cases"]["generated"]
    if asked_in_all < given.goal:
        print(f"Only {asked_in_all:,} cases of {given.goal:,}: raise --cases.", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
