"""A run as it is written down: one TOML file decides everything."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, ValidationError

from isthmus import clustering, models, reference
from isthmus.errors import ConfigError
from isthmus.grid import TuneConfig
from isthmus.models import ModelConfig
from isthmus.models.mamdr import MamdrConfig, refuse
from isthmus.reference.trees import TreesConfig
from isthmus.schema import Frozen
from isthmus.toml import read_toml, told
from isthmus.training.fit import AUCS, RANKING, STREAM_WINDOW, TrainConfig
from isthmus.training.isolated import IsolatedJob

C = TypeVar("C", bound=Frozen)

Scope = Literal["joint", "isolated", "mamdr"]
LATER = ("max_rows", "device", "autocast", "compile", "stream", "stream_window")
"""Settings of training that came after the first runs: at their defaults they name no run anew."""
JOINT_ALONE = ("stream", "stream_window", "checkpoint_every")
"""Settings of training that isolated models do not have."""


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"a seed is there twice, which would count one run as two: {list(seeds)}")
    return seeds


Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_each_once)]
"""Of runs that are alike but for their seed: at least one, each once."""


class Rival(Frozen):
    """A model that the sharing report compares with; ``train`` are changes to the run's own."""

    model: str = "mlp"
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}


class ShareConfig(Frozen):
    """What the sharing report trains beside the run: isolated models, and one that is domain-blind.

    Beside a retriever, unless they are given: isolated SASRec, and item-kNN over all domains, a floor.
    ``tune`` searches the settings of training for the joint model and for these, each with as many
    trials, on validation rows alone; without it, each is trained as it is written.
    """

    isolated: Rival = Rival()
    shared: Rival | None = Rival(settings={"domain_blind": True})
    seeds: Seeds = (0,)
    workers: PositiveInt = 2
    tune: TuneConfig | None = None


class RunConfig(Frozen):
    """One training run: data, model and its settings, training, seed.

    ``scope = "isolated"`` trains one model of this kind for each domain, on its rows alone;
    ``scope = "mamdr"`` trains it in rounds of negotiation, with the settings of the table ``mamdr``.
    ``without`` names domains that are left out of training and of all that is measured.
    ``track``: trackers that are told of the run (see ``isthmus.trackers``), and where: ``true``, an
    address or a folder. They decide nothing, and name no run anew.
    """

    data: str
    model: str = "aread"
    scope: Scope = "joint"
    settings: dict[str, Any] = {}
    train: TrainConfig = TrainConfig()
    seed: NonNegativeInt = 0
    without: tuple[str, ...] = ()
    name: str | None = None
    share: ShareConfig = ShareConfig()
    mamdr: MamdrConfig = MamdrConfig()
    track: dict[str, str | bool] = {}

    def model_settings(self) -> ModelConfig:
        """The model's settings, checked.

        Raises:
            ConfigError: no such model, or a setting it does not know.
        """
        return self._settings(models.get(self.model).Config)

    @property
    def is_reference(self) -> bool:
        """Whether ``model`` names a reference, which is no network."""
        return self.model in reference.names()

    def reference_settings(self) -> TreesConfig:
        """As ``model_settings``, of a reference."""
        return self._settings(reference.get(self.model).Settings)

    def _settings(self, kind: type[C]) -> C:
        try:
            return kind.model_validate(self.settings)
        except ValidationError as error:
            known = ", ".join(kind.model_fields)
            raise ConfigError(
                f"settings of {self.model!r}: {told(error)}; it has: {known}"
            ) from None

    def identity(self) -> dict[str, Any]:
        """All that decides the result, defaults written out: what a stored run is known by."""
        train = self.train.model_dump(mode="json", exclude={"checkpoint_every", "shard_embeddings"})
        for key in LATER:  # runs are known by what they were before these settings came
            if train[key] == TrainConfig.model_fields[key].default:
                del train[key]
        if self.is_reference:  # which has no other setting of training
            train = {key: train[key] for key in ("metric", "max_rows") if key in train}
        kind = self.reference_settings() if self.is_reference else self.model_settings()
        settings = kind.model_dump(mode="json")
        own: dict[str, Any] = {}
        if self.scope == "mamdr":
            own["mamdr"] = self.mamdr.model_dump(mode="json")
        if self.without:
            own["without"] = sorted(set(self.without))
        return {
            "model": self.model,
            "scope": self.scope,
            "seed": self.seed,
            "settings": settings,
            "train": train,
            **own,
        }

    def isolated_job(self, data: Path, checkpoints: Path) -> IsolatedJob:
        """What trains one model of this run a domain, of prepared ``data``."""
        return IsolatedJob(
            data=data,
            model=self.model,
            settings=self.model_settings(),
            train=self.train,
            seed=self.seed,
            checkpoints=checkpoints,
        )

    def rival(self, rival: Rival, scope: Scope) -> "RunConfig":
        """The run of a rival: same data, seed and training, but for what it changes."""
        train = {**self.train.model_dump(), **rival.train}
        if scope == "isolated":  # whose rows are read whole, and whose checkpoints are whole models
            train = {key: value for key, value in train.items() if key not in JOINT_ALONE}
        return checked(
            {
                "data": self.data,
                "model": rival.model,
                "scope": scope,
                "settings": rival.settings,
                "train": train,
                "seed": self.seed,
                "without": self.without,
                "share": self.share.model_dump(),
            },
            "share",
        )


def read(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a run from TOML; each override is ``dotted.key=value``, the value written as in TOML.

    A relative ``data``, and a file of clusters, counts from the place of the TOML. What that file
    holds becomes the setting, so that a run never depends on it again.

    Raises:
        ConfigError: no such file, no TOML, or an unknown, missing or contradictory key.
    """
    values = read_toml(path, "a run")
    for settings in _all_settings(values):  # before overrides, whose paths count from here
        settings.update(clustering.resolved(settings, path.parent))
    if isinstance(values.get("data"), str):
        values["data"] = str(path.parent / values["data"])
    for override in overrides:
        _set(values, override)
    for settings in _all_settings(values):
        settings.update(clustering.resolved(settings, Path()))
    return checked(values, str(path))


def _all_settings(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of a run's model and of the rivals that it is compared with."""
    share = values.get("share")
    rivals = [share.get(key) for key in ("isolated", "shared")] if isinstance(share, dict) else []
    owners = [one for one in (values, *rivals) if isinstance(one, dict)]
    return [one["settings"] for one in owners if isinstance(one.get("settings"), dict)]


def checked(values: Mapping[str, Any], where: str) -> RunConfig:
    """The run in these values, its model's settings checked too."""
    try:
        run = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {told(error)}") from None
    if run.is_reference:
        _check_reference(run, where)
    else:
        run.model_settings()
        run = _with_rivals(_with_metric(run, where), where)
    if run.scope == "mamdr":
        refuse(models.get(run.model))
    elif run.mamdr != MamdrConfig():
        raise ConfigError(f"{where}: the table 'mamdr' has no effect under scope {run.scope!r}")
    _check_stream(run, where)
    if run.without and run.scope == "isolated":
        raise ConfigError(
            f"{where}: 'without' leaves domains out of a joint model; under scope 'isolated' no "
            "domain learns from another, so there is nothing to leave out"
        )
    return run


def _check_stream(run: RunConfig, where: str) -> None:
    """Refuse a stream where rows are needed all at once, and settings of it without one."""
    given, train = run.train.model_fields_set, run.train
    if run.scope == "isolated" and (asked := [key for key in JOINT_ALONE if key in given]):
        raise ConfigError(
            f"{where}: train.{asked[0]} is for models of all domains; under scope 'isolated' each "
            "domain's rows are in memory, and each finished model is its own checkpoint; remove it"
        )
    if not train.stream:
        if "stream_window" in given and train.stream_window != STREAM_WINDOW:
            raise ConfigError(f"{where}: train.stream_window has no effect without train.stream")
        return
    what = None
    if run.is_reference:
        what = f"{run.model!r} grows its trees on all rows at once"
    elif issubclass(models.get(run.model), models.Retriever):
        what = f"{run.model!r} is a retriever: its events are in memory, some 50 bytes each"
    elif run.scope == "mamdr":
        what = "scope 'mamdr' takes each row of one domain after another"
    elif train.max_rows is not None:
        what = "train.max_rows draws its rows from all, and holds them in memory"
    if what:
        raise ConfigError(f"{where}: train.stream = true, but {what}; remove one of the two")


def _with_metric(run: RunConfig, where: str) -> RunConfig:
    """With the metric that the kind of model has by default, where none is given."""
    of_items = issubclass(models.get(run.model), models.Retriever)
    ranking = run.train.metric in RANKING
    if ranking == of_items:
        return run
    if of_items and "metric" not in run.train.model_fields_set:
        train = run.train.model_copy(update={"metric": RANKING[0]})
        return run.model_copy(update={"train": train})
    kind, fits = ("a retriever", RANKING) if of_items else ("a ranker", AUCS)
    raise ConfigError(
        f"{where}: train.metric = {run.train.metric!r}, but {run.model!r} is {kind}, which has "
        f"{', '.join(fits)}"
    )


def _with_rivals(run: RunConfig, where: str) -> RunConfig:
    """With the rivals that a retriever has by default; those of the other kind are refused."""
    of_items = issubclass(models.get(run.model), models.Retriever)
    share = run.share
    if of_items:
        floor = "popularity" if run.model == "item_knn" else "item_knn"
        default = {"isolated": Rival(model="sasrec"), "shared": Rival(model=floor)}
        unsaid = {k: v for k, v in default.items() if k not in share.model_fields_set}
        share = share.model_copy(update=unsaid)
    for key in ("isolated", "shared"):
        rival = getattr(share, key)
        if rival is None:
            continue
        trees = rival.model in reference.names()
        if (not trees and issubclass(models.get(rival.model), models.Retriever)) != of_items:
            kind, other = ("retriever", "ranker") if of_items else ("ranker", "retriever")
            raise ConfigError(
                f"{where}: share.{key}.model = {rival.model!r} is a {other}, but {run.model!r} is "
                f"a {kind}; a {kind} is compared with {kind}s"
            )
    return run.model_copy(update={"share": share})


def _check_reference(run: RunConfig, where: str) -> None:
    run.reference_settings()
    reference.library()
    if run.scope != "joint":
        raise ConfigError(
            f"{where}: {run.model!r} has scope 'joint' alone; scope {run.scope!r} is for networks"
        )


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r}: expected dotted.key=value, such as train.lr=3e-4")
    *path, last = key.strip().split(".")
    place = values
    for part in path:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ConfigError(f"--set {override!r}: {part!r} is a value, not a table of settings")
    try:
        place[last] = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        place[last] = text.strip()  # a bare word is a string
