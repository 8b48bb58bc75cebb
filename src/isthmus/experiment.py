"""A configuration becomes a run on disk: called by the command line, benchmarks and tests alike."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from isthmus import distributed, models, reference, several
from isthmus.batch import Impressions
from isthmus.config import RunConfig
from isthmus.data.feed import Feed, thinned
from isthmus.data.prepared import Prepared
from isthmus.data.stream import Stream
from isthmus.data.without import Without, most_rows
from isthmus.errors import ConfigError, DataError
from isthmus.evaluation import Metrics, Predictions, evaluate
from isthmus.files import canonical
from isthmus.inference import probabilities
from isthmus.models import Model, ModelConfig, Ranker, Retriever
from isthmus.models.guarded import Guarded
from isthmus.models.isolated import DomainRanker, Isolated, vocabularies
from isthmus.models.mamdr import Mamdr, MamdrConfig
from isthmus.next_item import rank_splits, train_retriever
from isthmus.next_item import train_isolated as train_isolated_retrievers
from isthmus.progress import Reporter, quiet
from isthmus.reference.rates import Floats
from isthmus.schema import Schema
from isthmus.store import DataRef, Run, Store
from isthmus.trackers.runs import tracked
from isthmus.training import checkpoint
from isthmus.training.fit import fit, tables_as
from isthmus.training.isolated import train_isolated
from isthmus.training.state import TrainingState

SCORED = ("valid", "test")
OnEpoch = Callable[[TrainingState], None]


def run(
    config: RunConfig,
    store: Store,
    *,
    splits: Sequence[str] = SCORED,
    on_epoch: OnEpoch = lambda _: None,
    reporter: Reporter = quiet,
) -> Run:
    """Train what ``config`` says, score validation and test rows, and keep everything in ``store``.

    Of a retriever the ranks of items are kept, of all other models scores.

    A search for settings leaves "test" out of ``splits``, and keeps its runs in a store of its own.

    A run that is there already is returned as it is; one that was interrupted goes on from its last
    epoch, and ends bit-identical to one that was not.

    ``on_epoch`` sees the state after each epoch of a joint run that is trained now: a state that
    it may read, and must not change.

    Several processes that were started together (``meeting.started``) train one run; the first
    writes it, and alone hears ``on_epoch``.
    """
    prepared = Prepared.open(Path(config.data))
    prepared = Without(prepared, config.without) if config.without else prepared
    identity = config.identity()
    name = config.name or default_name(config, prepared)
    data = DataRef(name=prepared.manifest.name, digest=prepared.digest)
    several.refuse(config, data)
    if not distributed.peers().leads:
        on_epoch, reporter = lambda _: None, quiet
    kept = several.begun(store, name, identity, prepared.schema, data)
    if kept.finished:
        reporter.note(f"{name}: finished before, in {kept.path}")
        return kept
    with several.held(kept) as finished:
        if finished:
            return several.ended(kept)
        with tracked(config, kept, reporter) as trackers:
            on_epoch = trackers.before(on_epoch)
            state = _train(config, prepared, kept, splits, on_epoch, reporter)
            trackers.end(kept, state.epochs)
        return several.ended(kept)


def _train(
    config: RunConfig,
    prepared: Prepared,
    kept: Run,
    splits: Sequence[str],
    on_epoch: OnEpoch,
    reporter: Reporter,
) -> TrainingState:
    """Train, score and finish a run."""
    if _is_retriever(config):
        retriever, state = _train_retriever(config, prepared, kept, on_epoch, reporter)
        kept.finish(state, rank_splits(retriever, prepared, kept, splits))
        return state
    joint = partial(_train_joint, on_epoch=on_epoch)
    train = _train_isolated if config.scope == "isolated" else joint
    train = _train_reference if config.is_reference else train
    model, state = train(config, prepared, kept, reporter)
    metrics = {}
    for split in splits:
        kept.log(scoring=split)  # so that the next line tells what scoring costs, and only that
        predictions = predict(model, prepared, split, rows(config, prepared, split))
        kept.save_predictions(split, predictions)
        metrics[split] = evaluate(predictions, sizes=train_rows(prepared))
    kept.finish(state, metrics)
    return state


def _train_retriever(
    config: RunConfig, prepared: Prepared, kept: Run, on_epoch: OnEpoch, reporter: Reporter
) -> tuple[Retriever, TrainingState]:
    if config.scope == "isolated":
        return train_isolated_retrievers(config, prepared, kept, reporter)
    on_epoch = _epoch_log(config, kept, on_epoch, reporter)
    keep = partial(keep_partial, kept)
    return train_retriever(config, prepared, kept, on_epoch, keep, reporter)


def _is_retriever(config: RunConfig) -> bool:
    return not config.is_reference and issubclass(models.get(config.model), Retriever)


def default_name(config: RunConfig, prepared: Prepared) -> str:
    """Data, model, scope, seed, and eight digits that stand for all settings and the data's content."""
    content = canonical({"config": config.identity(), "data": prepared.digest})
    scope = "" if config.scope == "joint" else f"-{config.scope}"
    short = hashlib.sha256(content).hexdigest()[:8]
    model = config.model.rpartition(":")[2]  # of a user's own, the class without its module
    return f"{prepared.manifest.name}-{model}{scope}-s{config.seed}-{short}"


def predict(
    model: Ranker, prepared: Prepared, split: str, rows: Impressions | Stream | None = None
) -> Predictions:
    """The scores of a split's rows, as evaluation reads them; ``rows``: these, or a stream of them."""
    table = prepared.table(split)
    rows = prepared.impressions(split) if rows is None else rows
    return Predictions(
        row=table["row"],
        domain=table["domain"],
        user=table["user"],
        label=table["label"],
        score=probabilities(model, rows),
        domains=prepared.schema.domains,
    )


def load_model(kept: Run) -> Ranker:
    """The model of a finished run, with its best weights and masks, and the vocabularies of its own."""
    if kept.config["model"] in reference.names():
        return _load_reference(kept)
    state, scope = kept.model_state(), kept.config["scope"]
    if scope == "isolated":
        kind, config = _kind(kept.config)
        model: Ranker = Isolated(config, kept.schema, kind, vocabularies(kept.schema, state))
    elif scope == "guarded":
        model = _guarded(kept.config["guard"], kept.config, kept.schema, state)
    else:
        model = _whole(kept.config, kept.schema)
    model.load_state_dict(state)
    return model.eval()


def _guarded(
    guard: Mapping[str, Any],
    identity: Mapping[str, Any],
    schema: Schema,
    state: Mapping[str, torch.Tensor],
) -> Ranker:
    """A joint model, and the own ones of the domains that ``state`` has such of."""
    joint = _whole({**identity, "scope": guard["scope"]}, schema)
    kind, config = _kind(guard["isolated"])
    known = vocabularies(schema, state)
    parts = {d: DomainRanker(config, schema, kind, ids) for d, ids in known.items()}
    return Guarded(joint, parts)


def train_rows(prepared: Prepared) -> dict[str, int]:
    """Training rows of each known domain."""
    counts = prepared.manifest.splits["train"]
    return {name: counts[name].rows for name in prepared.schema.domains if name in counts}


def _kind(identity: Mapping[str, Any]) -> tuple[type[Ranker], ModelConfig]:
    """The class of a run's model, and its settings."""
    kind = models.get(identity["model"])
    if not issubclass(kind, Ranker):
        raise ConfigError(
            f"{identity['model']!r} is a retriever, which scores items and no impressions; "
            "isthmus.next_item.load_retriever loads it"
        )
    return kind, kind.Config.model_validate(identity["settings"])


def _whole(identity: Mapping[str, Any], schema: Schema) -> Ranker:
    """The untrained model of a run whose domains are trained together."""
    kind, config = _kind(identity)
    if identity["scope"] == "mamdr":
        return Mamdr(config, schema, kind, MamdrConfig.model_validate(identity["mamdr"]))
    return kind(config, schema)


def _train_joint(
    config: RunConfig, prepared: Prepared, kept: Run, reporter: Reporter, *, on_epoch: OnEpoch
) -> tuple[Ranker, TrainingState]:
    torch.manual_seed(config.seed)
    with tables_as(config.train):
        model = _whole(config.identity(), prepared.schema)
    train, table = config.train, prepared.table("valid")
    valid = rows(config, prepared, "valid")
    feed = Feed(
        rows(config, prepared, "train"),
        batch_size=train.batch_size,
        seed=config.seed,
        valid=valid,
        unknown_share=train.unknown_share,
    )

    def score(model: Model) -> float:
        assert isinstance(model, Ranker)
        columns = {key: table[key] for key in ("row", "domain", "user", "label")}
        scores = probabilities(model, valid)
        predictions = Predictions(**columns, score=scores, domains=prepared.schema.domains)
        return metric_of(evaluate(predictions), train.metric)

    on_epoch = _epoch_log(config, kept, on_epoch, reporter)
    state = checkpoint.latest(kept.checkpoints, reporter=reporter)
    told: dict[str, Any] = {"on_epoch": on_epoch, "on_partial": partial(keep_partial, kept)}
    state = fit(model, feed, score, train, state=state, reporter=reporter, **told)
    return model, state


def rows(config: RunConfig, prepared: Prepared, split: str) -> Impressions | Stream:
    """A split as the run takes it: streamed or in memory, and of training rows those to train on."""
    train = config.train
    if train.stream:
        return Stream(prepared, split, seed=config.seed, window=train.stream_window)
    whole, most = prepared.impressions(split), most_rows(prepared, train.max_rows)
    return thinned(whole, most, config.seed) if split == "train" else whole


def keep_partial(kept: Run, state: TrainingState) -> None:
    """A checkpoint in the middle of an epoch."""
    path = checkpoint.save(state, kept.checkpoints)
    kept.log(checkpoint=path.name)


def _epoch_log(config: RunConfig, kept: Run, then: OnEpoch, reporter: Reporter) -> OnEpoch:
    """What is done at the end of each epoch: a checkpoint, a line of the log, a word to the user."""
    started, metric = time.perf_counter(), config.train.metric

    def on_epoch(state: TrainingState) -> None:
        losses = {name: round(value, 6) for name, value in state.losses[-1].items()}
        seconds = round(time.perf_counter() - started, 3)
        told = {"told": state.told} if state.told else {}
        # before the checkpoint: a kill between them logs an epoch twice, and never loses one
        kept.log(epoch=state.epochs, score=state.scores[-1], losses=losses, seconds=seconds, **told)
        checkpoint.save(state, kept.checkpoints)
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        reporter.note(
            f"{config.model} epoch {state.epochs}: {metric} {state.scores[-1]:.4f}  {said}"
        )
        then(state)

    return on_epoch


def _train_isolated(
    config: RunConfig, prepared: Prepared, kept: Run, reporter: Reporter
) -> tuple[Ranker, TrainingState]:
    job = config.isolated_job(prepared.path, kept.checkpoints)
    return train_isolated(job, workers=config.share.workers, reporter=reporter)


def _train_reference(
    config: RunConfig, prepared: Prepared, kept: Run, reporter: Reporter
) -> tuple[Ranker, TrainingState]:
    """Grow trees; they are few minutes' work, so what was interrupted begins again."""
    table = prepared.table("valid")
    columns = {key: table[key] for key in ("row", "domain", "user", "label")}
    feed = Feed(
        thinned(
            prepared.impressions("train"),
            most_rows(prepared, config.train.max_rows),
            config.seed,
        ),
        batch_size=config.train.batch_size,
        seed=config.seed,
        valid=prepared.impressions("valid"),
    )

    def score(scores: Floats) -> float:
        predictions = Predictions(**columns, score=scores, domains=prepared.schema.domains)
        return metric_of(evaluate(predictions), config.train.metric)

    def on_look(state: TrainingState) -> None:
        kept.log(epoch=state.epochs, score=state.scores[-1], losses=state.losses[-1])

    kind, settings = reference.get(config.model), config.reference_settings()
    model, state = kind.fit(
        settings, prepared.schema, feed, score, on_look=on_look, reporter=reporter
    )
    with kept.artefact(kind.file) as path:
        path.write_text(model.text, encoding="utf-8")
    reporter.note(f"{config.model}: {config.train.metric} {state.scores[state.best_epoch]:.4f}")
    return model, state


def _load_reference(kept: Run) -> Ranker:
    kind = reference.get(kept.config["model"])
    settings = kind.Settings.model_validate(kept.config["settings"])
    text = kept.read(kind.file).decode()
    return kind.load(settings, kept.schema, kept.model_state(), text).eval()


def metric_of(metrics: Metrics, name: str) -> float:
    """The number by which epochs are compared.

    Raises:
        DataError: it is undefined on these validation rows; the message says why.
    """
    found = {
        "auc": metrics.overall.auc.value if metrics.overall.auc else None,
        "domain_auc": metrics.domain_auc,
        "macro_auc": metrics.macro_auc,
        "worst_domain": metrics.worst_domain[1] if metrics.worst_domain else None,
    }[name]
    if found is None:
        why = metrics.undefined.get(name) or metrics.overall.reason or "no domain has both labels"
        raise DataError(
            f"the validation rows give no {name} ({why}); give the validation split more rows, or "
            "choose another train.metric"
        )
    return found
