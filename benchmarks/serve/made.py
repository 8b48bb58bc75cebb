"""Pipelines of any size with random weights: what a request costs does not depend on training."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from isthmus.data.serving import Collected, Facts
from isthmus.models import get
from isthmus.nn import masks
from isthmus.schema import Feature, Schema
from isthmus.service.bundle import Bundle, keep
from isthmus.service.load import Stage
from isthmus.service.pipeline import Pipeline
from isthmus.store import DataRef, Run, Store
from isthmus.training.state import TrainingState

DOMAINS, USERS, HISTORY = 30, 2_000, 50
IDS = {"user": USERS, "item": 0, "category": 2_000, "brand": 20_000, "city": 400}
IDS |= {"price": 12, "hour": 24, "weekday": 7}
ROLES = {"user": "user", "city": "user", "item": "item", "category": "item", "brand": "item"}
ROLES |= {"price": "item"}


def pipeline(items: int, *, retriever: str = "syncrec", ranker: str = "aread") -> Pipeline:
    """A pipeline over so many items of 30 domains, the largest five times the smallest."""
    return Pipeline(*stages(items, retriever, ranker))


def stages(items: int, retriever: str, ranker: str, *, seed: int = 0) -> tuple[Stage, Stage]:
    """Both stages of such a pipeline; another seed has other weights, and the same items and users."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(0)
    share = np.linspace(5, 1, DOMAINS)
    sizes = np.floor(items * share / share.sum()).astype(int)
    sizes[0] += items - sizes.sum()
    names = tuple(f"domain {d}" for d in range(DOMAINS))
    domain = np.repeat(np.arange(1, DOMAINS + 1), sizes)
    values = [f"item {i}" for i in range(items)]
    past = _past(draw, items, domain)
    schema = Schema(
        features=(), domains=names, items=items + 1, max_history=HISTORY, domain_items=tuple(sizes)
    )
    common = {"value": values, "domain": domain, "count": draw.integers(1, 1000, items)}
    first = Bundle(
        Facts(kind="retriever"), {"items": pa.table(common), "users": pa.table(past)}, schema
    )
    second = _ranking(draw, names, common, past)
    return _stage(retriever, first), _stage(ranker, second)


def kept(made: Stage, store: Store, name: str) -> Run:
    """A stage as a run that is finished and packed."""
    model, tables = made.run.name, made.bundle
    config = {"model": model, "settings": get(model).Config().model_dump(mode="json")}
    run = store.create(
        name, {**config, "scope": "joint"}, tables.schema, DataRef(name="made", digest="0" * 64)
    )
    run.finish(TrainingState(scores=[0.0], best=made.model.state_dict()), {})
    with run.lock():
        keep(run, tables.facts, tables.tables)
    return run


def _past(draw: np.random.Generator, items: int, domain: np.ndarray) -> dict[str, Any]:
    item = draw.integers(1, items + 1, USERS * HISTORY)
    bounds = np.arange(USERS + 1) * HISTORY
    return {
        "value": [f"user {u}" for u in range(USERS)],
        "items": _lists(bounds, item),
        "domains": _lists(bounds, domain[item - 1]),
        "times": _lists(bounds, np.tile(np.arange(HISTORY), USERS)),
    }


def _ranking(
    draw: np.random.Generator, names: tuple[str, ...], items: dict[str, Any], past: dict[str, Any]
) -> Bundle:
    sizes = {**IDS, "item": len(items["value"])}
    features = [
        Feature(name=n, size=s + 1, role=ROLES.get(n, "context"))  # type: ignore[arg-type]
        for n, s in sizes.items()
    ]
    recent = Feature(
        name="recent", kind="history", size=sizes["item"] + 1, table="item", role="user", length=5
    )
    schema = Schema(features=(*features, recent), domains=names)
    own = [np.arange(1, sizes["item"] + 1)]
    own += [draw.integers(1, IDS[n] + 1, sizes["item"]) for n in ("category", "brand", "price")]
    theirs = [np.arange(1, USERS + 1), draw.integers(1, IDS["city"] + 1, USERS)]
    theirs += [np.zeros(USERS, np.int64)] * 5
    item = np.asarray(past["items"].values.to_numpy()).reshape(USERS, HISTORY)[:, :-6:-1]
    bounds = np.arange(USERS + 1) * 5
    users = {**past, "features": _table(theirs), "recent.ids": _lists(bounds, item.ravel())}
    users["recent.times"] = _lists(bounds, np.tile(np.arange(HISTORY)[:-6:-1], USERS))
    words = [(n, str(v)) for n in ("hour", "weekday") for v in range(IDS[n])]
    tables = {
        "items": pa.table({**items, "features": _table(own)}),
        "users": pa.table(users),
        "words": pa.table({"table": [t for t, _ in words], "value": [v for _, v in words]}),
    }
    collected = (Collected(feature="recent", of="item", positives=True, window=None),)
    facts = Facts(kind="ranker", item="item", user="user", collected=collected)
    return Bundle(facts, tables, schema)


def _stage(name: str, bundle: Bundle) -> Stage:
    kind = get(name)
    model = kind(kind.Config(), bundle.schema).eval()
    with torch.no_grad():
        for value in model.parameters():
            value += 0.05 * torch.randn_like(value)
    if name == "aread":
        _prune(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Stage(SimpleNamespace(name=name), model, bundle, name)  # type: ignore[arg-type]


def _prune(model: Any) -> None:
    """Masks that keep about half of the edges, as a search leaves them."""
    full = model.hierarchy.mask
    kept = [torch.rand(level.shape) < 0.5 for level in full]
    fixed = masks.repaired(kept)
    lost = ~masks.has_output(fixed)[:, None, None]
    model.hierarchy.set_mask([torch.where(lost, a, b) for a, b in zip(full, fixed, strict=True)])


def _lists(bounds: np.ndarray, values: np.ndarray) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), pa.array(values, pa.int64()))


def _table(columns: list[np.ndarray]) -> pa.Array:
    rows = np.stack(columns, 1)
    return _lists(np.arange(len(rows) + 1) * rows.shape[1], rows.ravel())
