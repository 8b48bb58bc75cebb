"""Training batches, in orders that only the seed and the epoch decide."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Histories, Impressions
from isthmus.data.sequences import Windows
from isthmus.errors import ConfigError, DataError

Rows = Impressions | Histories | Windows
R = TypeVar("R", Impressions, Histories, Windows)
_THINNING = 1  # the purpose of a generator: which rows are trained on, of all that there are


def generator(seed: int, *purpose: int) -> torch.Generator:
    """A source of randomness that depends on the seed and the purpose alone."""
    state = np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class Feed:
    """The training split (and the validation split, for models that choose on it), cut into batches.

    ``unknown_share`` of the rows of a shuffled batch are shown with their domain hidden, so that
    every model learns what to do with a domain it does not know; of a history none are, since a
    model of the next item is asked for a domain.

    Rows are impressions, histories, or windows of sequences, which become histories batch by batch.
    """

    def __init__(
        self,
        train: Rows,
        *,
        batch_size: int,
        seed: int,
        valid: Rows | None = None,
        unknown_share: float = 0.0,
        device: str = "cpu",
    ) -> None:
        if not len(train):
            raise DataError("there are no training rows; prepare a data set with some")
        if batch_size < 1:
            raise ConfigError(f"the batch size is {batch_size}; it must be at least 1")
        self.splits: dict[str, Any] = {
            "train": train,
            "valid": train[:0] if valid is None else valid,
        }
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.unknown_share = unknown_share
        self._rows_of = {split: _by_domain(rows.domain) for split, rows in self.splits.items()}

    @property
    def domains(self) -> list[int]:
        """Ids of the known domains that have training rows."""
        return sorted(domain for domain in self._rows_of["train"] if domain > 0)

    def rows_of(self, domain: int, split: str = "train") -> Tensor:
        """Places of a domain's rows in a split, in their order."""
        return self._rows_of[split].get(domain, torch.empty(0, dtype=torch.int64))

    def epoch(self, number: int) -> "EpochFeed":
        """What epoch ``number`` may draw from; its randomness is its own, so a run can be resumed."""
        return EpochFeed(self, number)


class EpochFeed:
    """Batches of one epoch, on the feed's device."""

    def __init__(self, feed: Feed, number: int) -> None:
        self.feed, self.number, self.domains = feed, number, feed.domains
        self.train = feed.splits["train"]
        self.rng = generator(feed.seed, number)
        self.current: Any = None  # the last batch to train on, to name the culprit of a bad step

    @property
    def num_batches(self) -> int:
        """Batches that ``shuffled`` yields."""
        return -(-len(self.train) // self.feed.batch_size)

    def shuffled(self) -> Iterator[Any]:
        """Each training row once."""
        for batch in self._cut(self.train, self._permuted(torch.arange(len(self.train)))):
            self.current = self._with_hidden_domains(batch)
            yield self.current

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
        index = self._permuted(self.feed.rows_of(domain, split))
        for batch in self._cut(self.feed.splits[split], index, batch_size):
            self.current = self._with_hidden_domains(batch) if hide else batch
            yield self.current

    def round_robin(self) -> Iterator[Any]:
        """One batch of each domain in turn, again and again; a domain used up starts anew."""
        sources = {domain: self.domain(domain) for domain in self.domains}
        while True:
            for domain in self.domains:
                batch = next(sources[domain], None)
                if batch is None:
                    sources[domain] = self.domain(domain)
                    batch = next(sources[domain])
                yield batch

    def sample(
        self, domain: int, size: int, *, split: str = "train", extra: Impressions | None = None
    ) -> Iterator[Any]:
        """Batches of a domain without end, each row once before any comes again.

        A domain with fewer rows than ``size`` gives all of them each time. The rows of ``extra``
        that are of this domain join its own. Such batches are no step's: ``current`` stays.
        """
        rows = self.feed.splits[split][self.feed.rows_of(domain, split)]
        if extra is not None:
            rows = joined(rows, extra[(extra.domain == domain).nonzero().squeeze(1)])
        while True:
            yield from self._cut(rows, self._permuted(torch.arange(len(rows))), size)

    def permuted(self, values: Sequence[Any]) -> list[Any]:
        """The values in a random order."""
        return [values[i] for i in torch.randperm(len(values), generator=self.rng)]

    def _permuted(self, index: Tensor) -> Tensor:
        return index[torch.randperm(len(index), generator=self.rng)]

    def _cut(self, rows: Any, index: Tensor, batch_size: int | None = None) -> Iterator[Any]:
        for part in index.split(batch_size or self.feed.batch_size):
            yield rows[part].to(self.feed.device)

    def _with_hidden_domains(self, batch: Any) -> Any:
        if not self.feed.unknown_share or not isinstance(batch, Impressions):
            return batch
        hidden = torch.rand(len(batch), generator=self.rng) < self.feed.unknown_share
        return Impressions(batch.features, batch.domain.masked_fill(hidden, 0), batch.label)


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
