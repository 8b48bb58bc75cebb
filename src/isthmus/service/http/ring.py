"""Latencies and errors of the last minutes, second by second, in fixed space."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from isthmus.service.http.replies import Second

SECONDS = 300
_BOUNDS = [0.1 * 1.1**n for n in range(140)]
"""Milliseconds, to a minute: a percentile is told to within a tenth of itself."""


class Latencies:
    """Counts of latencies by size."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)

    def add(self, milliseconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, milliseconds)] += 1

    def percentile(self, share: float) -> float | None:
        """An upper bound of this share of the latencies; None without any."""
        wanted, seen = share * sum(self.counts), 0
        for bound, count in zip([*_BOUNDS, _BOUNDS[-1]], self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return round(bound, 3)
        return None


class _Bin:
    def __init__(self, at: int) -> None:
        self.at, self.requests, self.errors, self.latencies = at, 0, 0, Latencies()


class Ring:
    """The last ``SECONDS`` seconds; seconds in which nothing happened are left out."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._bins: deque[_Bin] = deque(maxlen=SECONDS)
        self.total = Latencies()

    def add(self, milliseconds: float | None, *, failed: bool) -> None:
        """A request; without a latency where that is of no interest."""
        now = int(self._clock())
        if not self._bins or self._bins[-1].at < now:
            self._bins.append(_Bin(now))
        newest = self._bins[-1]
        newest.requests += 1
        newest.errors += failed
        if milliseconds is not None:
            newest.latencies.add(milliseconds)
            self.total.add(milliseconds)

    def seconds(self) -> tuple[Second, ...]:
        """Oldest first."""
        oldest = int(self._clock()) - SECONDS
        return tuple(_second(one) for one in self._bins if one.at > oldest)

    def percentiles(self, shares: Sequence[float]) -> Iterable[float | None]:
        """Of all latencies since the start."""
        return [self.total.percentile(share) for share in shares]


def _second(one: _Bin) -> Second:
    p50, p99 = (one.latencies.percentile(share) for share in (0.5, 0.99))
    return Second(one.at, one.requests, one.errors, p50, p99)
