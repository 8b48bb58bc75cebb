"""Sequences of events, and the histories that are cut from them when a batch is asked for.

A user's known events lie one after another, so the history before a target is a slice of at most
``length`` events that ends where the target stands: nothing is stored twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.batch import Histories

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Rows of ``Histories`` that are not there until they are asked for: ``windows[rows]``.

    Shapes:
        items, item_domains: [E], the known events, users one after another.
        start, end: [N], the slice of events before each row's target, of all its user's.
        target, domain: [N], as in ``Histories``; target 0 is an item that training did not know.
    """

    items: Tensor
    item_domains: Tensor
    start: Tensor
    end: Tensor
    target: Tensor
    domain: Tensor
    length: int

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Tensor | slice) -> Histories:
        """The rows, padded with 0 on the left."""
        start_B, end_B, target_B, domain_B = (
            column[rows] for column in (self.start, self.end, self.target, self.domain)
        )
        place_BL = end_B[:, None] + torch.arange(-self.length, 0)
        padded_BL = place_BL < start_B[:, None]
        place_BL = place_BL.masked_fill(padded_BL, 0)
        if not len(self.items):  # nothing to take a slice of
            empty_BL = torch.zeros_like(place_BL)
            return Histories(empty_BL, empty_BL.clone(), target_B, domain_B)
        return Histories(
            self.items[place_BL].masked_fill(padded_BL, 0),
            self.item_domains[place_BL].masked_fill(padded_BL, 0),
            target_B,
            domain_B,
        )

    def take(self, rows: Tensor) -> "Windows":
        """These rows alone, still not cut."""
        return replace(
            self,
            start=self.start[rows],
            end=self.end[rows],
            target=self.target[rows],
            domain=self.domain[rows],
        )

    @property
    def seen(self) -> Tensor:
        """Events before each target, longer than ``length`` as well, [N]."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """All events, users one after another and each user's by time.

    Shapes:
        row, time, user, domain, item, split: [E]; item and domain 0 are unknown.
    """

    row: Ints
    time: Ints
    user: Ints
    domain: Ints
    item: Ints
    split: Ints

    def chosen(self, split: int, stride: int = 1, least: int = 0) -> Ints:
        """Places of a split's events; of every ``stride``-th alone, from each user's last one back.

        Only events of known items with at least ``least`` known events before them, where
        ``stride`` or ``least`` ask for any: what trains must be known.
        """
        places = np.flatnonzero(self.split == split)
        if stride == 1 and not least:
            return places
        places = places[self.item[places] > 0]
        own = self.user[places]
        ends = np.searchsorted(own, own, side="right") - 1  # each user's last chosen place
        places = places[(ends - np.arange(len(places))) % stride == 0]
        return places[self._before(places)[1] >= least]

    def windows(self, places: Ints, length: int) -> Windows:
        """A row for each of these events, its history the known events of its user before it."""
        end, seen = self._before(places)
        known = self.item > 0
        return Windows(
            items=_tensor(self.item[known]),
            item_domains=_tensor(self.domain[known]),
            start=_tensor(end - seen),
            end=_tensor(end),
            target=_tensor(self.item[places]),
            domain=_tensor(self.domain[places]),
            length=length,
        )

    def apart(self) -> "Sequences":
        """The events of each user and domain as a sequence of its own, ``user`` numbering them."""
        pair = self.user * (int(self.domain.max(initial=0)) + 1) + self.domain
        order = np.argsort(pair, kind="stable")
        moved = {field.name: getattr(self, field.name)[order] for field in fields(self)}
        return Sequences(**{**moved, "user": pair[order]})

    def without(self, domains: Sequence[int]) -> "Sequences":
        """As though the items of these domains were unknown: no history holds them, none is learnt."""
        return replace(self, item=np.where(np.isin(self.domain, domains), 0, self.item))

    def repeated(self, places: Ints) -> NDArray[np.bool_]:
        """Whether each event's item occurs among its user's earlier events."""
        pair = self.user * (int(self.item.max(initial=0)) + 1) + self.item
        order = np.argsort(pair, kind="stable")
        again = np.zeros(len(pair), bool)
        again[order[1:]] = pair[order[1:]] == pair[order[:-1]]
        return (again & (self.item > 0))[places]

    def _before(self, places: Ints) -> tuple[Ints, Ints]:
        """Known events before each place, over all users, and of its own user."""
        running = np.concatenate([[0], np.cumsum(self.item > 0)])
        first = np.searchsorted(self.user, self.user[places], side="left")
        end = running[places]
        return end, end - running[first]


def _tensor(column: Ints) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(column))
