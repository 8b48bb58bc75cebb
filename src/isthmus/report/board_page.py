"""A leaderboard as a page that works offline, and its files for the docs."""

from pathlib import Path

from isthmus.files import write_atomically
from isthmus.report.board import Board
from isthmus.report.board_table import costs, figure, legend, mark, to_markdown
from isthmus.report.charts_board import board_pictures, standing_key
from isthmus.report.palette import LIGHT, PAGE
from isthmus.report.pictures import save
from isthmus.report.webpage import render
from isthmus.report.words import number, plural


def to_html(board: Board) -> str:
    """The table, sortable, and the pictures."""
    drawn = board_pictures(board, PAGE)
    return render(
        "board.html.j2",
        drawn,
        board=board,
        headline=_headline(board),
        metrics=board.metrics,
        standings=[standing_key(metric) for metric in board.metrics_tested],
        costs=costs,
        figure=figure,
        mark=mark,
        legend=legend(board),
    )


def write_board(board: Board, folder: Path) -> list[Path]:
    """Write leaderboard.html, leaderboard.md and every picture; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, table = folder / "leaderboard.html", folder / "leaderboard.md"
    write_atomically(page, to_html(board).encode())
    write_atomically(table, to_markdown(board).encode())
    return [page, table, *save_board_pictures(board, folder)]


def save_board_pictures(board: Board, folder: Path) -> list[Path]:
    """Write each picture that has figures as ``KEY.png`` and ``KEY.svg``; returns the paths."""
    return save(board_pictures(board, LIGHT), folder)


def _headline(board: Board) -> str:
    if not board.lines:
        return "No run has finished yet."
    first = board.lines[0]
    title = "mean NDCG@10" if board.of_items else "DomainAUC"
    said = f"{first.label} leads {plural(len(board.lines), 'model')} with a {title} of "
    said += number(first.mean(board.main), 4)
    close = [
        line for line in board.lines[1:]
        if (found := line.behind.get(board.main)) and not found.significant
    ]  # fmt: skip
    if not board.tested:
        return f"{said}."
    return f"{said}; {plural(len(close), 'other')} cannot be told apart from it."
