"""Interleaved timing in process CPU seconds: the one clock that a busy machine leaves usable."""

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    repeat: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """CPU seconds of one call of each side in each round; ``repeat`` calls a round, then their mean.

    The first round warms up and is not counted. Sides take turns within a round, so that a ratio of
    two sides compares the same minute of the machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, work in sides.items():
            times = (repeat or {}).get(name, 1) if number else 1
            start = time.process_time()
            for _ in range(times):
                work()
            if number:
                seconds[name].append((time.process_time() - start) / times)
    return seconds


def median(values: list[float]) -> float:
    return statistics.median(values)


def ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
