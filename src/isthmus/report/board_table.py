"""The leaderboard's table: its cells in words, and as Markdown."""

from collections.abc import Mapping
from typing import Final

from isthmus.report import words
from isthmus.report.board import ALPHA, Board, Line, Rows
from isthmus.report.markdown import cell

DAGGER: Final = "†"
_COST_TITLES: Final = ("parameters", "rows/CPU-s", "CPU-s", "trials")
_SEARCHED: Final = ("lr", "batch_size", "weight_decay", "embedding_l2")


def to_markdown(board: Board) -> str:
    """The table, best main metric first, and under it what its marks mean."""
    titles = titles_of(board)
    lines = [
        f"| {' | '.join(titles)} |",
        f"|---|{'--:|' * (len(titles) - 1)}",
        *(f"| {' | '.join(_cells(board, line))} |" for line in board.lines),
    ]
    return "\n".join(lines) + f"\n\n{legend(board)}\n"


def titles_of(board: Board) -> tuple[str, ...]:
    """The titles of the table's columns."""
    return "model", "seeds", *board.metrics.values(), *_COST_TITLES


def _cells(board: Board, line: Line) -> list[str]:
    figures = []
    for metric in board.metrics:
        main, half = figure(line, metric)
        bold = f"**{main}**" if board.best.get(metric) == line.label else main
        figures.append(" ".join(filter(None, (bold + mark(line, metric), half))))
    return [cell(line.label), str(line.seeds), *figures, *costs(line)]


def tuning_to_markdown(rows: Rows) -> str:
    """What the search found, from the rows of NAME.tuning.csv: each entry's best trial."""
    titles = (*_SEARCHED, "validation", "own settings", "trials")
    lines = [f"| model | {' | '.join(titles)} |", f"|---|{'--:|' * len(titles)}"]
    for label in dict.fromkeys(row["label"] for row in rows):
        own = sorted((r for r in rows if r["label"] == label), key=lambda row: int(row["trial"]))
        scored = [row for row in own if row["valid"]]
        if not scored:
            continue
        best, first = max(scored, key=lambda row: float(row["valid"])), own[0]
        cells = [f"{float(best[name]):g}" for name in _SEARCHED]
        cells += [_valid(best), _valid(first) if first["trial"] == "0" else words.NONE]
        lines.append(f"| {cell(label)} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines) + "\n"


def _valid(row: Mapping[str, str]) -> str:
    return words.number(float(row["valid"]), 4) if row["valid"] else "diverged"


def figure(line: Line, metric: str) -> tuple[str, str]:
    """The mean over seeds, and ± half of its interval."""
    spread = line.figures[metric]
    if spread is None:
        return words.NONE, ""
    half = f"± {words.number(spread.half, 4)}" if spread.half is not None else ""
    return words.number(spread.mean, 4), half


def mark(line: Line, metric: str) -> str:
    """A dagger where the entry is behind the best by more than chance."""
    found = line.behind.get(metric)
    return DAGGER if found is not None and found.significant else ""


def costs(line: Line) -> list[str]:
    """Parameters, training rows per CPU-second, CPU-seconds of a run, trials of the search."""
    parameters, speed, seconds = (
        line.mean(name) for name in ("parameters", "train_rows_per_cpu_s", "cpu_seconds")
    )
    trials = {None: words.NONE, 0: "not tuned"}.get(line.trials, str(line.trials))
    return [*(_whole(value) for value in (parameters, speed, seconds)), trials]


def _whole(value: float | None) -> str:
    return words.NONE if value is None else f"{value:,.0f}"


def legend(board: Board) -> str:
    """What the table's figures and marks mean."""
    said = [
        "Means over seeds on the test split, ± half of the 95 % interval over seeds (Student's t).",
        "Bold: the best mean.",
    ]
    if board.tested:
        names = " and ".join(board.metrics[name] for name in board.metrics_tested)
        said.append(
            f"{DAGGER}: behind the best by more than chance (p < {ALPHA:g}, two-sided, paired over "
            "rows within seeds, rows of a user as one cluster, variance between seeds added, Holm "
            f"over the models); {names} alone are tested."
        )
    said.append(
        "Items are ranked among all items of their own domain, but for the last two; ties by "
        "expectation, unknown items are misses; NDCG@10 where no other metric is named. Sampled: "
        "100 draws from all domains, which reward a model for telling domains apart."
        if board.of_items
        else "Major5, Minor10, Minor5: the five largest, ten and five smallest domains by training rows."
    )
    if any(line.figures["train_rows_per_cpu_s"] for line in board.lines):
        said.append("rows/CPU-s: training rows times epochs by CPU-seconds, scoring included.")
    if any(line.trials is not None for line in board.lines):
        said.append("trials: of the search for training settings, on the validation split.")
    return " ".join(said)
