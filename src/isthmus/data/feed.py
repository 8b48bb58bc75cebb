"""Training batches, in orders that only the seed and the epoch decide."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from isthmus import distributed
from isthmus.batch import Histories, Impressions
from isthmus.data.sequences import Windows
from isthmus.device import moved, on_host
from isthmus.errors import ConfigError, DataError

Rows = Impressions | Histories | Windows
R = TypeVar("R", Impressions, Histories, Windows)
_THINNING = 1  # the purpose of a generator: which rows are trained on, of all that there are
_SHUFFLED, _ROUND_ROBIN, _NOW = "shuffled", "round_robin", "now"


def generator(seed: int, *purpose: int) -> torch.Generator:
    """A source of randomness that depends on the seed and the purpose alone."""
    state = np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class Source(Protocol):
    """Rows that are not all in memory: what is known of them, and what of them is at hand."""

    @property
    def domains(self) -> list[int]:
        """Ids of the known domains that have rows."""
        ...

    @property
    def sample(self) -> Impressions:
        """Some rows, drawn from all evenly."""
        ...

    @property
    def at_hand(self) -> Impressions:
        """Some rows of each domain, drawn from its own evenly."""
        ...

    def __len__(self) -> int: ...

    def batches(self, epoch: int, size: int, start: int = 0) -> Iterator[Impressions]:
        """Each row once in an order that the seed and the epoch decide, from batch ``start`` on."""
        ...


@dataclass(frozen=True)
class Place:
    """Where an epoch stands between two steps; all that it takes to go on from there.

    ``drawn`` are the batches behind, by the kind of order. ``rng`` holds states of the feed's
    generator: now, and when each order began.
    """

    drawn: dict[str, int] = field(default_factory=dict)
    rng: dict[str, Tensor] = field(default_factory=dict)


class Feed:
    """The training split (and the validation split, for models that choose on it), cut into batches.

    ``unknown_share`` of the rows of a shuffled batch are shown with their domain hidden, so that
    every model learns what to do with a domain it does not know; of a history none are, since a
    model of the next item is asked for a domain.

    Rows are impressions, histories, or windows of sequences, which become histories batch by batch.
    Those of a ``Source`` are read when their turn comes; what draws rows of a domain has those at hand.
    """

    def __init__(
        self,
        train: Rows | Source,
        *,
        batch_size: int,
        seed: int,
        valid: Rows | Source | None = None,
        unknown_share: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not len(train):
            raise DataError("there are no training rows; prepare a data set with some")
        if batch_size < 1:
            raise ConfigError(f"the batch size is {batch_size}; it must be at least 1")
        if batch_size < (size := distributed.peers().size):
            raise ConfigError(
                f"{size} processes cannot share out batches of {batch_size} rows; start fewer, or set "
                "train.batch_size, which is of all processes together, to more"
            )
        self.source: Source | None = None if isinstance(train, Rows) else train
        self.splits: dict[str, Any] = {"train": train, "valid": valid}
        if valid is None:
            self.splits["valid"] = self.rows("train")[:0]
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.unknown_share = unknown_share
        self._rows_of: dict[str, dict[int, Tensor]] = {}

    @property
    def domains(self) -> list[int]:
        """Ids of the known domains that have training rows."""
        if self.source is not None:
            return self.source.domains
        return sorted(domain for domain in self._places("train") if domain > 0)

    def rows(self, split: str) -> Any:
        """The rows of a split; of a ``Source`` those at hand."""
        found = self.splits[split]
        return found if isinstance(found, Rows) else found.at_hand

    def rows_of(self, domain: int, split: str = "train") -> Tensor:
        """Places of a domain's rows in ``rows(split)``, in their order."""
        return self._places(split).get(domain, torch.empty(0, dtype=torch.int64))

    def _places(self, split: str) -> dict[int, Tensor]:
        if split not in self._rows_of:
            self._rows_of[split] = _by_domain(self.rows(split).domain)
        return self._rows_of[split]

    def epoch(self, number: int, place: Place | None = None) -> "EpochFeed":
        """What epoch ``number`` may draw from; its randomness is its own, so a run can be resumed.

        With a ``place`` the epoch is entered again there: ``shuffled`` and ``round_robin`` pass over
        the batches that were drawn, without reading them.
        """
        return EpochFeed(self, number, place or Place())


class EpochFeed:
    """Batches of one epoch, on the feed's device."""

    def __init__(self, feed: Feed, number: int, place: Place) -> None:
        self.feed, self.number, self.domains = feed, number, feed.domains
        self.rng = generator(feed.seed, number)
        if _NOW in place.rng:
            self.rng.set_state(place.rng[_NOW])
        self._drawn = dict(place.drawn)
        self._begun = {name: state for name, state in place.rng.items() if name != _NOW}
        self._behind = set(place.drawn)  # orders that are to be drawn again as they were
        self.current: Any = None  # the last batch to train on, to name the culprit of a bad step
        self.rows = 0  # of that batch, those of all processes together

    @property
    def num_batches(self) -> int:
        """Batches that ``shuffled`` yields in a whole epoch."""
        return -(-len(self.feed.splits["train"]) // self.feed.batch_size)

    @property
    def train(self) -> Any:
        """The training rows; of a ``Source`` a sample of them."""
        return self.feed.splits["train"] if self.feed.source is None else self.feed.source.sample

    @property
    def place(self) -> Place:
        """Where the epoch stands now."""
        return Place(dict(self._drawn), {**self._begun, _NOW: self.rng.get_state()})

    def shuffled(self) -> Iterator[Any]:
        """Each training row once."""
        for _, batch in self.numbered():
            yield batch

    def numbered(self) -> Iterator[tuple[int, Any]]:
        """As ``shuffled``, each batch with its number in the epoch, which resuming leaves as it is."""
        with self._order(_SHUFFLED) as behind:
            batches = self._all_batches(behind)
        for number, batch in enumerate(batches, behind):
            self.current = self.own(self._with_hidden_domains(batch))
            self._drawn[_SHUFFLED] = number + 1
            yield number, self.current

    def domain(
        self,
        domain: int,
        *,
        split: str = "train",
        batch_size: int | None = None,
        hide: bool = False,
    ) -> Iterator[Any]:
        """Each row of one domain once, in a new order at every call.

        With ``hide`` the feed's ``unknown_share`` of the rows are shown with their domain hidden.
        """
        if split == "train" and self.feed.source is not None:
            raise ConfigError(
                "this training takes each row of one domain in turn, which a stream cannot give; "
                "set train.stream = false"
            )
        index = self._permuted(self.feed.rows_of(domain, split))
        for batch in self._cut(self.feed.rows(split), index, batch_size):
            self.current = self.own(self._with_hidden_domains(batch) if hide else batch)
            yield self.current

    def round_robin(self, most: int) -> Iterator[Any]:
        """One batch of each domain in turn, ``most`` in all; a domain used up starts anew.

        Of a ``Source`` they are of the rows at hand.
        """
        turns = self._turns()
        with self._order(_ROUND_ROBIN) as behind:
            for _ in islice(turns, behind):
                pass
        for drawn, index in enumerate(islice(turns, most - behind), behind + 1):
            batch = self.feed.rows("train")[index].to(self.feed.device)
            self.current = self.own(batch)
            self._drawn[_ROUND_ROBIN] = drawn
            yield self.current

    def _turns(self) -> Iterator[Tensor]:
        """Rows of the batches of ``round_robin``, without end."""
        left: dict[int, Iterator[Tensor]] = {domain: iter(()) for domain in self.domains}
        while True:
            for domain in self.domains:
                index = next(left[domain], None)
                if index is None:
                    own = self._permuted(self.feed.rows_of(domain))
                    left[domain] = iter(own.split(self.feed.batch_size))
                    index = next(left[domain])
                yield index

    def sample(
        self,
        domain: int,
        size: int,
        *,
        split: str = "train",
        extra: Impressions | None = None,
        rng: torch.Generator | None = None,
    ) -> Iterator[Any]:
        """Batches of a domain without end, each row once before any comes again.

        A domain with fewer rows than ``size`` gives all of them each time. The rows of ``extra``
        that are of this domain join its own. Such batches are no step's: ``current`` stays, and no
        process has parts of them. Of a ``Source`` they are of the rows at hand. Drawn from ``rng``,
        by default the epoch's own.
        """
        rows = self.feed.rows(split)[self.feed.rows_of(domain, split)]
        if extra is not None:
            rows = joined(rows, extra[(extra.domain == domain).nonzero().squeeze(1)])
        while True:
            order = torch.randperm(len(rows), generator=rng or self.rng)
            yield from self._cut(rows, order, size)

    def permuted(self, values: Sequence[Any]) -> list[Any]:
        """The values in a random order."""
        return [values[i] for i in torch.randperm(len(values), generator=self.rng)]

    @contextmanager
    def _order(self, name: str) -> Iterator[int]:
        """Draw an order inside, anew or as it was drawn before; yields its batches behind."""
        if name not in self._behind:
            self._begun[name], self._drawn[name] = self.rng.get_state(), 0
            yield 0
            return
        self._behind.remove(name)
        now = self.rng.get_state()
        self.rng.set_state(self._begun[name])
        yield self._drawn[name]
        self.rng.set_state(now)

    def _all_batches(self, start: int) -> Iterator[Any]:
        size, source = self.feed.batch_size, self.feed.source
        if source is None:
            index = self._permuted(torch.arange(len(self.train)))[start * size :]
            return self._cut(self.train, index) if len(index) else iter(())
        batches = source.batches(self.number, size, start)
        return (batch.to(self.feed.device) for batch in batches)

    def own(self, batch: Any) -> Any:
        """The rows of a batch that this process takes: all, where it trains alone."""
        self.rows = len(batch)
        if not distributed.peers().together:
            return batch
        mine = batch.on_host()[
            distributed.take(len(batch))
        ]  # so that the host still knows it there
        return mine.to(batch.domain.device)

    def beside(self, rows: Tensor) -> tuple[Tensor, float]:
        """This process's part of rows that a model itself draws for a step, all of them alike.

        And what their mean loss has to be multiplied by, as the weight of the loss is the share that
        this process has of the batch.
        """
        part = distributed.part(len(rows))
        return rows[part.rows], part.share / distributed.share()

    def _permuted(self, index: Tensor) -> Tensor:
        return index[torch.randperm(len(index), generator=self.rng)]

    def _cut(self, rows: Any, index: Tensor, batch_size: int | None = None) -> Iterator[Any]:
        for part in index.split(batch_size or self.feed.batch_size):
            yield rows[part].to(self.feed.device)

    def _with_hidden_domains(self, batch: Any) -> Any:
        if not self.feed.unknown_share or not isinstance(batch, Impressions):
            return batch
        hidden = torch.rand(len(batch), generator=self.rng) < self.feed.unknown_share
        domain = on_host(batch.domain).masked_fill(hidden, 0)
        return Impressions(batch.features, moved(domain, batch.domain.device), batch.label)


def thinned(rows: R, most: int | None, seed: int) -> R:
    """``most`` of the rows, drawn by the seed alone, in their order; all where it is ``None``."""
    if most is None or most >= len(rows):
        return rows
    drawn = torch.randperm(len(rows), generator=generator(seed, 0, 0, _THINNING))
    chosen = drawn[:most].sort().values
    return rows.take(chosen) if isinstance(rows, Windows) else rows[chosen]


def joined(first: Impressions, second: Impressions) -> Impressions:
    """The rows of both, one after the other."""
    return Impressions(
        torch.cat([first.features, second.features]),
        torch.cat([first.domain, second.domain]),
        torch.cat([first.label, second.label]),
    )


def _by_domain(domain: Tensor) -> dict[int, Tensor]:
    order = domain.argsort(stable=True)
    ids, sizes = torch.unique_consecutive(domain[order], return_counts=True)
    return dict(zip(ids.tolist(), order.split(sizes.tolist()), strict=True))
