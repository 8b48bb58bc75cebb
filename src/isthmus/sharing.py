"""The sharing report: joint against isolated models, domain by domain, over several seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from isthmus import __version__
from isthmus.config import RunConfig
from isthmus.costs import cost
from isthmus.curves import curves
from isthmus.data.prepared import Prepared
from isthmus.diagnose import diagnose
from isthmus.errors import ConfigError
from isthmus.evaluation import Rules, SharingTable, share_ranks, sharing
from isthmus.evaluation.rank_compare import RULES
from isthmus.evaluation.ranks import METRIC
from isthmus.experiment import load_model, run, train_rows
from isthmus.grid import Point
from isthmus.guarding import stored_table
from isthmus.nn import masks
from isthmus.progress import Reporter, quiet
from isthmus.report.data import Cost, CreatedFrom, Masks, ReportData
from isthmus.share_search import arms_of, search
from isthmus.store import Run, Store

RANKED = (METRIC, "hr@10")
"""Metrics of a retriever's sharing report: the first decides, the others stand below it."""
Arms = dict[str, list[Run]]
"""Finished runs by their part in the comparison ("joint", "isolated", "shared"), one a seed."""


def share(
    config: RunConfig, store: Store, *, rules: Rules | None = None, reporter: Reporter = quiet
) -> ReportData:
    """Train (or take) the joint, isolated and domain-blind models; say whom sharing helps or hurts.

    With a table ``share.tune`` the settings of training of each are searched first, with equal
    budget, on validation rows alone. A run that is there already is taken as it is. The findings
    are those of the joint model, beside the isolated ones.

    Raises:
        ConfigError: the run has scope "isolated", and so shares nothing.
    """
    if config.scope == "isolated":
        raise ConfigError(
            "a sharing report compares a run with isolated ones, which it trains itself; this run "
            "has scope = 'isolated', expected 'joint' or 'mamdr'"
        )
    found, tuned = search(config, store, reporter=reporter)
    arms = train_arms(config, store, found=found, reporter=reporter)
    prepared = Prepared.open(Path(config.data), verify=False)
    made = (_share_ranks if prepared.of_events else _share_scores)(arms, prepared, rules)
    (looked,) = diagnose(
        arms["joint"],
        config.data,
        beside=arms["isolated"],
        verdicts=made.sharing,
        reporter=reporter,
    )
    return made.model_copy(update={"tuned": tuned, "findings": looked.findings})


def _share_scores(arms: Arms, prepared: Prepared, rules: Rules | None) -> ReportData:
    """The report of rankers, by their AUC."""
    predictions = {part: [one.predictions("test") for one in runs] for part, runs in arms.items()}
    table = sharing(
        predictions["joint"],
        predictions["isolated"],
        predictions.get("shared"),
        train_rows=train_rows(prepared),
        names={part: title(runs[0]) for part, runs in arms.items()},
        rules=rules or Rules(data=f"the test split of {prepared.manifest.name}"),
    )
    return _report(arms, prepared, table)


def _share_ranks(arms: Arms, prepared: Prepared, rules: Rules | None) -> ReportData:
    """The same of retrievers, in each of ``RANKED``."""
    ranks = {part: [one.ranks("test") for one in runs] for part, runs in arms.items()}
    data = f"the test split of {prepared.manifest.name}"
    tables = [
        share_ranks(
            ranks["joint"],
            ranks["isolated"],
            ranks.get("shared"),
            train_rows=train_rows(prepared),
            names={part: title(runs[0]) for part, runs in arms.items()},
            metric=metric,
            rules=rules or RULES.model_copy(update={"data": data}),
        )
        for metric in RANKED
    ]
    return _report(arms, prepared, tables[0]).model_copy(update={"further": tuple(tables[1:])})


def _report(arms: Arms, prepared: Prepared, table: SharingTable) -> ReportData:
    """With what is of the first seed, and costs of all."""
    first = [runs[0] for runs in arms.values()]
    costs = {title(runs[0]): cost(runs) for runs in arms.values()}
    return report_data(first, table, source=prepared.manifest.source, costs=costs)


def train_arms(
    config: RunConfig,
    store: Store,
    *,
    found: Mapping[str, Point] | None = None,
    reporter: Reporter = quiet,
) -> Arms:
    """Every model that the report compares, for every seed; ``found`` are settings of training by part."""
    arms: Arms = {}
    for seed in config.share.seeds:
        for part, what in arms_of(_seeded(config, seed)).items():
            train = what.train.model_copy(update=(found or {}).get(part, {}))
            kept = run(what.model_copy(update={"train": train}), store, reporter=reporter)
            arms.setdefault(part, []).append(kept)
    return arms


def _seeded(config: RunConfig, seed: int) -> RunConfig:
    """The run with another seed; where there are several, its name, if it has one, tells which."""
    several = config.name is not None and len(config.share.seeds) > 1
    name = f"{config.name}-s{seed}" if several else config.name
    return config.model_copy(update={"seed": seed, "name": name})


def report_data(
    runs: Sequence[Run],
    table: SharingTable | None = None,
    *,
    source: str = "",
    costs: Mapping[str, Cost] | None = None,
) -> ReportData:
    """What the report of these runs shows; the first is the one whose masks are drawn.

    ``costs`` by title, where they are not those of these runs alone.
    """
    first = runs[0]
    return ReportData(
        title=f"{title(first)} on {first.data.name}",
        created_from=CreatedFrom(
            config=_as_text(first.config),
            data=first.data.name,
            provenance={
                **({"source": source} if source else {}),
                "data digest": first.data.digest,
                "runs": ", ".join(one.name for one in runs),
                "isthmus": __version__,
                "torch": torch.__version__,
            },
        ),
        metrics={title(one): one.metrics["test"] for one in runs if not one.of_items},
        rank_metrics={title(one): one.rank_metrics["test"] for one in runs if one.of_items},
        sharing=table,
        curves={title(one): curves(one) for one in runs if len(one.manifest.scores) > 1},
        masks=mask_tables(first),
        guard=stored_table(first),
        costs=costs or {title(one): cost([one]) for one in runs},
    )


def title(one: Run) -> str:
    """How a run is called where it stands beside others: its model, and what sets it apart."""
    config = one.config
    if config["scope"] != "joint":
        return f"{config['scope']} {config['model']}"
    blind = config["settings"].get("domain_blind")
    return f"shared {config['model']}" if blind else str(config["model"])


def mask_tables(one: Run) -> Masks | None:
    """Which experts each domain uses, for a model that has masks."""
    if one.config["scope"] == "isolated" or one.of_items:
        return None
    edges = load_model(one).expert_masks()
    if not edges:
        return None
    known = [level[1:] for level in edges]  # the unknown domain uses all
    widths = [known[0].shape[1], *(level.shape[2] for level in known)]
    used = masks.active(known, widths)
    read = [used[0].double(), *(level.double().mean(1) for level in known)]
    return Masks(
        domains=one.schema.domains,
        levels=tuple(widths),
        active=tuple(_rows(level) for level in read),
        edges=tuple(masks.density(known).tolist()),
        overlap=_rows(masks.overlap(known)),
    )


def _rows(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.double().tolist())


def _as_text(config: Mapping[str, object], prefix: str = "") -> str:
    """Settings as ``dotted.key = value`` lines."""
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines.append(_as_text(value, f"{prefix}{key}."))
        else:
            lines.append(f"{prefix}{key} = {value}")
    return "\n".join(lines)
