"""Traces for an OpenTelemetry collector, when OTEL_EXPORTER_OTLP_ENDPOINT says where one is.

Imported only then. Attributes follow the semantic conventions for HTTP servers.
"""

import asyncio
import threading

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import camp
from camp.config.settings import Settings
from camp.http.access_log import PROBES

# A collector that is gone costs the exit no more than this, and requests nothing: what the queue
# cannot hold is dropped.
EXPORT_TIMEOUT_S = 2.0
FLUSH_S = 2.0
_CONTEXT = TraceContextTextMapPropagator()


class Traces:
    """One span for each request, in the trace of whoever asked; sent in the background."""

    def __init__(self, settings: Settings) -> None:
        assert settings.otel_exporter_otlp_endpoint is not None
        endpoint = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        named = {
            "service.name": "camp",
            "service.version": camp.__version__,
            "service.instance.id": settings.camp_instance,
            "deployment.environment.name": settings.environment,
        }
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("camp", camp.__version__)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app, traced; probes are not."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or scope["path"] in PROBES:
                await app(scope, receive, send)
                return
            status = 0

            async def sent(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            method = str(scope["method"])
            with self._tracer.start_as_current_span(
                method, _CONTEXT.extract(_carrier(scope)), SpanKind.SERVER
            ) as span:
                # Every line that is logged for this request leads to its trace.
                trace_id = format_trace_id(span.get_span_context().trace_id)
                structlog.contextvars.bind_contextvars(trace_id=trace_id)
                try:
                    await app(scope, receive, sent)
                finally:
                    _describe(span, scope, method, status)

        return traced

    async def close(self) -> None:
        """Send what waits, as far as the collector takes it in time."""
        # A thread of its own, since no thread of the loop's may outlive the time limit.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, FLUSH_S)


def _carrier(scope: Scope) -> dict[str, str]:
    wanted = {b"traceparent", b"tracestate"}
    return {n.decode(): v.decode("latin-1") for n, v in scope["headers"] if n in wanted}


def _describe(span: Span, scope: Scope, method: str, status: int) -> None:
    """What is known only at the end: Litestar finds the route, the guards find the user."""
    span.set_attributes(
        {
            "http.request.method": method,
            "url.scheme": scope["scheme"],
            "url.path": scope["path"],
            "http.response.status_code": status,
            "camp.request_id": scope["state"].get("request_id", ""),
        }
    )
    if route := scope.get("path_template"):
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", str(route))
    if user_id := getattr(scope.get("user"), "user_id", None):
        span.set_attribute("user.id", str(user_id))
    if status >= 500:
        span.set_status(StatusCode.ERROR)
