"""A domain is added, retired, split, or two are merged: each makes a run of a run.

Ids never change their meaning. A new domain has the next id; the place of one that went stays, under
a name that no row has, so that ids in stored rows and events go on meaning what they meant.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from isthmus.batch import Impressions
from isthmus.errors import ConfigError
from isthmus.lifecycle.axes import State, mean_rows, with_rows
from isthmus.lifecycle.derived import Origin, gone, is_gone, keep, origin
from isthmus.lifecycle.learning import LearnConfig, Learned, learn
from isthmus.lifecycle.rows import DomainRows, of_one_domain, read_rows
from isthmus.progress import Reporter, quiet
from isthmus.store import Change, Run

UNKNOWN = 0
Files = Sequence[Path | str]


def add(
    run: Run,
    name: str,
    rows: Files,
    *,
    data: Path | str | None = None,
    out: str | None = None,
    config: LearnConfig | None = None,
    reporter: Reporter = quiet,
) -> Run:
    """The run with one domain more, whose own parts are learned from ``rows``; all else stands still.

    Without enough rows, or where nothing is gained on the latest of them, the new domain is scored
    as unknown ones are; the change's note says so.

    Args:
        rows: Parquet, CSV or JSONL files with the columns of the data's preparation. Rows of other
            domains serve histories alone.
        data: the run's prepared data; by default ``prepared/`` and its name.

    Raises:
        ConfigError: the name is taken, or the run's domains cannot be changed.
        DataError: files or columns cannot be used; no row is of this domain, or all have one label.
    """
    config = config or LearnConfig()
    source = origin(run, data, out)
    source.refuse_taken(name)
    domains = (*source.schema.domains, name)
    place = len(domains)
    own = of_one_domain(read_rows(rows, source.prepared, domains), place, name)
    fitted, held = own.parted(config.valid_share)
    parts = source.parts
    starts = {
        other: parts.of(d) for d, other in enumerate(source.schema.domains, 1) if not is_gone(other)
    }
    reporter.note(f"{name}: {len(fitted):,} rows to learn from, {len(held):,} to judge by")
    learned = learn(
        parts, fitted.rows, held.rows, parts.of(UNKNOWN), starts, config, reporter=reporter
    )
    change = _change(source, "add", (), (name,), own, config, {name: learned})
    state = with_rows(parts.state, parts.axes, place, learned.rows)
    return keep(source, state, domains, change, added={place: held}, name=out)


def retire(run: Run, name: str, *, data: Path | str | None = None, out: str | None = None) -> Run:
    """The run without a domain: rows of that name, and of its id, take the unknown domain's path.

    Raises:
        DataError: there is no such domain.
        ConfigError: the run's domains cannot be changed.
    """
    source = origin(run, data, out)
    place = source.id_of(name)
    state, domains = _retired(source, source.parts.state, source.schema.domains, (name,), "retired")
    change = _change(source, "retire", (name,), ())
    return keep(source, state, domains, change, touched=(place,), name=out)


def split(
    run: Run,
    name: str,
    into: Sequence[str],
    *,
    rows: Files = (),
    by: str | None = None,
    retired: bool = False,
    data: Path | str | None = None,
    out: str | None = None,
    config: LearnConfig | None = None,
    reporter: Reporter = quiet,
) -> Run:
    """The run with new domains that begin as copies of one; with ``rows`` each learns from its own.

    The old domain stays as it is for rows that still come under its name, unless it is ``retired``.

    Args:
        by: the column of ``rows`` whose values are the new names; else that of the domain has them.

    Raises:
        ConfigError, DataError: as ``add``; fewer than two new names, or ``by`` without rows.
    """
    config = config or LearnConfig()
    if len(set(into)) < 2 or len(set(into)) < len(into):
        raise ConfigError(f"split: expected two different new names or more, found {list(into)}")
    if by is not None and not rows:
        raise ConfigError("split: --by names a column of rows; give --rows too")
    source = origin(run, data, out)
    old = source.id_of(name)
    for new in into:
        source.refuse_taken(new)
    domains, state = (*source.schema.domains, *into), source.parts.state
    copy, learned, held = source.parts.of(old), {}, {}
    every = (
        read_rows(rows, source.prepared, domains, by=(name, by) if by else None) if rows else None
    )
    for place, new in enumerate(into, len(source.schema.domains) + 1):
        own_rows = copy
        if every is not None:
            fitted, held[place] = of_one_domain(every, place, new).parted(config.valid_share)
            parts = fitted.rows, held[place].rows
            learned[new] = learn(source.parts, *parts, copy, {}, config, reporter=reporter)
            own_rows = learned[new].rows
        state = with_rows(state, source.parts.axes, place, own_rows)
    touched = (old,) if retired else ()
    if retired:
        state, domains = _retired(source, state, domains, (name,), "split")
    change = _change(source, "split", (name,), tuple(into), every, config, learned)
    return keep(source, state, domains, change, touched=touched, added=held, name=out)


def merge(
    run: Run,
    names: Sequence[str],
    into: str,
    *,
    retired: bool = False,
    data: Path | str | None = None,
    out: str | None = None,
    config: LearnConfig | None = None,
    reporter: Reporter = quiet,
) -> Run:
    """The run with a new domain made of others: it begins as the largest, another, or their mean.

    Which fits best is decided by their training rows in the run's data; from these it learns on, if
    that lowers the log loss of their validation rows. Their test rows are scored as the new one's.
    The old domains stay as they are, for rows that still come under their names, unless ``retired``.

    Raises:
        ConfigError, DataError: as ``add``; fewer than two domains to merge.
    """
    config = config or LearnConfig()
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"merge: expected two different domains or more, found {list(names)}")
    source = origin(run, data, out)
    places = [source.id_of(name) for name in names]
    source.refuse_taken(into)
    new = len(source.schema.domains) + 1
    fitted, valid, test = (_of_data(source, s, places, new) for s in ("train", "valid", "test"))
    baseline, starts = _mergers(source, names, places)
    learned = learn(
        source.parts, fitted.rows, valid.rows, baseline, starts, config, reporter=reporter
    )
    state = with_rows(source.parts.state, source.parts.axes, new, learned.rows)
    domains = (*source.schema.domains, into)
    if retired:
        state, domains = _retired(source, state, domains, tuple(names), "merged")
    change = _change(source, "merge", tuple(names), (into,), fitted, config, {into: learned})
    touched = places if retired else ()
    added = {new: test} if len(test) else None
    return keep(source, state, domains, change, touched=touched, added=added, name=out)


def _mergers(
    source: Origin, names: Sequence[str], places: Sequence[int]
) -> tuple[State, dict[str, State]]:
    """The rows of the domain with most training rows; those of the others, and the weighted mean."""
    counts = source.prepared.manifest.splits["train"]
    weights = [float(counts[name].rows) if name in counts else 0.0 for name in names]
    each = [source.parts.of(place) for place in places]
    largest = max(range(len(names)), key=weights.__getitem__)
    starts = dict(zip(names, each, strict=True))
    baseline = starts.pop(names[largest])
    if sum(weights):
        starts["mean"] = mean_rows(each, weights)
    return baseline, starts


def _of_data(source: Origin, split_name: str, places: Sequence[int], new: int) -> DomainRows:
    """Rows of the run's own data that are of these domain ids, as rows of another."""
    rows, table = source.prepared.impressions(split_name), source.prepared.table(split_name)
    chosen = np.flatnonzero(np.isin(table["domain"], places))
    own = rows[torch.from_numpy(chosen)]
    own = Impressions(own.features, torch.full_like(own.domain, new), own.label)
    return DomainRows(own, table["user"][chosen])


def _retired(
    source: Origin,
    state: State,
    domains: tuple[str, ...],
    names: tuple[str, ...],
    how: str,
) -> tuple[State, tuple[str, ...]]:
    """State and names in which these domains' ids are scored as the unknown domain's."""
    for name in names:
        place = domains.index(name)
        state = with_rows(state, source.parts.axes, place + 1, source.parts.of(UNKNOWN))
        domains = (*domains[:place], gone(name, how, domains), *domains[place + 1 :])
    return state, domains


def _change(
    source: Origin,
    operation: str,
    domains: tuple[str, ...],
    made: tuple[str, ...],
    rows: DomainRows | None = None,
    config: LearnConfig | None = None,
    learned: Mapping[str, Learned] | None = None,
) -> Change:
    notes = tuple(f"{name}: {_told(one)}" for name, one in (learned or {}).items())
    return Change.model_validate(
        {
            "operation": operation,
            "domains": domains,
            "made": made,
            "parent": source.run.name,
            "parent_weights": source.run.manifest.files["model.safetensors"].sha256,
            "settings": config.model_dump() if config is not None and notes else {},
            "rows": len(rows) if rows is not None else 0,
            "rows_digest": rows.digest() if rows is not None else "",
            "notes": notes,
        }
    )


def _told(one: Learned) -> str:
    """What came of learning, in words."""
    if not one.losses:
        return "too few rows to learn from; scored as before"
    before, after = one.losses["baseline"], one.losses[one.chosen]
    on = f"on {one.held_out:,} held-out rows"
    if one.chosen == "baseline":
        return (
            f"nothing was gained {on} (log loss {before:.4f}, learned "
            f"{one.losses['trained']:.4f}); scored as before"
        )
    how = "learned from" if one.chosen == "trained" else "taken over from"
    return f"{how} {one.start}, log loss {before:.4f} to {after:.4f} {on}"
