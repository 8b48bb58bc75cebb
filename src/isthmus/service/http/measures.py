"""What the server counts of itself: for Prometheus, and for its own page."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count

from isthmus.service.events import Verdict
from isthmus.service.http.replies import Traffic
from isthmus.service.http.ring import Ring
from isthmus.service.types import Reply

_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
TIMED = ("/v1/recommend", "/v1/rank")
"""Routes whose latencies are the service's own."""


class Measures:
    """Counts since the start. Labels are of fixed sets: they do not grow with what is sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.started = time.monotonic()
        self.ring = Ring()
        self.requests = 0
        self.errors: Counter[str] = Counter()
        self._named: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        made: dict[str, Any] = {"registry": self.registry}
        self._answered = Count(
            "isthmus_requests", "Requests answered.", ("route", "status"), **made
        )
        self._seconds = Histogram(
            "isthmus_request_seconds", "From head to reply.", ("route",), buckets=_BUCKETS, **made
        )
        self._stage = Histogram(
            "isthmus_stage_seconds", "By stage.", ("stage",), buckets=_BUCKETS, **made
        )
        self._events = Count("isthmus_events", "Events by verdict.", ("verdict",), **made)
        self._warnings = Count(
            "isthmus_event_warnings", "Events kept with one.", ("warning",), **made
        )
        self._fallbacks = Count("isthmus_fallbacks", "Replies with one.", ("fallback",), **made)
        self._gauges = {
            name: Gauge(f"isthmus_{name}", text, **made)
            for name, text in (
                ("in_flight", "Requests under way."),
                ("waiting", "Requests that wait for a thread."),
                ("backlog", "Requests that wait for the disk."),
                ("ready", "1 if runs are loaded and warm."),
            )
        }
        self._loaded = Gauge("isthmus_loaded", "1 for what is served.", ("version",), **made)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A reply was sent."""
        self.requests += 1
        if failed := status >= 400:
            self.errors[str(status)] += 1
        self._answered.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        timed = route in TIMED and not failed
        self.ring.add(1000 * seconds if timed else None, failed=failed)

    def replied(self, known: frozenset[str], asked: Iterable[str], reply: Reply) -> None:
        """Items were given. Domains count that are ``known``; requests may name any others."""
        self._named.update(known.intersection(asked))
        self._given.update(item.domain for item in reply.items if item.domain in known)
        for stage, milliseconds in reply.milliseconds.items():
            self._stage.labels(stage).observe(milliseconds / 1000)
        if reply.flags.fallback:
            self._fallbacks.labels(reply.flags.fallback).inc()

    def kept(self, domains: Iterable[str], verdicts: Sequence[Verdict]) -> None:
        """Events were kept; ``domains`` are the known ones among theirs."""
        self._kept.update(domains)
        for verdict, count in Counter(one.status for one in verdicts).items():
            self._events.labels(verdict).inc(count)
        for warning, count in Counter(one.warning for one in verdicts if one.warning).items():
            self._warnings.labels(warning).inc(count)

    def traffic(self, domain: str) -> Traffic:
        """Of a domain."""
        return Traffic(self._named[domain], self._given[domain], self._kept[domain])

    def as_text(self, version: str, **now: float) -> bytes:
        """In the format of Prometheus, with what is so at the moment."""
        for name, value in now.items():
            self._gauges[name].set(value)
        self._loaded.clear()
        self._loaded.labels(version).set(1)
        text: bytes = generate_latest(self.registry)
        return text
