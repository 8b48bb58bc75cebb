"""From a run to one whose domains differ: what is checked before, and what is kept in the store."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus import reference
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.evaluation import Predictions, evaluate
from isthmus.experiment import SCORED, load_model, predict, train_rows
from isthmus.files import canonical, digest_of
from isthmus.inference import probabilities
from isthmus.lifecycle.axes import State, domain_axes
from isthmus.lifecycle.learning import Parts
from isthmus.lifecycle.rows import DomainRows
from isthmus.models import Ranker
from isthmus.schema import Schema
from isthmus.store import Change, Run, Store, refuse_name
from isthmus.training.state import TrainingState

ADDED = "added"
"""The split of a derived run that holds the held-out rows of the domains that were made."""
_GONE = re.compile(r"<\w+: .*>")


@dataclass(frozen=True)
class Origin:
    """A finished joint run, its data under its own domains, and its model taken apart."""

    run: Run
    prepared: Prepared
    parts: Parts

    @property
    def schema(self) -> Schema:
        return self.run.schema

    def id_of(self, name: str) -> int:
        """The id of a domain. Raises DataError if there is none of that name."""
        if name not in self.schema.domains or is_gone(name):
            there = [n for n in self.schema.domains if not is_gone(n)]
            more = f" and {len(there) - 5} more" if len(there) > 5 else ""
            raise DataError(
                f"run {self.run.name!r} has no domain {name!r}; it has "
                f"{', '.join(map(repr, there[:5]))}{more}"
            )
        return self.schema.domains.index(name) + 1

    def refuse_taken(self, name: str) -> None:
        """Raise ConfigError unless a new domain can have this name."""
        if name in self.schema.domains:
            raise ConfigError(
                f"run {self.run.name!r} has a domain {name!r} already; choose another name, or retire "
                "that one first"
            )
        if not name.strip() or name.startswith("<"):
            raise ConfigError(
                f"domain name {name!r}: expected some text that does not begin with '<'"
            )


def origin(run: Run, data: Path | str | None = None, out: str | None = None) -> Origin:
    """A run whose domains may be changed; ``data`` is by default ``prepared/`` and its data's name.

    Raises:
        ConfigError: domains of such a run cannot be changed, or no run can be named ``out``; the
            message says why.
        DataError, MismatchError: it is not finished, or the data is not its own.
    """
    if out is not None:
        refuse_name(out)
    if not run.finished:
        raise DataError(f"run {run.name!r} is not finished; train it to the end first")
    if run.of_items:
        raise ConfigError(
            f"run {run.name!r} is a retriever's, whose items are those of its domains; items of a new "
            "domain have no vectors: prepare them and train anew"
        )
    scope = (
        "the trees of LightGBM" if run.config["model"] in reference.names() else run.config["scope"]
    )
    if scope != "joint":
        raise ConfigError(
            f"run {run.name!r} is of scope {scope!r}, whose domains have no rows of their own in one "
            "model; domains come and go in runs of scope 'joint'"
        )
    if run.config.get("without"):
        raise ConfigError(
            f"run {run.name!r} was trained without {', '.join(map(repr, run.config['without']))}, to "
            "measure what these do for others; change the domains of a run of all of them"
        )
    prepared = Prepared.open(data or Path("prepared") / run.data.name)
    if prepared.digest != run.data.digest:
        raise MismatchError(
            f"{prepared.path} is not the data of run {run.name!r} ({run.data.name!r}, "
            f"{run.data.digest[:12]}…), but {prepared.digest[:12]}…; give --data its directory"
        )
    model = load_model(run)
    axes = domain_axes(type(model), model.config, run.schema)
    parts = Parts(type(model), model.config, run.schema, model.state_dict(), axes)
    return Origin(run, prepared.under(run.schema), parts)


def keep(
    source: Origin,
    state: State,
    domains: tuple[str, ...],
    change: Change,
    *,
    touched: Collection[int] = (),
    added: Mapping[int, DomainRows] | None = None,
    name: str | None = None,
) -> Run:
    """The run that has this state and these domains, beside the one that it comes from.

    Nothing is kept unless all rows of domains but those ``touched`` are scored as before, to the bit.

    Args:
        added: held-out rows of the new domains, by id.

    Raises:
        MismatchError: a score of another domain changed.
    """
    schema = source.schema.model_copy(update={"domains": domains})
    model = source.parts.kind(source.parts.config, schema)
    model.load_state_dict(state)
    prepared = source.prepared.under(schema)
    splits = {s: predict(model, prepared, s) for s in SCORED if _has(source.run, s)}
    same = sum(_unchanged(source, split, found, touched) for split, found in splits.items())
    change = change.model_copy(update={"unchanged": same})
    if added:
        splits[ADDED] = _scored(model, schema, added)
    kept = Store(source.run.path.parent).derive(
        name or _default_name(source.run, change), source.run, schema, change
    )
    if kept.finished:
        return kept
    with kept.lock():
        metrics, sizes = {}, train_rows(prepared)
        for split, predictions in splits.items():
            kept.save_predictions(split, predictions)
            metrics[split] = evaluate(predictions, sizes=None if split == ADDED else sizes)
        before = source.run.manifest
        kept.log(changed=change.model_dump(mode="json"))
        kept.finish(TrainingState([*before.scores], [*before.losses], best=state), metrics)
    return kept


def is_gone(name: str) -> bool:
    """Whether a domain of this name in a schema is the place of one that was retired."""
    return bool(_GONE.fullmatch(name))


def gone(name: str, operation: str, domains: tuple[str, ...]) -> str:
    """What the place of a domain that went is called: a name that no row has."""
    found, again = f"<{operation}: {name}>", 1
    while found in domains:
        again += 1
        found = f"<{operation}: {name}, {again}>"
    return found


def _has(run: Run, split: str) -> bool:
    return f"predictions/{split}.parquet" in run.manifest.files


def _unchanged(source: Origin, split: str, found: Predictions, touched: Collection[int]) -> int:
    """How many rows of other domains have the parent's scores: all, to the bit, or none is kept."""
    others = ~np.isin(found.domain, list(touched))
    after = found.score[others].tobytes()
    if source.run.predictions(split).score[others].tobytes() != after:
        # They may be of another machine, whose products have other last bits.
        here = predict(load_model(source.run), source.prepared, split).score[others]
        if here.tobytes() != after:
            worst = float(np.abs(here - found.score[others]).max())
            raise MismatchError(
                f"scores of other domains on the {split} rows changed, by up to {worst:.2g}; nothing "
                "was kept. Train the model anew over the new domains."
            )
    return int(others.sum())


def _scored(model: Ranker, schema: Schema, added: Mapping[int, DomainRows]) -> Predictions:
    domain = np.concatenate([np.full(len(own), d) for d, own in added.items()])
    return Predictions(
        row=np.arange(len(domain)),
        domain=domain,
        user=np.concatenate([own.user for own in added.values()]),
        label=np.concatenate([own.rows.label.numpy() for own in added.values()]).astype(np.int8),
        score=np.concatenate([probabilities(model, own.rows) for own in added.values()]),
        domains=schema.domains,
    )


def _default_name(run: Run, change: Change) -> str:
    content = digest_of(canonical(change.model_dump(mode="json"))).sha256[:8]
    what = re.sub(r"[^A-Za-z0-9]+", "_", "-".join(change.made or change.domains))[:24].strip("_")
    return f"{run.name[:50]}-{change.operation}-{what}-{content}"
