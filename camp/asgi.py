"""The composition root: which parts the service is made of, and how they find each other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

import camp
from camp.auth.authenticator import Authenticator, require_user
from camp.cache import Cache
from camp.chats.answering import Answerer
from camp.chats.controller import ChatController
from camp.chats.keeping import Keeping
from camp.chats.model_port import ModelProvider
from camp.chats.providers import EchoProvider, model_of, saying
from camp.chats.service import ChatService
from camp.config.settings import Settings
from camp.database.engine import Sessions, Statements, build_engine, build_sessions
from camp.files.controller import FileController
from camp.files.service import FileService
from camp.files.storage import ObjectStorage
from camp.http import problems
from camp.http.access_log import AccessLayer
from camp.http.client_address import Peers, who_pays
from camp.http.docs.page import DocsPage
from camp.http.docs.responses import RouteAnswers
from camp.http.head import HeadLayer
from camp.http.headers import SecurityHeaders
from camp.http.places import Places, too_many_streams, too_many_uploads, uploads_busy
from camp.http.rate_limit import RateLimiter, require_user_in_budget
from camp.lifecycle import Lifecycle
from camp.observability.metrics import Metrics
from camp.ops import controller as ops
from camp.ops.readiness import Readiness
from camp.ops.schema import SchemaHistory, packaged_history
from camp.projects import roles
from camp.projects.controller import MemberController, ProjectController
from camp.projects.members import MemberService
from camp.projects.service import ProjectService
from camp.runs.controller import RunController
from camp.runs.kinds import build_kinds
from camp.runs.leases import Leases
from camp.runs.nudges import Nudges
from camp.runs.service import RunService
from camp.runs.worker import RunWorker
from camp.users.controller import UserController
from camp.users.service import UserService
from controlplane.wiring.api import control_api

BODY_MAX_BYTES = 1_000_000
# What a browser's script on another origin may read, beside what it always may.
EXPOSED = ["ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"]


def route_handlers(limited: bool = False) -> list[ControllerRouterHandler]:
    """Everything of the service that answers HTTP; `limited` counts what each user asks for."""
    api = Router(
        "/api/v1",
        route_handlers=[
            UserController,
            ChatController,
            ProjectController,
            MemberController,
            FileController,
            RunController,
        ],
        guards=[require_user_in_budget if limited else require_user],
        security=[{"bearer": []}],
    )
    return [*ops.HANDLERS, api]


def create_app(settings: Settings, history: SchemaHistory | None = None) -> Litestar:
    """The app of one instance; opens no connection until it starts.

    `app.state` carries settings, lifecycle, engine, redis (None when off) for other routers.
    """
    app = Litestar(
        route_handlers=route_handlers(limited=bool(settings.rate_limit)),
        lifespan=[_closing, _working],
        exception_handlers={HTTPException: problems.respond, Exception: problems.respond},
        cors_config=_cors(settings),
        openapi_config=_openapi(),
        plugins=[RouteAnswers(signed_in="/api/v1", elsewhere="/control")],
        logging_config=None,
        request_max_body_size=BODY_MAX_BYTES,
    )
    _fill_state(app, settings, history or packaged_history())
    _plug_control_plane(app)
    app.asgi_handler = AccessLayer(
        HeadLayer(app.asgi_handler),
        app.state.lifecycle,
        app.state.metrics,
        SecurityHeaders(settings.environment),
    )
    app.state.traces = _traces(settings)
    if app.state.traces is not None:
        app.asgi_handler = app.state.traces.around(app.asgi_handler)
    return app


def _fill_state(app: Litestar, settings: Settings, history: SchemaHistory) -> None:
    state = app.state
    state.settings = settings
    state.schema = history
    state.lifecycle = Lifecycle()
    state.engine = build_engine(settings)
    state.redis = _redis(settings.redis_url)
    state.readiness = Readiness(settings.database_url, history)
    state.peers = Peers(settings.trusted_proxies)
    state.metrics = Metrics(state.lifecycle, state.engine)
    state.metrics.gauge(
        "camp_db_pool_limit",
        "Connections the pool opens at the most.",
        lambda: settings.db_pool_size + settings.db_max_overflow,
    )
    state.metrics.name_build(camp.__version__, settings.camp_digest, settings.camp_instance)
    state.limiter = _limiter(settings, state.metrics)
    sessions, statements = build_sessions(state.engine), Statements(state.engine)
    state.streams = Places(settings.streams_per_user, too_many_streams)
    state.users = UserService(
        sessions,
        statements,
        lambda user: state.authenticator.learn(user),  # noqa: PLW0108 - it is made below
    )
    state.chats = ChatService(sessions, statements)
    _projects(state, sessions)
    state.provider = EchoProvider()
    model = model_of(settings)
    state.keeping = Keeping(state.chats)
    state.answerer = model and Answerer(model, state.keeping, state.lifecycle, settings)
    _runs(state, sessions, model)
    state.authenticator = Authenticator(settings, state.users.ensure)


def _limiter(settings: Settings, metrics: Metrics) -> RateLimiter | None:
    if not settings.rate_limit:
        return None
    limiter = RateLimiter(settings)
    metrics.counter(
        "camp_rate_limited_requests", "Requests answered with 429.", lambda: limiter.refused
    )
    metrics.gauge("camp_rate_limiter_down", "1 while Redis cannot count.", lambda: limiter.down)
    return limiter


def _projects(state: Any, sessions: Sessions) -> None:
    state.role_cache = Cache(
        state.redis,
        "role",
        ttl_s=roles.TTL_S,
        timeout_s=state.settings.redis_timeout_s,
        tally=state.metrics.count_cache,
    )
    state.roles = roles.CachedRoles(sessions, state.role_cache)
    state.projects = ProjectService(sessions, state.roles, state.role_cache)
    storage = ObjectStorage(state.settings.storage_url, state.settings.storage_options)
    settings: Settings = state.settings
    state.files = FileService(
        sessions, state.roles, storage, settings.file_types, settings.project_quota_bytes
    )
    state.uploads = Places(settings.uploads_max, uploads_busy)
    state.uploads_of_user = Places(settings.uploads_per_user, too_many_uploads)
    state.members = MemberService(sessions, state.roles, state.role_cache)


def _runs(state: Any, sessions: Sessions, model: ModelProvider | None) -> None:
    settings: Settings = state.settings
    kinds = build_kinds(state.chats.transcript, saying(state.provider, model, settings))
    state.nudges = Nudges(state.redis, settings.redis_timeout_s)
    state.runs = RunService(sessions, kinds, state.nudges.send, settings.run_max_active)
    state.run_worker = RunWorker(
        Leases(sessions, settings.camp_instance, settings.run_lease_s),
        kinds,
        state.lifecycle,
        state.nudges,
        slots=settings.run_workers,
        lease_s=settings.run_lease_s,
        retention_days=settings.run_retention_days,
    )
    state.metrics.gauge("camp_runs_held", "Runs in hand.", lambda: state.run_worker.held)


def _traces(settings: Settings) -> Any:
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from camp.observability.traces import Traces

    return Traces(settings)


def _plug_control_plane(app: Litestar) -> None:
    """The control API runs in every instance; it shares the engine and ends with our drain."""
    state = app.state
    control = control_api(
        state.engine,
        state.settings.redis_url,
        state.lifecycle,
        lambda scope: who_pays(state.peers.address(scope)),
    )
    state.close_control_plane = control.close
    state.metrics.ask(control.figures)
    app.register(control.router)


def _redis(url: str | None) -> Any:
    if url is None:
        return None
    from redis.asyncio import Redis

    return Redis.from_url(url, socket_connect_timeout=1.0)


@asynccontextmanager
async def _closing(app: Litestar) -> AsyncIterator[None]:
    """Give the connections back when the app ends."""
    try:
        yield
    finally:
        if app.state.answerer is not None:
            await app.state.answerer.close()
        await app.state.keeping.close()
        await app.state.authenticator.close()
        await app.state.readiness.close()
        if app.state.limiter is not None:
            await app.state.limiter.close()
        await app.state.close_control_plane()
        await app.state.engine.dispose()
        await app.state.role_cache.close()
        if app.state.redis is not None:
            await app.state.redis.aclose()
        if app.state.traces is not None:
            await app.state.traces.close()


@asynccontextmanager
async def _working(app: Litestar) -> AsyncIterator[None]:
    """Work on runs while the app runs; what is in hand at the end goes back."""
    state = app.state
    if state.settings.run_workers:
        state.nudges.start()
        state.run_worker.start()
    try:
        yield
    finally:
        await state.run_worker.close()
        await state.nudges.close()


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.allowed_origins:
        return None
    return CORSConfig(allow_origins=list(settings.allowed_origins), expose_headers=EXPOSED)


def _openapi() -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer")
    return OpenAPIConfig(
        title="camp",
        version=camp.__version__,
        path="/docs",
        use_handler_docstrings=True,
        components=Components(security_schemes={"bearer": bearer}),
        render_plugins=[DocsPage()],
    )
