"""Numbers for Prometheus: what is asked, how long it takes, how large the collection is."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})

# From a cached thumbnail to the first search after a start.
BUCKET_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

OTHER = "other"
"""Label of what strangers can make up: there must be no series for each."""


@dataclass(frozen=True, slots=True)
class CollectionSize:
    """What a collection holds, and its version."""

    n_images: int
    n_failures: int
    version: int


class Metrics:
    """The numbers of one server, in a registry of its own.

    Parameters
    ----------
    measure : callable
        Returns the size of the collection now; called when the numbers are asked for.
    """

    def __init__(self, measure: Callable[[], CollectionSize]) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = Gauge(
            "isophote_requests_in_flight",
            "Requests being answered or waiting for their turn.",
            registry=self.registry,
        )
        self._requests = Counter(
            "isophote_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "isophote_request_seconds",
            "Time until the end of the answer.",
            ("route",),
            buckets=BUCKET_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_SizeCollector(measure))
        ProcessCollector(registry=self.registry)

    def observe(self, scope: Scope, *, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Parameters
        ----------
        scope : dict
            Of the request, as its route left it.
        status : int
            HTTP status; its first digit is counted.
        seconds : float
        """
        method = scope["method"] if scope["method"] in METHODS else OTHER
        # The template of the route, as in /images/{image_id}. Requests that were refused before,
        # and paths without a route, have none.
        route = getattr(scope.get("route"), "path", OTHER)
        self._requests.labels(route, method, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)

    def exposition(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self.registry)


class _SizeCollector(Collector):
    def __init__(self, measure: Callable[[], CollectionSize]) -> None:
        self._measure = measure

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the names alone, so that registering does not measure; see prometheus_client."""
        return _size_families(CollectionSize(0, 0, 0))

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the numbers; see prometheus_client."""
        return _size_families(self._measure())


def _size_families(size: CollectionSize) -> list[GaugeMetricFamily]:
    return [
        GaugeMetricFamily("isophote_images", "Photos in the collection.", size.n_images),
        GaugeMetricFamily("isophote_failures", "Files that could not be indexed.", size.n_failures),
        GaugeMetricFamily("isophote_version", "Version of the collection.", size.version),
    ]


class Measured:
    """ASGI middleware that counts requests and times them.

    Parameters
    ----------
    app : ASGI app
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers if the app ends without an answer

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        started_at = time.perf_counter()
        try:
            with self._metrics.in_flight.track_inprogress():
                await self._app(scope, receive, note_status)
        finally:
            seconds = time.perf_counter() - started_at
            self._metrics.observe(scope, status=status, seconds=seconds)


def metrics_router(metrics: Metrics) -> APIRouter:
    """Return the route /metrics."""
    router = APIRouter(include_in_schema=False)

    # In a thread of its own: counting failures reads a table.
    @router.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router
