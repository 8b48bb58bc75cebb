"""Tables for the terminal: whole where nobody's window limits them, abbreviated where one does."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from isthmus.evaluation import (
    Comparison,
    DomainComparison,
    DomainSharing,
    Interval,
    Metrics,
    SharingTable,
    Verdict,
)
from isthmus.report import words
from isthmus.report.data import ReportData
from isthmus.report.leaderboard import COLUMNS, leaderboard

STYLES: Final = {
    Verdict.gains: "green",
    Verdict.unchanged: "",
    Verdict.hurt: "bold red",
    Verdict.not_measurable: "dim",
}
MARKS: Final = {
    Verdict.gains: "▲",
    Verdict.unchanged: "=",
    Verdict.hurt: "▼",
    Verdict.not_measurable: "?",
}
_PLAIN: Final = str.maketrans({words.MINUS: "-", words.NONE: "-", "±": "~", "▲": "+", "▼": "-"})
_LEAST_NAME: Final = 20
"""A layout that leaves less than this for names gives way to a narrower one."""


Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A header and how to write one row's cell."""

    header: str
    cell: Callable[[Row], str | Text]
    left: bool = False


def to_terminal(data: ReportData, console: Console) -> None:
    """Print the domain table (or, without one, the metrics of the models) and what it adds up to."""
    if data.sharing is None:
        print_metrics(data.metrics, console)
        return
    print_sharing(data.sharing, console, metrics=data.metrics)


def print_sharing(
    table: SharingTable, console: Console, *, metrics: Mapping[str, Metrics] | None = None
) -> None:
    """The table of ``isthmus share``, a summary line and the protocol; fits the terminal's width."""
    _print_widest(console, _sharing_layouts(table), table.rows)
    console.print()
    means = ", ".join(
        f"{name} {value:.4f}" for name, value in words.domain_auc(table, dict(metrics or {}))
    )
    _say(console, words.tally(table.counts), style="bold")
    _say(console, f"DomainAUC: {means}. {words.mean_gain(table)}" if means else "")
    _say(console, table.protocol, style="dim")


def print_metrics(metrics: Mapping[str, Metrics], console: Console) -> None:
    """The table of ``isthmus evaluate``: one row a model; undefined figures are explained below."""
    rows = leaderboard(metrics)
    columns = [_field("model", left=True), *(_field(name) for name in COLUMNS)]
    dropped = (set(), {"Major5", "Minor10", "logloss"}, {*COLUMNS[3:6], "worst domain"})
    layouts = [[column for column in columns if column.header not in out] for out in dropped]
    _print_widest(console, layouts, rows)
    console.print()
    for name, found in metrics.items():
        for what, reason in found.undefined.items():
            _say(console, f"{name}: {what} is undefined: {reason}", style="dim")


def print_comparison(
    comparison: Comparison, console: Console, *, names: tuple[str, str] = ("A", "B")
) -> None:
    """The table of ``isthmus compare``: AUC of A minus AUC of B, domain by domain."""
    _print_widest(console, _comparison_layouts(names), comparison.rows)
    console.print()
    _say(console, words.tally(comparison.counts), style="bold")
    if comparison.overall is not None:
        interval = comparison.overall
        _say(
            console,
            f"DomainAUC of {names[0]} minus {names[1]}: {words.signed(interval.value, 4)} "
            f"{words.bounds(interval, 4, plus=True)}, p {words.p_value(comparison.overall_p_value)}",
        )
    _say(console, comparison.protocol, style="dim")


def _field(name: str, *, left: bool = False) -> Column[dict[str, str]]:
    return Column(name, lambda row: _text(row[name]), left)


def _sharing_layouts(table: SharingTable) -> list[list[Column[DomainSharing]]]:
    """From everything in full to what 80 columns hold."""
    level = f"{100 * (1 - table.alpha):g}"
    name: Column[DomainSharing] = Column("domain", lambda row: _text(row.domain), left=True)
    train: Column[DomainSharing] = Column("train rows", lambda row: f"{row.train_rows:,}")
    rows: Column[DomainSharing] = Column("rows", lambda row: f"{row.rows:,}")
    positives: Column[DomainSharing] = Column("positives", lambda row: f"{row.positives:,}")
    p: Column[DomainSharing] = Column("p", lambda row: words.p_value(row.p_adjusted))
    verdict: Column[DomainSharing] = Column("verdict", lambda row: _verdict(row.verdict), left=True)
    word: Column[DomainSharing] = Column(
        "verdict", lambda row: Text(row.verdict.value, style=STYLES[row.verdict]), left=True
    )

    def auc(write: Callable[[Interval | None], str], longest: int) -> list[Column[DomainSharing]]:
        return [
            Column(_short(model, longest), lambda row, role=role: write(getattr(row, role)))
            for role, model in words.present_roles(table)
        ]

    def gain(header: str, write: Callable[[Interval | None], str]) -> Column[DomainSharing]:
        return Column(header, lambda row: Text(write(row.gain), style=STYLES[row.verdict]))

    return [
        [
            name,
            train,
            rows,
            positives,
            *auc(_whole, 40),
            gain(f"gain [{level} %]", _gained),
            p,
            verdict,
        ],
        [name, rows, positives, *auc(words.spread, 12), gain("gain ±", _gain_spread), p, verdict],
        [name, rows, *auc(_point, 10), gain("gain ±", _gain_spread), p, word],
    ]


def _comparison_layouts(names: tuple[str, str]) -> list[list[Column[DomainComparison]]]:
    verdict: Column[DomainComparison] = Column("verdict", lambda r: _verdict(r.verdict), left=True)
    difference = f"{_short(names[0], 16)} {words.MINUS} {_short(names[1], 16)}"
    whole: list[Column[DomainComparison]] = [
        Column("domain", lambda row: _text(row.domain), left=True),
        Column("rows", lambda row: f"{row.rows:,}"),
        Column("positives", lambda row: f"{row.positives:,}"),
        Column(difference, lambda row: Text(_gained(row.difference), style=STYLES[row.verdict])),
        Column("p", lambda row: words.p_value(row.p_adjusted)),
        Column("detectable", lambda row: words.number(row.detectable)),
        verdict,
    ]
    spread: Column[DomainComparison] = Column(
        "diff ±", lambda row: Text(_gain_spread(row.difference), style=STYLES[row.verdict])
    )
    return [whole, [*whole[:3], spread, whole[4], verdict]]


def _print_widest(
    console: Console, layouts: Sequence[Sequence[Column[Row]]], rows: Sequence[Row]
) -> None:
    """Print the first layout that fits; where no terminal limits the width, the first one whole."""
    plain = not console.encoding.lower().startswith("utf")
    if not console.is_terminal:
        wide = Console(width=10_000, file=io.StringIO(), color_system=None)
        with wide.capture() as captured:
            wide.print(_table(layouts[0], rows, plain=plain))
        for line in captured.get().splitlines():
            console.print(Text(line.rstrip()), soft_wrap=True)
        return
    for columns in layouts:
        table = _table(columns, rows, plain=plain)
        unlimited = console.options.update(max_width=10_000, width=10_000)
        excess = Measurement.get(console, unlimited, table).maximum - console.width
        longest = max((cell_len(str(columns[0].cell(row))) for row in rows), default=0)
        room = longest - max(0, excess)
        if room >= min(longest, _LEAST_NAME) or columns is layouts[-1]:
            table.columns[0].max_width = max(room, 6)
            console.print(table)
            return


def _table(columns: Sequence[Column[Row]], rows: Sequence[Row], *, plain: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(
            Text(column.header),
            justify="left" if column.left else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        cells: list[RenderableType] = [_cell(column.cell(row), plain) for column in columns]
        table.add_row(*cells)
    return table


def _cell(value: str | Text, plain: bool) -> Text:
    text = value if isinstance(value, Text) else Text(value)
    return Text(text.plain.translate(_PLAIN), style=text.style) if plain else text


def _say(console: Console, line: str, *, style: str = "") -> None:
    if line:
        line = line if console.encoding.lower().startswith("utf") else line.translate(_PLAIN)
        console.print(Text(line, style=style), soft_wrap=not console.is_terminal)


def _text(name: str) -> Text:
    """A name as it is: no markup in it is obeyed and no control character reaches the terminal."""
    return Text(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    )


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{MARKS[verdict]} {verdict.value}", style=STYLES[verdict])


def _short(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _whole(interval: Interval | None) -> str:
    return f"{words.number(interval.value)} {words.bounds(interval)}" if interval else words.NONE


def _point(interval: Interval | None) -> str:
    return words.number(interval.value).removeprefix("0") if interval else words.NONE


def _gained(interval: Interval | None) -> str:
    if interval is None:
        return words.NONE
    return f"{words.signed(interval.value)} {words.bounds(interval, plus=True)}"


def _gain_spread(interval: Interval | None) -> str:
    return words.spread(interval, plus=True)
