"""The benchmark's table: aligned text, and the page of the documentation."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.speed.clock import median, ratio

HEAD = ("what", "ours", "target", "plain", "faster by", "published code")
SCORED = 16_384


@dataclass(frozen=True)
class Line:
    """One line of the table; all cells are text."""

    what: str
    ours: str
    target: str = ""
    plain: str = ""
    faster: str = ""
    published: str = ""

    @classmethod
    def rates(
        cls,
        what: str,
        rows: int,
        seconds: Mapping[str, list[float]],
        side: str,
        target: int,
        published: str,
    ) -> "Line":
        """Rows a second of both sides."""
        ours, plain = seconds[f"ours {side}"], seconds[f"plain {side}"]
        cells = [f"{rows / median(s):,.0f}" for s in (ours, plain)]
        faster = f"{ratio(plain, ours):.1f}x"
        return cls(what, cells[0], f">= {target:,}", cells[1], faster, published)

    @classmethod
    def times(
        cls,
        what: str,
        unit: float,
        seconds: Mapping[str, list[float]],
        side: str,
        target: str,
        published: str,
    ) -> "Line":
        """Times of both sides."""
        ours, plain = seconds[f"ours {side}"], seconds[f"plain {side}"]
        cells = [f"{unit * median(s):.1f}" for s in (ours, plain)]
        return cls(what, cells[0], target, cells[1], f"{ratio(plain, ours):.0f}x", published)

    @classmethod
    def scores(cls, what: str, seconds: Mapping[str, list[float]], side: str) -> "Line":
        """Rows scored a second, beside the plain version at 1024 rows a batch."""
        ours, plain = seconds[side], seconds["plain"]
        cells = [f"{SCORED / median(s):,.0f}" for s in (ours, plain)]
        faster = f"{ratio(plain, ours):.1f}x"
        return cls(what, cells[0], ">= 60,000", cells[1], faster, "10,100 to 11,600")

    def cells(self) -> tuple[str, ...]:
        return (self.what, self.ours, self.target, self.plain, self.faster, self.published)


def text(lines: list[Line]) -> str:
    """Columns aligned, numbers to the right."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def markdown(lines: list[Line], machine: Mapping[str, object]) -> str:
    """The page ``docs/speed.md``."""
    bars = "|".join(["---", *["---:"] * (len(HEAD) - 1)])
    table = [f"| {' | '.join(row)} |" for row in (HEAD, *(line.cells() for line in lines))]
    return f"""# Speed of AREAD

Written by `python benchmarks/speed/aread.py` (its figures, round by round, are in
`benchmarks/results/speed.json`). One thread of {machine["processor"]}, {machine["cores"]} cores,
load {machine["load"]:.1f} at the end; Python {machine["python"]}, torch {machine["torch"]}.

{table[0]}
|{bars}|
{chr(10).join(table[1:])}

How to read it:

* Times are process CPU seconds, medians over rounds in which all sides take turns; "faster by" is
  the median of the rounds' ratios. A busy machine slows both sides, so ratios travel better than rates.
* The data: `synth_ctr`, 900,000 training rows, 25 domains, eight id features and a history of five
  items; batches of 1024, k = 32, experts (3, 6, 12), bottom 4 x (256, 128, 64), three cross layers.
  The table of 1.6M rows has the same rows with item ids spread over 1,368,287 items.
* "plain" is AREAD written loop by loop (`tests/oracles`), with dense Adam and a dense table; its
  numbers equal ours, which a test shows. Its mask search was timed on two domains, a large and a
  small one, and scaled to 25. Both searches freeze embeddings and bottom.
* "published code" is the authors' repository, run on the same rows on a machine like this one, as
  measured when the method was studied; it was not run again here. Its search trains all parameters.
  Its share: one search of 967 CPU-s for 2,000 steps of 590 ms.
"""
