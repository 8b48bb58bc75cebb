"""Error rates of the release gate in simulated worlds: committed rows, table and picture of the docs.

Run: python benchmarks/gate_errors.py             about a minute and a half on one core
     python benchmarks/gate_errors.py --drawn     table and picture from the committed rows
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.gate.errors import MARGINS, at_margin, equal  # noqa: E402
from benchmarks.gate.page import (  # noqa: E402
    COLUMNS,
    RESULTS,
    TOGETHER,
    picture,
    rows_from,
    tables,
    write_page,
)
from benchmarks.gate.worlds import KINDS, SIZES, Kind  # noqa: E402
from isthmus.bench.rows import Row, read_rows, write_rows  # noqa: E402
from isthmus.report.palette import LIGHT  # noqa: E402
from isthmus.report.pictures import save  # noqa: E402

FEW = (40,) * 25
PICTURES = HERE.parent / "docs" / "pictures" / "gate"


def main() -> None:
    """Simulate (or read) the rows, print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", action="store_true", help="simulate nothing")
    parser.add_argument("--repetitions", type=int, default=2000)
    asked = parser.parse_args()
    if not asked.drawn:
        write_rows(RESULTS, simulated(asked.repetitions), COLUMNS)
    rows = read_rows(RESULTS)
    print(tables(rows))
    write_page(rows)
    for path in save([picture(rows, LIGHT)], PICTURES):
        if path.suffix == ".svg":
            path.unlink()  # the docs show the PNG


def simulated(repetitions: int) -> list[Row]:
    """Every world with domains of all sizes, and two with many small domains judged as one."""
    rows: list[Row] = []
    for kind in KINDS:
        rows += _world(kind, kind, SIZES, 0, repetitions)
    for kind in ("scores", "ranks"):
        rows += _world(kind, f"{kind}, {TOGETHER}", FEW, FEW[0] + 1, repetitions // 2)
    return rows


def _world(
    kind: Kind, world: str, sizes: tuple[int, ...], small: int, repetitions: int
) -> list[Row]:
    at, same = (draw(kind, repetitions, sizes=sizes, small=small) for draw in (at_margin, equal))
    return rows_from(at, same, world=world, margin=MARGINS[kind], repetitions=repetitions)


if __name__ == "__main__":
    main()
