"""Do related domains share more of their masks than others, and than random masks would?

The overlap ratio of two masks is the number of edges that both keep over the number that either
keeps (AREAD's mask analysis; Sun et al., AAAI 2020, "Learning Sparse Sharing Architectures").
Related are domains of one planted cluster (a truth.json), of one cluster of ``isthmus cluster``
(its JSON), or those whose training rows mostly have the same value of a feature.

Two kinds of chance: *random masks*, every domain's edges shuffled within each level, so that the
density stays; and for ``p`` (one-sided, related above unrelated) clusters shuffled over domains.

Run:  python benchmarks/studies/masks.py NAME --by truth.json RUN_DIRECTORY...
      python benchmarks/studies/masks.py NAME --by clusters.json --rows ROWS.csv --label AREAD
      python benchmarks/studies/masks.py NAME --by department RUN_DIRECTORY...
What NAME.csv (in ``studies/results``) has of the same runs and ``--by`` is replaced.

Shape letters: D domains, X edges of the whole hierarchy, S and T experts below and above an edge,
P pairs, R random repetitions.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from isthmus.bench import read_rows, write_rows
from isthmus.data.prepared import Prepared
from isthmus.errors import DataError, IsthmusError
from isthmus.experiment import load_model
from isthmus.nn import masks
from isthmus.store import DataRef, Run

HERE = Path(__file__).parent
COLUMNS = (
    "data", "by", "run", "seed", "density", "pairs", "count",
    "overlap", "random", "low", "high", "p",
)  # fmt: skip
"""Of a run and its related (or unrelated) pairs of domains: how many, their mean overlap ratio, and
mean and 95 % range of the same with random masks. ``p`` is the same in both rows of a run."""
REPEATS = 1000

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Groups = Sequence[int]
"""The cluster of each domain; a negative one is of no cluster, related to none."""


def overlap_ratios(edges_DX: Bools) -> Floats:
    """Of every pair of domains, the shared edges over all edges of both: [D, D]."""
    return masks.overlap([torch.from_numpy(edges_DX)[:, None]]).numpy()


def related_pairs(groups: Groups) -> Bools:
    """Which pairs of domains are of one cluster: [D, D]; the diagonal is not."""
    group_D = np.asarray(groups)
    same_DD = (group_D[:, None] == group_D) & (group_D >= 0)[:, None]
    np.fill_diagonal(same_DD, False)
    return same_DD


def means(ratio_DD: Floats, related_DD: Bools) -> tuple[float, float]:
    """Mean overlap of the related pairs and of the others."""
    upper_DD = np.triu(np.ones_like(related_DD), 1)
    return (
        float(ratio_DD[upper_DD & related_DD].mean()),
        float(ratio_DD[upper_DD & ~related_DD].mean()),
    )


def shuffled(levels: Sequence[Bools], rng: np.random.Generator) -> Bools:
    """Random masks that keep as many edges of each level in each domain: [D, X]."""
    flat = [level.reshape(len(level), -1) for level in levels]
    return np.concatenate([rng.permuted(level, axis=1) for level in flat], axis=1)


def analysed(
    levels: Sequence[Bools], groups: Groups, *, repeats: int = REPEATS, seed: int = 0
) -> list[dict[str, str]]:
    """The rows of a run: its related pairs, and its unrelated ones.

    ``levels`` [D, S, T] each: which edges every domain's mask keeps.

    Raises:
        DataError: all pairs are related, or none is.
    """
    related_DD = related_pairs(groups)
    number = len(groups) * (len(groups) - 1) // 2
    counts = {"related": int(related_DD.sum()) // 2}
    counts["unrelated"] = number - counts["related"]
    if not all(counts.values()):
        raise DataError(f"{counts['related']} of {number} pairs are related; nothing to compare")
    edges_DX = np.concatenate([level.reshape(len(level), -1) for level in levels], axis=1)
    ratio_DD = overlap_ratios(edges_DX)
    found = means(ratio_DD, related_DD)
    rng = np.random.default_rng(seed)
    random_R2 = np.array(
        [means(overlap_ratios(shuffled(levels, rng)), related_DD) for _ in range(repeats)]
    )
    p = _p_value(ratio_DD, groups, found[0] - found[1], rng, repeats)
    rows = []
    for place, pairs in enumerate(counts):
        low, high = np.quantile(random_R2[:, place], [0.025, 0.975])
        figures = {
            "density": edges_DX.mean(),
            "overlap": found[place],
            "random": random_R2[:, place].mean(),
            "low": low,
            "high": high,
            "p": p,
        }
        shown = {name: f"{value:.6f}" for name, value in figures.items()}
        rows.append({"pairs": pairs, "count": str(counts[pairs]), **shown})
    return rows


def _p_value(
    ratio_DD: Floats, groups: Groups, found: float, rng: np.random.Generator, repeats: int
) -> float:
    """How often clusters shuffled over the domains set related pairs as far above the others."""
    least = found - 1e-12  # equal sums in another order
    hits = 0
    for _ in range(repeats):
        related, others = means(ratio_DD, related_pairs(rng.permutation(np.asarray(groups))))
        hits += related - others >= least
    return (1 + hits) / (1 + repeats)


def groups_of(by: str, run: Run, data: Path | None = None) -> tuple[str, list[int]]:
    """What relates a run's domains, in words, and the cluster of each; ``data`` is for a feature."""
    names = run.schema.domains
    if not by.endswith(".json"):
        return f"same {by}", _majority(run, by, data or Path("prepared") / run.data.name)
    said = json.loads(Path(by).read_text(encoding="utf-8"))
    if "cluster" in said:
        place = dict(zip(said["domains"], said["cluster"], strict=True))
        kind = "planted cluster"
    else:
        place = {name: n for n, members in enumerate(said["clusters"]) for name in members}
        kind = "cluster of losses"
    if lacking := [name for name in names if name not in place]:
        raise DataError(f"{by} has no cluster for {', '.join(lacking)}; is it of {run.data.name}?")
    return kind, [place[name] for name in names]


def _majority(run: Run, feature: str, data: Path) -> list[int]:
    """The commonest value (its id) of a feature among each domain's training rows."""
    starts = np.cumsum([0, *(f.length for f in run.schema.features)])
    places = {f.name: int(start) for f, start in zip(run.schema.features, starts, strict=False)}
    if feature not in places:
        raise DataError(f"no feature {feature!r}; {run.data.name} has: {', '.join(places)}")
    prepared = Prepared.open(data)
    run.require(prepared.schema, DataRef(name=prepared.manifest.name, digest=prepared.digest))
    rows = prepared.impressions("train")
    values, domain = rows.features[:, places[feature]].numpy(), rows.domain.numpy()
    counts = np.zeros((run.schema.num_domains + 1, int(values.max()) + 1), np.int64)
    np.add.at(counts, (domain, values), 1)
    return [int(value) for value in counts[1:].argmax(1)]


def rows_of(run: Run, by: str, data: Path | None = None) -> list[dict[str, str]]:
    """The rows of one finished run."""
    edges = load_model(run).expert_masks()
    if not edges:
        raise DataError(f"{run.path}: a {run.config['model']} without masks; expected AREAD's")
    if all(bool(level[1:].all()) for level in edges):
        raise DataError(f"{run.path}: no mask leaves an edge out; no search came in so few steps")
    kind, groups = groups_of(by, run, data)
    known = [level[1:].numpy() for level in edges]  # the unknown domain uses all
    named = {
        "data": run.data.name,
        "by": kind,
        "run": run.name,
        "seed": str(run.config["seed"]),
    }
    return [{**named, **row} for row in analysed(known, groups)]


def main() -> None:
    """Write results/NAME.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("directories", nargs="*", type=Path, help="finished runs")
    parser.add_argument("--by", required=True, help="truth.json, a JSON of clusters, or a feature")
    parser.add_argument("--rows", type=Path, help="a benchmark's CSV, whose runs are taken")
    parser.add_argument("--label", help="of this entry")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where those lie")
    parser.add_argument("--data", type=Path, help="the runs' data, for a feature; prepared/...")
    asked = parser.parse_intermixed_args()
    listed = read_rows(asked.rows) if asked.rows else []
    named = [row["run"] for row in listed if row["label"] == asked.label]
    paths = [*asked.directories, *(asked.runs / name for name in named)]
    if not paths:
        parser.error("no runs: give directories, or --rows with --label")
    try:
        made = [row for path in paths for row in rows_of(Run.open(path), asked.by, asked.data)]
    except IsthmusError as error:
        parser.error(str(error))
    place = HERE / "results" / f"{asked.name}.csv"
    anew = {(row["by"], row["run"]) for row in made}
    kept = [row for row in read_rows(place) if (row["by"], row["run"]) not in anew]
    place.parent.mkdir(exist_ok=True)
    write_rows(place, [*kept, *made], COLUMNS)
    print(place)


if __name__ == "__main__":
    main()
