"""Training rows that stay in their file: a shuffle of row groups, and a sample that is at hand.

An epoch takes the row groups in an order of its own. Neighbours in it, as many as fit into
``window`` rows, are a *window*: its rows are mixed among each other, then come those of the next.
Order and samples depend on the data, ``window``, the seed and the epoch; not on time or threads.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.data.feed import generator
from isthmus.data.groups import Block, Groups
from isthmus.data.prepared import Prepared

SAMPLE = 2**18
"""Rows of the sample of all rows, and of the samples of all domains together."""
LEAST = 4096
"""Rows of a domain's sample at least, where it has so many."""
_ORDER, _AT_HAND = 3, 4  # the purposes of generators: the order of an epoch, and what is at hand


class Stream:
    """A split of a prepared data set as a ``Source`` of a feed.

    In memory are two windows (one in use, one being read), a row group, and, once they are asked
    for, ``sample`` and ``at_hand``. A window of one group is as large as that group, where it is
    larger than ``window``. ``ahead`` windows are read before they are wanted.
    """

    def __init__(
        self, prepared: Prepared, split: str, *, seed: int, window: int, ahead: int = 1
    ) -> None:
        self.groups, self.seed = Groups(prepared, split), seed
        self.window, self.ahead = window, ahead
        self._rows_G = self.groups.sizes_GD.sum(1)
        self._last: tuple[int, Block] | None = None

    def __len__(self) -> int:
        return int(self._rows_G.sum())

    @property
    def domains(self) -> list[int]:
        return [d for d in np.flatnonzero(self.groups.sizes_GD.sum(0)).tolist() if d]

    def batches(self, epoch: int, size: int, start: int = 0) -> Iterator[Impressions]:
        """Each row once, in batches of ``size``, from batch ``start`` on; no window before is read."""
        waiting: list[Impressions] = []  # of the windows before, together less than a batch
        number = 0
        for block, order in self._mixed(epoch, start * size):
            for part in (order[: size - number], *order[size - number :].split(size)):
                if not len(part):
                    continue
                waiting.append(block.take(part))
                number += len(part)
                if number == size:
                    yield _one(waiting)
                    waiting, number = [], 0
        if waiting:
            yield _one(waiting)

    def _mixed(self, epoch: int, behind: int) -> Iterator[tuple[Block, Tensor]]:
        """Each window with the order of its rows, but for the first ``behind`` rows of the epoch."""
        windows = self.windows(epoch)
        sizes = [int(self._rows_G[window].sum()) for window in windows]
        first = 0
        while first < len(windows) and sizes[first] <= behind:
            behind -= sizes[first]
            first += 1
        for number, block in enumerate(self._blocks(windows[first:]), first):
            rng = generator(self.seed, epoch, _ORDER, number)
            yield block, torch.randperm(sizes[number], generator=rng)[behind:]
            behind = 0

    def windows(self, epoch: int) -> list[list[int]]:
        """The row groups of each window of an epoch; groups without rows are in none."""
        there = np.flatnonzero(self._rows_G)
        order = torch.randperm(len(there), generator=generator(self.seed, epoch, _ORDER))
        windows: list[list[int]] = []
        free = 0
        for group in there[order.numpy()].tolist():
            if int(self._rows_G[group]) > free:
                windows.append([])
                free = max(self.window, int(self._rows_G[group]))
            windows[-1].append(group)
            free -= int(self._rows_G[group])
        return windows

    def _blocks(self, windows: list[list[int]]) -> Iterator[Block]:
        """Each window's rows; a block is written anew once the next one is asked for."""
        most = max((int(self._rows_G[window].sum()) for window in windows), default=0)
        columns = self.groups.schema.num_columns
        blocks = [Block(most, columns) for _ in range(min(self.ahead + 1, len(windows)))]
        with ThreadPoolExecutor(1, "stream") as reader:
            reading: list[Future[Block]] = []
            try:
                for number in range(len(windows) + self.ahead):
                    if number < len(windows):
                        block = blocks[number % len(blocks)]
                        reading.append(reader.submit(self._filled, windows[number], block))
                    if number >= self.ahead:
                        yield reading[number - self.ahead].result()
            finally:
                reader.shutdown(cancel_futures=True)

    def _filled(self, window: list[int], block: Block) -> Block:
        place = 0
        for group in window:
            place = self.groups.read(group, block, place)
        return block

    # --- in the file's order

    def __getitem__(self, rows: slice) -> Impressions:
        """Rows in the file's order; who takes neighbouring slices reads each group once."""
        start, stop, _ = rows.indices(len(self))
        ends = self._rows_G.cumsum()
        parts = [self._none()]
        for group in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
            before = int(ends[group] - self._rows_G[group])
            if before >= stop:
                break
            low, high = max(start - before, 0), min(stop, int(ends[group])) - before
            parts.append(self._group(group).take(torch.arange(low, high)))
        return _one(parts)

    def _none(self) -> Impressions:
        return Block(0, self.groups.schema.num_columns).take(torch.arange(0))

    def _group(self, group: int) -> Block:
        """A group's rows; those of the one before are forgotten."""
        if self._last is None or self._last[0] != group:
            block = Block(int(self._rows_G[group]), self.groups.schema.num_columns)
            self.groups.read(group, block, 0)
            self._last = group, block
        return self._last[1]

    # --- at hand

    @property
    def sample(self) -> Impressions:
        """``SAMPLE`` rows of all, drawn by the seed; all where there are no more."""
        return self._drawn[0]

    @property
    def at_hand(self) -> Impressions:
        """Rows of each domain id, drawn by the seed from its own, in the order of the file."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[Impressions, Impressions]:
        """Both, by one pass over all rows."""
        sizes_GD = self.groups.sizes_GD
        present = np.flatnonzero(sizes_GD.sum(0))
        most = max(LEAST, SAMPLE // max(1, len(present)))
        ranks = {d: self._ranks(int(sizes_GD[:, d].sum()), most, int(d)) for d in present.tolist()}
        evenly = self._ranks(len(self), SAMPLE)
        before_GD = np.cumsum(sizes_GD, axis=0) - sizes_GD
        before_G = np.cumsum(self._rows_G) - self._rows_G
        block = Block(int(self._rows_G.max(initial=0)), self.groups.schema.num_columns)
        found = [self._none()], [self._none()]
        for group in np.flatnonzero(self._rows_G).tolist():
            rows = self.groups.read(group, block, 0)
            places = [_within(evenly, before_G[group], rows)]
            domain = block.domain[:rows]
            own = [
                np.flatnonzero(domain == d)[
                    _within(ranks[d], before_GD[group, d], sizes_GD[group, d])
                ]
                for d in ranks
            ]
            places.append(np.sort(np.concatenate(own)))
            for kind, place in zip(found, places, strict=True):
                kind.append(block.take(torch.from_numpy(place)))
        return _one(found[0]), _one(found[1])

    def _ranks(self, rows: int, most: int, *purpose: int) -> NDArray[np.int64]:
        """``most`` different numbers below ``rows``, sorted."""
        if most >= rows:
            return np.arange(rows)
        sequence = np.random.SeedSequence(self.seed, spawn_key=(0, 0, 0, _AT_HAND, *purpose))
        rng = np.random.default_rng(sequence)
        return np.sort(rng.choice(rows, most, replace=False, shuffle=False))


def _within(ranks: NDArray[np.int64], before: int, number: int) -> NDArray[np.int64]:
    """Of sorted ranks those in ``before .. before + number``, counted from there."""
    low, high = np.searchsorted(ranks, [before, before + number])
    return ranks[low:high] - before


def _one(parts: list[Impressions]) -> Impressions:
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((rows.features, rows.domain, rows.label) for rows in parts), strict=True)
    return Impressions(*(torch.cat(column) for column in columns))
