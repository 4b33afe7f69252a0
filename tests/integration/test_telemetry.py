"""Traces at a collector of this process, which speaks OTLP over HTTP as real ones do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from camp.asgi import create_app
from camp.observability.traces import FLUSH_S
from tests.service import client_of, settings

ME = "/api/v1/users/me"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Its URL, and the spans it got, with their resource's attributes as `of`."""
    got: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                of = attributes(sent.resource)
                got.extend((span, of) for scope in sent.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(thing: Any) -> dict[str, Any]:
    """Those of a span or a resource, as plain values."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in thing.attributes}


async def test_request_is_a_span_in_the_trace_of_its_caller(migrated_database_url: str) -> None:
    with collector() as (url, got):
        made = settings(migrated_database_url, OTEL_EXPORTER_OTLP_ENDPOINT=url)
        async with client_of(made) as client:
            await client.get("/health/ready")
            caller = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "r1"}
            user_id = (await client.get(ME, headers=caller)).json()["id"]
    ((span, of),) = got
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (
        f"GET {ME}",
        TRACE,
        CALLER,
    )
    said = attributes(span)
    assert (said["http.route"], said["http.response.status_code"]) == (ME, 200)
    assert (said["user.id"], said["camp.request_id"]) == (user_id, "r1")
    assert (of["service.name"], of["deployment.environment.name"]) == ("camp", made.environment)


async def test_unknown_route_has_no_name_of_its_own_and_is_no_error_of_ours(
    migrated_database_url: str,
) -> None:
    with collector() as (url, got):
        made = settings(migrated_database_url, OTEL_EXPORTER_OTLP_ENDPOINT=url)
        async with client_of(made) as client:
            await client.get("/no/such/route")
    ((span, _),) = got
    assert (span.name, attributes(span)["http.response.status_code"]) == ("GET", 404)
    assert span.status.code != span.status.STATUS_CODE_ERROR


async def test_collector_that_is_gone_delays_neither_requests_nor_the_end(
    migrated_database_url: str,
) -> None:
    made = settings(migrated_database_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    async with client_of(made) as client:
        assert [(await client.get(ME)).status_code for _ in range(5)] == [200] * 5
        ending = time.monotonic()
    assert time.monotonic() - ending < FLUSH_S + 2


def test_without_a_collector_there_are_no_traces(migrated_database_url: str) -> None:
    code = "import camp.asgi, sys; sys.exit('camp.observability.traces' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
    assert create_app(settings(migrated_database_url)).state.traces is None
