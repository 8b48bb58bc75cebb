"""What checks look at: plain arrays and names of one run. Whatever is not there is ``None``.

Shape letters: D known domains (an array [D + 1] has the unknown domain first), N rows, I items,
S experts below, T experts above, E experts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isthmus.evaluation import Predictions, Ranks, SharingTable
from isthmus.evaluation.predictions import Floats, Ints

Bools = npt.NDArray[np.bool_]
Figures = Mapping[str, Sequence[float | None]]
"""One figure an epoch, by the domain's name."""
Scored = Predictions | Ranks


@dataclass(frozen=True, slots=True)
class Audited:
    """What ``isthmus prepare`` found: ``blocks`` is what stops it unless leaks are accepted."""

    code: str
    feature: str
    blocks: bool
    message: str


@dataclass(frozen=True, slots=True)
class Separated:
    """How well a feature alone ranks a domain's training rows, each left out of its own estimate.

    ``error`` is the standard error of an AUC at these counts when there is nothing to tell.
    """

    feature: str
    domain: str
    auc: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A prepared data set.

    Attributes:
        audit: what its preparation found.
        sources: the raw column of each feature; ``target`` is the label's (empty: events).
        rows: by split, [D + 1].
        early: held-out rows earlier than training rows, [D + 1]; ``None`` where no order is claimed.
        unknown: rows without a known value, by feature and split, [D + 1].
        separated: every feature in every domain with both labels.
        values: the texts that have an id, by vocabulary.
        spread: in how many domains each known item was trained, [I]; ``None`` without an item.
    """

    rows: Mapping[str, Ints]
    audit: Sequence[Audited] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    early: Ints | None = None
    unknown: Mapping[str, Mapping[str, Ints]] = field(default_factory=dict)
    separated: Sequence[Separated] = ()
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spread: Ints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How training went; ``scores`` and ``losses`` have one entry an epoch.

    ``churn``: share of a domain's mask edges that an epoch changed. ``gaps``: the running gap of a
    domain, single less cross loss in nats.
    """

    scores: Sequence[float]
    max_epochs: int
    losses: Sequence[Mapping[str, float]] = ()
    metric: str = "domain_auc"
    churn: Figures = field(default_factory=dict)
    gaps: Figures = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The best epoch, counted from 0; the first of equals."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a run.

    Attributes:
        valid, test: its scores of a ranker's splits, or a retriever's ranks.
        masks: which experts feed which, of the known domains: [D, S, T] a level.
        gates: what a domain's rows take of each expert on average, by gate: [D, E], rows sum to 1
            (NaN: a domain without rows).
        own_parameters: how many parameters one more domain would add.
        seeds: test tables of runs alike but for the seed, this run's first; by name.
        pairs: test tables of the run and of an isolated one, a seed.
        sharing: the sharing table of these pairs.
        floors: test ranks of models that need no training to speak of, by name.
        absent: why something is not there, by attribute, where the common reason does not fit.
    """

    domains: tuple[str, ...]
    data: Data | None = None
    valid: Scored | None = None
    test: Scored | None = None
    course: Course | None = None
    masks: Sequence[Bools] | None = None
    gates: Mapping[str, Floats] | None = None
    own_parameters: int | None = None
    seeds: Mapping[str, Scored] | None = None
    pairs: Sequence[tuple[Scored, Scored]] | None = None
    sharing: SharingTable | None = None
    floors: Mapping[str, Ranks] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def name(self, domain: int) -> str:
        """Of a known domain's id."""
        return self.domains[domain - 1]


ABSENT: Mapping[str, str] = {
    "data": "the prepared data was not found: name its place with --root",
    "valid": "the run has no scores or ranks of validation rows",
    "test": "the run has no scores or ranks of test rows",
    "course": "the run was not trained epoch by epoch",
    "masks": "the model has no masks",
    "gates": "the model tells nothing of its gates",
    "own_parameters": "no part of the model is a domain's own",
    "seeds": "needs two runs or more that differ in their seed alone",
    "pairs": "needs isolated runs of the same data and seeds",
    "sharing": "needs isolated runs of the same data and seeds",
    "floors": "needs a run of a floor on the same data, such as popularity or repeat_own",
}
"""Why a check that needs this says nothing."""
