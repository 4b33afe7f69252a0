"""The gauges and histograms of one instance, read from the real objects when scraped."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from camp.database.engine import pool_usage
from camp.lifecycle import Lifecycle

Read = Callable[[], float]
Figure = tuple[str, str, dict[str, str], float]
"""Name, text, labels and value of a gauge that is asked for elsewhere."""
# Two scrapers at once, or a person reloading the page, ask once.
FIGURES_MAX_AGE_S = 2.0
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """A registry of its own, so that two apps in one process do not share counts."""

    def __init__(self, lifecycle: Lifecycle, engine: AsyncEngine) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "camp_request_duration_seconds",
            "Time to the end of the response, by route template.",
            ["method", "route", "status"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        # `labels()` costs more than the observation; the routes are few, so keep its results.
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._caches = Counter(
            "camp_cache_requests_total",
            "Look-ups in a cache: hit, miss, or unavailable because Redis did not answer.",
            ["cache", "result"],
            registry=self.registry,
        )
        self._lookups: dict[tuple[str, str], Counter] = {}
        for name, (text, read) in _gauges(lifecycle, engine).items():
            self.gauge(name, text, read)
        ProcessCollector(registry=self.registry)
        self._asked = _Asked()
        self.registry.register(self._asked)

    def name_build(self, version: str, digest: str, instance: str) -> None:
        """Export which build this is, to join other series with."""
        build = Info("camp_build", "Which build of camp this is.", registry=self.registry)
        build.info({"version": version, "digest": digest, "name": instance})

    def ask(self, source: Callable[[], Awaitable[Iterable[Figure]]]) -> None:
        """Export what `source` says, asked by `refresh`."""
        self._asked.source = source

    async def refresh(self) -> None:
        """Ask for what cannot be read on the spot; before `exposition`."""
        await self._asked.refresh()

    def gauge(self, name: str, text: str, read: Read) -> None:
        """Export a number that goes up and down, read when scraped."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def counter(self, name: str, text: str, read: Read) -> None:
        """Export a number that only grows, read when scraped; `_total` is added to its name."""
        self.registry.register(_Counted(name, text, read))

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one finished request."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._requests.labels(method, route, str(status))
        series.observe(duration_s)

    def count_cache(self, cache: str, result: str) -> None:
        """Count one look-up in a cache."""
        key = (cache, result)
        series = self._lookups.get(key)
        if series is None:
            series = self._lookups[key] = self._caches.labels(cache, result)
        series.inc()

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Counted(Collector):
    """A counter that is kept elsewhere: prometheus_client's own cannot be given a function."""

    def __init__(self, name: str, text: str, read: Read) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())


class _Asked(Collector):
    """Gauges whose values come from an awaitable source."""

    def __init__(self) -> None:
        self.source: Callable[[], Awaitable[Iterable[Figure]]] | None = None
        self._figures: tuple[Figure, ...] = ()
        self._at = -FIGURES_MAX_AGE_S

    async def refresh(self) -> None:
        if self.source is None or time.monotonic() - self._at < FIGURES_MAX_AGE_S:
            return
        self._at = time.monotonic()
        self._figures = tuple(await self.source())

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._figures:
            if name not in families:
                families[name] = GaugeMetricFamily(name, text, labels=list(labels))
            families[name].add_metric(list(labels.values()), value)
        yield from families.values()


def _gauges(lifecycle: Lifecycle, engine: AsyncEngine) -> dict[str, tuple[str, Read]]:
    return {
        "camp_active_streams": ("Chat streams running.", lambda: lifecycle.chat_streams),
        "camp_event_streams": ("Event streams running.", lambda: lifecycle.event_streams),
        "camp_requests_in_flight": ("Requests but streams.", lambda: lifecycle.requests),
        "camp_draining": ("1 while draining.", lifecycle.draining.is_set),
        "camp_db_pool_in_use": ("Connections in use.", lambda: pool_usage(engine)[0]),
        "camp_db_pool_size": ("Connections the pool keeps.", lambda: pool_usage(engine)[1]),
    }
