"""From a benchmark's finished runs: the sharing table over all seeds, as committed JSON and pictures.

Run: python benchmarks/sharing.py NAME --runs RUNS   (after isthmus bench benchmarks/NAME.toml)
"""

import argparse
from pathlib import Path

from isthmus.bench import read, read_rows
from isthmus.data.prepared import Prepared
from isthmus.evaluation import Rules, sharing
from isthmus.experiment import train_rows
from isthmus.report import to_json
from isthmus.report.pictures import save_pictures
from isthmus.sharing import report_data
from isthmus.store import Store

HERE = Path(__file__).parent
PARTS = {"joint": "AREAD", "isolated": "Isolated (MLP)", "shared": "MLP, domain-blind"}


def main() -> None:
    """Write results/NAME.report.json and the pictures of docs/pictures/NAME."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    bench = read(HERE / f"{asked.name}.toml")
    rows = read_rows(HERE / "results" / f"{asked.name}.csv")
    store, prepared = Store(asked.runs), Prepared.open(bench.data)
    runs: dict[str, list] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        runs.setdefault(row["label"], []).append(store.run(row["run"]))
    scored = {
        part: [run.predictions("test") for run in runs[label]] for part, label in PARTS.items()
    }
    table = sharing(
        scored["joint"],
        scored["isolated"],
        scored["shared"],
        train_rows=train_rows(prepared),
        names=PARTS,
        rules=Rules(data=f"the test split of {prepared.manifest.name}"),
    )
    first = [runs[label][0] for label in PARTS.values()]
    data = report_data(first, table, source=prepared.manifest.source)
    (HERE / "results" / f"{asked.name}.report.json").write_text(to_json(data), encoding="utf-8")
    for path in save_pictures(data, HERE.parent / "docs" / "pictures" / asked.name):
        if path.suffix == ".svg":
            path.unlink()  # the docs show the PNG
        else:
            print(path)


if __name__ == "__main__":
    main()
