"""Left in the middle of an epoch and entered there again: the same to the bit, at every step."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed, Feed
from isthmus.data.stream import Stream
from isthmus.models import Losses, Model, Ranker
from isthmus.models.base import resumable
from isthmus.progress import Reporter, quiet
from isthmus.schema import Schema
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training import checkpoint
from isthmus.training.fit import TrainConfig, fit
from isthmus.training.middle import can_resume
from isthmus.training.state import TrainingState
from tests.data.grouped import planted
from tests.training.states import same, same_state

SCHEMA = toy_schema()
AREAD = {
    "embedding_dim": 4,
    "bottom_experts": 2,
    "bottom_hidden": [4],
    "experts": [2, 2],
    "expert_hidden": [[4], [4]],
    "search": {
        "warmup_steps": 4,
        "first": 2,
        "every": 3,
        "candidates": 2,
        "updates": 1,
        "scorings": 1,
        "batch_size": 8,
        "flips": 1.0,
        "incumbent": False,
    },
    "augment_weight": 0.5,
    "augment": {"minor_share": 0.3, "major_factor": 1.0, "cold_quantile": 1.0},
}
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "mlp": ("mlp", {"embedding_dim": 4, "hidden": [4]}, "memory"),
    "aread": ("aread", AREAD, "memory"),
    "aread, streamed": ("aread", {**AREAD, "item": "place"}, "stream"),
    "mmoe, streamed": ("mmoe", {"embedding_dim": 4, "expert_hidden": [4]}, "stream"),
    "sasrec, drawn negatives": (
        "sasrec",
        {"embedding_dim": 4, "loss": "sampled_softmax", "negatives": 4},
        "histories",
    ),
}
CONFIG = TrainConfig(max_epochs=2, patience=9, lr=0.01, checkpoint_every=1)


def feed_of(kind: str, folder: Path) -> tuple[Feed, Schema]:
    """Nine batches or fewer, of which the last one is smaller than the others."""
    if kind == "histories":
        rows = toy_histories(SCHEMA, 60)
        return Feed(rows, batch_size=16, seed=0), SCHEMA
    if kind == "stream":
        domains = [1, 2, 3, 1, 0, 1, 2] * 10
        prepared = planted(folder, domains, 10)
        train = Stream(prepared, "train", seed=0, window=20)
        feed = Feed(train, batch_size=16, seed=0, valid=train[:30], unknown_share=0.2)
        return feed, prepared.schema
    rows, valid = toy_impressions(SCHEMA, 70), toy_impressions(SCHEMA, 30, 1)
    domain = torch.where(torch.arange(70) < 40, 1, rows.domain)  # a major one
    rows = Impressions(rows.features, domain, rows.label)
    return Feed(rows, batch_size=16, seed=0, valid=valid, unknown_share=0.2), SCHEMA


class Trainer:
    """Trains one case anew, or from a state; each time in a model and a feed of its own."""

    def __init__(self, case: str, folder: Path) -> None:
        self.name, self.settings, self.kind = CASES[case]
        self.folder = folder

    def __call__(
        self,
        state: TrainingState | None = None,
        on_partial: Callable[[TrainingState], None] = lambda _: None,
    ) -> tuple[Model, TrainingState]:
        feed, schema = feed_of(self.kind, self.folder)
        torch.manual_seed(99 if state else 3)  # what a resumed one begins with is all replaced
        cls = models.get(self.name)
        model = cls(cls.Config.model_validate(self.settings), schema)
        scores = iter([0.6, 0.5][state.epochs if state else 0 :])
        done = fit(model, feed, lambda _: next(scores), CONFIG, state=state, on_partial=on_partial)
        return model, done


class Noting:
    """A reporter that keeps what it is told."""

    def __init__(self, quiet: Reporter) -> None:
        self.task, self.said = quiet.task, list[str]()

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("case", CASES)
def test_at_every_step_of_two_epochs(case: str, tmp_path: Path) -> None:
    train, kept = Trainer(case, tmp_path / "data"), []
    straight, whole = train(
        on_partial=lambda s: kept.append(checkpoint.save(s, tmp_path / "kept", keep=99))
    )
    assert len(kept) == {"memory": 10, "stream": 10, "histories": 8}[train.kind] + (
        4 if train.name == "aread" else 0
    )
    for path in kept:
        resumed, state = train(checkpoint.load(path))
        assert same_state(state, whole), path.name
        assert same(dict(resumed.state_dict()), dict(straight.state_dict())), path.name


def test_resumed_again_and_again(tmp_path: Path) -> None:
    """Each process does one step and is stopped; its checkpoint is that of an uninterrupted run."""
    train = Trainer("aread, streamed", tmp_path)
    uninterrupted: list[TrainingState] = []
    _, whole = train(on_partial=uninterrupted.append)

    class Stopped(Exception):
        pass

    state: TrainingState | None = None
    for expected in uninterrupted:
        seen: list[TrainingState] = []

        def stop(found: TrainingState, seen: list[TrainingState] = seen) -> None:
            seen.append(found)
            raise Stopped

        with pytest.raises(Stopped):
            train(state, stop)
        (state,) = seen
        assert same_partial(state, expected)
    assert same_state(train(state)[1], whole)


def test_who_goes_on_within_an_epoch_is_told_where(tmp_path: Path) -> None:
    train, place, reporter = Trainer("mlp", tmp_path), tmp_path / "kept", Noting(quiet)
    train(on_partial=lambda state: checkpoint.save(state, place))
    assert sorted(path.name for path in place.iterdir()) == [
        f"epoch-0001-step-0000000{step}" for step in (4, 5)
    ]
    assert checkpoint.latest(place, reporter=reporter) is not None
    assert reporter.said == ["Going on from step 5 of epoch 2"]


def same_partial(a: TrainingState, b: TrainingState) -> bool:
    assert a.partial is not None
    assert b.partial is not None
    parts = [{**vars(s.partial), "place": vars(s.partial.place)} for s in (a, b) if s.partial]
    return same(*parts) and same_state(replace(a, partial=None), replace(b, partial=None))


def test_checkpoints_within_epochs_change_nothing(tmp_path: Path) -> None:
    train = Trainer("aread", tmp_path)
    _, often = train()
    feed, schema = feed_of("memory", tmp_path)
    torch.manual_seed(3)
    cls = models.get("aread")
    model = cls(cls.Config.model_validate(AREAD), schema)
    scores = iter([0.6, 0.5])
    never = CONFIG.model_copy(update={"checkpoint_every": None})
    assert same_state(fit(model, feed, lambda _: next(scores), never), often)


def test_the_case_of_aread_searches_and_augments_within_an_epoch(tmp_path: Path) -> None:
    """What the tests above rest on."""
    for case in ("aread", "aread, streamed"):
        states: list[TrainingState] = []
        Trainer(case, tmp_path)(on_partial=states.append)
        masks = [
            torch.cat([v.flatten() for k, v in state.model.items() if "mask" in k])
            for state in states
        ]
        assert sum(not torch.equal(a, b) for a, b in pairwise(masks)) >= 2
        assert any("augmented_bagging" in s.partial.sums for s in states if s.partial), case


class Own(Ranker):
    """Says itself what an epoch is; not registered."""

    name = "own"

    def __init__(self) -> None:
        super().__init__(Ranker.Config(), SCHEMA)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch: Impressions) -> Tensor:
        return self.weight.expand(len(batch))

    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        yield from super().epoch(feed)


class Entered(Own):
    """As that, and says that it may be entered in the middle."""

    @resumable
    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        yield from super().epoch(feed)


@pytest.mark.parametrize(("kind", "may"), [(Own, False), (Entered, True)])
def test_an_epoch_of_a_models_own_is_not_left_in_its_middle(
    kind: type[Ranker], may: bool, tmp_path: Path
) -> None:
    kept: list[TrainingState] = []
    reporter = Noting(quiet)
    fit(kind(), feed_of("memory", tmp_path)[0], lambda _: 0.5, CONFIG, on_partial=kept.append,
        reporter=reporter)  # fmt: skip
    assert bool(kept) == can_resume(kind()) == may
    assert bool(reporter.said) != may
    assert may or "no effect on 'own'" in reporter.said[0]


def test_which_models_can_be_left_in_the_middle_of_an_epoch() -> None:
    """All but those with loops of their own; a new one has to say what it is."""
    schema = toy_schema()
    cannot = set()
    for name in models.names():
        cls = models.get(name)
        if not can_resume(cls(cls.Config(), schema)):
            cannot.add(name)
    assert cannot == {"m3oe", "item_knn", "markov", "popularity", "repeat_own"}
