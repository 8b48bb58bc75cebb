"""From a benchmark's finished runs: sharing tables over all seeds, as committed JSON and pictures.

Run: python benchmarks/sharing.py NAME --runs RUNS   (after isthmus bench benchmarks/NAME.toml)

Of rankers, AREAD's table. Of retrievers, the tables of SyNCRec and of CGRec, each against one SASRec
a domain, and both in one picture: which domains does each of them hurt?
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from isthmus.bench import read, read_rows
from isthmus.data.prepared import Prepared
from isthmus.evaluation import Rules, SharingTable, share_ranks, sharing
from isthmus.evaluation.rank_compare import RULES
from isthmus.experiment import train_rows
from isthmus.report import ReportData, to_json
from isthmus.report.charts_negative import negative_transfer
from isthmus.report.palette import LIGHT
from isthmus.report.pictures import save, save_pictures
from isthmus.sharing import RANKED, report_data
from isthmus.store import Run, Store

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "pictures"
Labels = Mapping[str, str]
RANKERS: Labels = {"joint": "AREAD", "isolated": "Isolated (MLP)", "shared": "MLP, domain-blind"}
RETRIEVERS: Labels = {"isolated": "SASRec, one a domain", "shared": "Item-kNN"}
JOINT = ("SyNCRec", "CGRec")
"""Of retrievers, whose tables are drawn beside each other; the first one has the report."""


def main() -> None:
    """Write results/NAME.report.json and the pictures of docs/pictures/NAME."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    bench = read(HERE / f"{asked.name}.toml")
    prepared, store = Prepared.open(bench.data), Store(asked.runs)
    runs = _runs(asked.name, store)
    if not prepared.of_events:
        made = _of_rankers(runs, prepared)
    else:
        tables = {name: _of_retrievers(runs, name, prepared) for name in JOINT}
        made = tables[JOINT[0]]
        drawn = negative_transfer([found.sharing for found in tables.values()], LIGHT)
        _without_svg(save([drawn], DOCS / asked.name))
    (HERE / "results" / f"{asked.name}.report.json").write_text(to_json(made), encoding="utf-8")
    _without_svg(save_pictures(made, DOCS / asked.name))


def _runs(name: str, store: Store) -> dict[str, list[Run]]:
    """By label, in the order of seeds."""
    rows = read_rows(HERE / "results" / f"{name}.csv")
    runs: dict[str, list[Run]] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        runs.setdefault(row["label"], []).append(store.run(row["run"]))
    return runs


def _of_rankers(runs: Mapping[str, list[Run]], prepared: Prepared) -> ReportData:
    scored = {
        part: [run.predictions("test") for run in runs[label]] for part, label in RANKERS.items()
    }
    table = sharing(
        scored["joint"],
        scored["isolated"],
        scored["shared"],
        train_rows=train_rows(prepared),
        names=RANKERS,
        rules=Rules(data=f"the test split of {prepared.manifest.name}"),
    )
    return _report(runs, RANKERS, table, prepared)


def _of_retrievers(runs: Mapping[str, list[Run]], joint: str, prepared: Prepared) -> ReportData:
    labels = {"joint": joint, **RETRIEVERS}
    ranks = {part: [run.ranks("test") for run in runs[label]] for part, label in labels.items()}
    tables = [
        share_ranks(
            ranks["joint"],
            ranks["isolated"],
            ranks["shared"],
            train_rows=train_rows(prepared),
            names=labels,
            metric=metric,
            rules=RULES.model_copy(update={"data": f"the test split of {prepared.manifest.name}"}),
        )
        for metric in RANKED
    ]
    made = _report(runs, labels, tables[0], prepared)
    return made.model_copy(update={"further": tuple(tables[1:])})


def _report(
    runs: Mapping[str, list[Run]], labels: Labels, table: SharingTable, prepared: Prepared
) -> ReportData:
    first = [runs[label][0] for label in labels.values()]
    return report_data(first, table, source=prepared.manifest.source)


def _without_svg(written: list[Path]) -> None:
    """The docs show the PNG."""
    for path in written:
        if path.suffix == ".svg":
            path.unlink()
        else:
            print(path)


if __name__ == "__main__":
    main()
