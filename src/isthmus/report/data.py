"""What a report is made from: figures and names only, so that it can be stored and drawn again."""

from typing import Annotated, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from isthmus.diagnosis import Finding
from isthmus.evaluation import Metrics, RankMetrics, SharingTable
from isthmus.evaluation.guarding import GuardTable
from isthmus.evaluation.transfer import TransferMap
from isthmus.schema import Frozen

Share = Annotated[float, Field(ge=0, le=1)]


class CreatedFrom(Frozen):
    """Where the figures come from.

    ``config`` is the run's configuration as text, ``data`` the name of the data set and
    ``provenance`` whatever else makes the figures reproducible (source, seeds, versions, digests).
    """

    config: str = ""
    data: str = ""
    provenance: dict[str, str] = {}


class Curves(Frozen):
    """How one model's training went; every sequence has one entry an epoch.

    ``score`` is the validation score named ``score_name``, ``losses`` the mean of each named loss
    (``None`` in epochs that did not yield it). ``told`` are figures that the model gave of domains at
    the end of each epoch, by what they are and the domain's name. ``best_epoch`` counts from 0, like
    the sequences; reports show it counted from 1.
    """

    score: tuple[FiniteFloat, ...]
    losses: dict[str, tuple[FiniteFloat | None, ...]] = {}
    told: dict[str, dict[str, tuple[FiniteFloat | None, ...]]] = {}
    best_epoch: NonNegativeInt = 0
    score_name: str = "DomainAUC"

    @model_validator(mode="after")
    def _one_entry_an_epoch(self) -> Self:
        for name, values in self.losses.items():
            if len(values) != len(self.score):
                raise ValueError(
                    f"loss {name!r} has {len(values)} epochs, the score {len(self.score)}; "
                    f"give one value (or None) an epoch"
                )
        for what, domains in self.told.items():
            for domain, values in domains.items():
                if len(values) != len(self.score):
                    raise ValueError(
                        f"{what!r} of {domain!r} has {len(values)} epochs, the score "
                        f"{len(self.score)}; give one value (or None) an epoch"
                    )
        if self.best_epoch >= max(len(self.score), 1):
            raise ValueError(
                f"best_epoch is {self.best_epoch}, but there are only {len(self.score)} epochs, "
                f"counted from 0"
            )
        return self


class Masks(Frozen):
    """Which experts each of D domains uses.

    ``levels`` holds the number of experts a level, ``active[level][domain][expert]`` is 0 for an
    expert that the domain does not reach, else 1 or the share in (0, 1] of its incoming edges that
    the mask keeps. ``edges[domain]`` is the density of its whole mask, ``overlap[a][b]`` the share
    of edges that the masks of two domains have in common (symmetric, 1 on the diagonal).
    """

    domains: tuple[str, ...]
    levels: tuple[PositiveInt, ...]
    active: tuple[tuple[tuple[Share, ...], ...], ...]
    edges: tuple[Share, ...] = ()
    overlap: tuple[tuple[Share, ...], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.domains)
        shapes = [(len(level), {len(row) for row in level}) for level in self.active]
        if shapes != [(count, {experts} if count else set()) for experts in self.levels]:
            raise ValueError(
                f"active must hold, for each level, one row a domain and one value an expert: "
                f"expected {count} domains x {self.levels} experts"
            )
        for name, length in (("edges", len(self.edges)), ("overlap", len(self.overlap))):
            if length not in (0, count):
                raise ValueError(f"{name} has {length} rows, expected one a domain: {count}")
        if any(len(row) != count for row in self.overlap):
            raise ValueError(f"overlap must be square, {count} x {count}")
        return self


class Tuned(Frozen):
    """How the settings of training of one part of the comparison were found.

    ``found`` is the best of ``trials`` by ``metric`` on the validation rows, where it scored
    ``score``; ``own`` are the settings that it had, which the first trial tried (``own_score``;
    ``None``: it diverged). No trials: it has no such settings.
    """

    part: str
    model: str
    metric: str
    trials: NonNegativeInt = 0
    diverged: NonNegativeInt = 0
    own: dict[str, float] = {}
    found: dict[str, float] = {}
    own_score: FiniteFloat | None = None
    score: FiniteFloat | None = None


class Cost(Frozen):
    """What one model costs: means over its seeds.

    ``models`` that it consists of (of isolated ones, one a domain), their ``parameters`` together,
    ``stored_bytes`` of weights and buffers; ``training_cpu_s`` seconds of CPU, over all processes,
    validation included; ``scoring_cpu_us`` microseconds of CPU a row of the held-out splits, reading
    them included. ``None`` where the log does not say.
    """

    models: PositiveInt
    parameters: NonNegativeInt
    stored_bytes: NonNegativeInt
    training_cpu_s: FiniteFloat | None = None
    scoring_cpu_us: FiniteFloat | None = None


class ReportData(Frozen):
    """All that a report shows; sections whose figures are absent are skipped with a reason.

    ``metrics`` (of retrievers ``rank_metrics``) and ``curves`` are keyed by the model's name, in the
    order of display, as are ``costs``. ``further`` are sharing tables of the same models in other
    metrics; ``tuned`` says how each model's settings were found. ``findings`` are those of
    ``isthmus diagnose``, in its order. ``notes`` are shown as they are, one paragraph each. JSON
    round trip: ``model_dump_json`` and ``model_validate_json``.
    """

    title: str
    created_from: CreatedFrom = CreatedFrom()
    metrics: dict[str, Metrics] = {}
    rank_metrics: dict[str, RankMetrics] = {}
    sharing: SharingTable | None = None
    further: tuple[SharingTable, ...] = ()
    curves: dict[str, Curves] = {}
    masks: Masks | None = None
    transfer: TransferMap | None = None
    tuned: tuple[Tuned, ...] = ()
    costs: dict[str, Cost] = {}
    guard: GuardTable | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
