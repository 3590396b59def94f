"""What the server tells of itself: /metrics for Prometheus, and structured logs without secrets."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nbmlp.server.http.errors import problems
from nbmlp.server.http.gate import Answered
from nbmlp.server.http.limits import Places
from nbmlp.server.ports import Service

__all__ = ["Observer", "configure_logging", "router"]

_LOG = logging.getLogger("nbmlp.server.access")
_SECRET = re.compile(r"(?i)(bearer\s+|nbmlp_session\w*=|token[\"']?\s*[=:]\s*[\"']?)[^\s\"';,&]+")
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)


class _Now(Collector):
    """What is read when somebody asks: jobs, cores, disk, streams."""

    def __init__(self, service: Service, streams: Places) -> None:
        self._service, self._streams = service, streams

    def collect(self) -> Iterable[Metric]:
        """The figures of this moment."""
        health = self._service.health()
        jobs = GaugeMetricFamily("nbmlp_jobs", "Jobs by state.", labels=["state"])
        for state, count in health.jobs.items():
            jobs.add_metric([state], count)
        yield jobs
        for name, help_, value in (
            ("nbmlp_cores", "Cores for jobs.", health.cores),
            ("nbmlp_cores_used", "Cores that jobs occupy.", health.cores_used),
            ("nbmlp_disk_free_bytes", "Free space of the data folder.", health.disk_free),
            ("nbmlp_quarantined", "Files that the database does not know.", health.quarantined),
            ("nbmlp_event_streams", "Event streams that are open.", self._streams.taken),
        ):
            yield GaugeMetricFamily(name, help_, value=value)


class Observer:
    """Counts and logs requests.

    Parameters
    ----------
    service : Service
    streams : Places

    Attributes
    ----------
    registry : CollectorRegistry
    """

    def __init__(self, service: Service, streams: Places) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Now(service, streams))
        labels = ("method", "route", "status")
        self._requests = Counter("nbmlp_http_requests", "Requests.", labels, registry=self.registry)
        self._seconds = Histogram(
            "nbmlp_http_seconds", "Time to the end of the answer.", ("route",), buckets=_BUCKETS,
            registry=self.registry,
        )  # fmt: skip

    def __call__(self, done: Answered) -> None:
        """One request has ended."""
        scope, seconds = done.scope, time.perf_counter() - done.started
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(_method(scope["method"]), route, done.status).inc()
        self._seconds.labels(route).observe(seconds)
        if _LOG.isEnabledFor(logging.INFO):
            client = scope.get("client") or ("",)
            fields = {
                "method": scope["method"], "path": scope["path"], "status": done.status,
                "ms": round(1e3 * seconds, 2), "client": client[0],
                "user": scope.get("state", {}).get("user", ""),
            }  # fmt: skip
            _LOG.info("request", extra={"fields": fields})


def _method(method: str) -> str:
    """Clients may send any word as a method: that must not become a label each."""
    known = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
    return method if method in known else "other"


def router(observer: Observer) -> APIRouter:
    """The route ``/metrics``."""
    routes = APIRouter(tags=["server"])

    @routes.get(
        "/metrics", operation_id="prometheus_metrics", response_class=Response,
        responses={
            **problems(),
            200: {"content": {"text/plain": {}}, "description": "Prometheus's text."},
        },
    )  # fmt: skip
    def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(observer.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Lines(logging.Formatter):
    """One JSON object a line, with secrets blotted out."""

    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(fields, default=str)


def redacted(text: str) -> str:
    """Without tokens and session cookies."""
    return _SECRET.sub(r"\1[redacted]", text)


def configure_logging(level: str) -> None:
    """All of the server's logs, uvicorn's too, as JSON lines on stderr.

    Parameters
    ----------
    level : str
        ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    for name in ("nbmlp.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
