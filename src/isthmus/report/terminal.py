"""Tables for the terminal: whole where nobody's window limits them, abbreviated where one does."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from rich.console import Console
from rich.text import Text

from isthmus.evaluation import (
    Comparison,
    DomainComparison,
    DomainMetrics,
    DomainSharing,
    Interval,
    Metrics,
    SharingTable,
    Verdict,
)
from isthmus.report import words
from isthmus.report.console import Column, clean, print_table, say
from isthmus.report.data import ReportData
from isthmus.report.guard_table import print_guard
from isthmus.report.leaderboard import COLUMNS, leaderboard, undefined
from isthmus.report.rank_table import print_rank_metrics
from isthmus.report.transfer_table import print_transfer

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


def to_terminal(data: ReportData, console: Console) -> None:
    """Print the domain table (or, without one, the metrics of the models) and what it adds up to."""
    if data.sharing is not None:
        print_sharing(data.sharing, console, metrics=data.metrics)
        for table in data.further:
            console.print()
            print_sharing(table, console)
    elif data.rank_metrics:
        print_rank_metrics(data.rank_metrics, console)
    else:
        print_metrics(data.metrics, console)
    if data.transfer is not None:
        console.print()
        print_transfer(data.transfer, console)
    if data.guard is not None:
        console.print()
        print_guard(data.guard, console)
    say(console, words.findings(data.findings))


def print_sharing(
    table: SharingTable, console: Console, *, metrics: Mapping[str, Metrics] | None = None
) -> None:
    """The table of ``isthmus share``, a summary line and the protocol; fits the terminal's width."""
    print_table(console, _sharing_layouts(table), table.rows)
    console.print()
    means = ", ".join(
        f"{name} {value:.4f}" for name, value in words.domain_auc(table, dict(metrics or {}))
    )
    say(console, words.tally(table.counts), style="bold")
    say(console, words.to_do(table))
    mean = table.title if table.of_items else "DomainAUC"
    say(console, f"{mean}: {means}. {words.mean_gain(table)}" if means else "")
    say(console, table.protocol, style="dim")


def print_metrics(metrics: Mapping[str, Metrics], console: Console) -> None:
    """The table of ``isthmus evaluate``: one row a model; undefined figures are explained below."""
    rows = leaderboard(metrics)
    columns = [_field("model", left=True), *(_field(name) for name in COLUMNS)]
    dropped: tuple[set[str], ...] = (
        set(),
        {"Major5", "Minor10", "logloss"},
        {*COLUMNS[3:6], "worst domain"},
    )
    layouts = [[column for column in columns if column.header not in out] for out in dropped]
    print_table(console, layouts, rows)
    console.print()
    for line in undefined(metrics):
        say(console, line, style="dim")


def print_domains(metrics: Metrics, console: Console) -> None:
    """One row a domain, most rows first: the lower half of ``isthmus evaluate``."""
    whole: list[Column[tuple[str, DomainMetrics]]] = [
        Column("domain", lambda row: clean(row[0]), left=True),
        Column("rows", lambda row: f"{row[1].rows:,}"),
        Column("positives", lambda row: f"{row[1].positives:,}"),
        Column("AUC [95 %]", lambda row: words.with_bounds(row[1].auc)),
        Column("logloss", lambda row: words.number(row[1].logloss)),
        Column("ECE", lambda row: words.number(row[1].ece)),
        Column("calibration", lambda row: words.number(row[1].calibration_ratio, 2)),
    ]
    short = [column for column in whole if column.header not in ("positives", "logloss", "ECE")]
    rows = sorted(metrics.by_domain.items(), key=lambda row: -row[1].rows)
    print_table(console, [whole, short], rows)
    console.print()


def print_comparison(
    comparison: Comparison, console: Console, *, names: tuple[str, str] = ("A", "B")
) -> None:
    """The table of ``isthmus compare``: A's metric minus B's (of rankers the AUC), domain by domain."""
    print_table(console, _comparison_layouts(names, comparison.metric), comparison.rows)
    console.print()
    say(console, words.tally(comparison.counts), style="bold")
    if comparison.overall is not None:
        mean = "DomainAUC" if comparison.metric == "AUC" else comparison.metric
        say(
            console,
            f"{mean} of {names[0]} minus {names[1]}: "
            f"{words.with_bounds(comparison.overall, 4, plus=True)}, "
            f"p {words.p_value(comparison.overall_p_value)}",
        )
    say(console, comparison.protocol, style="dim")


def _field(name: str, *, left: bool = False) -> Column[dict[str, str]]:
    return Column(name, lambda row: clean(row[name]), left)


def _sharing_layouts(table: SharingTable) -> list[list[Column[DomainSharing]]]:
    """From everything in full to what 80 columns hold."""
    digits = words.digits(table)
    name: Column[DomainSharing] = Column("domain", lambda row: clean(row.domain), left=True)
    train: Column[DomainSharing] = Column("train rows", lambda row: f"{row.train_rows:,}")
    rows: Column[DomainSharing] = Column("rows", lambda row: f"{row.rows:,}")
    positives: Column[DomainSharing] = Column(words.known(table), lambda r: f"{r.positives:,}")
    p: Column[DomainSharing] = Column("p", lambda row: words.p_value(row.p_adjusted))
    verdict: Column[DomainSharing] = Column("verdict", lambda row: _verdict(row.verdict), left=True)
    short_p: Column[DomainSharing] = Column(
        "p", lambda row: words.p_value(row.p_adjusted).replace("0.", ".")
    )
    word: Column[DomainSharing] = Column(
        "verdict", lambda row: Text(row.verdict.value, style=STYLES[row.verdict]), left=True
    )

    def auc(write: Callable[[Interval | None], str], longest: int) -> list[Column[DomainSharing]]:
        def column(role: str, model: str) -> Column[DomainSharing]:
            return Column(_short(model, longest), lambda row: write(words.interval_of(row, role)))

        return [column(role, model) for role, model in words.present_roles(table)]

    def gain(header: str, write: Callable[[Interval | None], str]) -> Column[DomainSharing]:
        return Column(header, lambda row: Text(write(row.gain), style=STYLES[row.verdict]))

    return [
        [
            name,
            train,
            rows,
            positives,
            *auc(partial(words.with_bounds, digits=digits), 40),
            gain("gain [95 %]", partial(words.with_bounds, digits=digits, plus=True)),
            p,
            verdict,
        ],
        [name, rows, positives, *auc(words.spread, 12), gain("gain ±", _gain_spread), p, verdict],
        [name, rows, *auc(_point, 8), gain("gain ±", _gain_spread), short_p, word],
    ]


def _comparison_layouts(
    names: tuple[str, str], metric: str
) -> list[list[Column[DomainComparison]]]:
    verdict: Column[DomainComparison] = Column("verdict", lambda r: _verdict(r.verdict), left=True)
    known = "positives" if metric == "AUC" else "known items"
    gained = partial(words.with_bounds, plus=True)
    difference = f"{_short(names[0], 16)} {words.MINUS} {_short(names[1], 16)}"
    whole: list[Column[DomainComparison]] = [
        Column("domain", lambda row: clean(row.domain), left=True),
        Column("rows", lambda row: f"{row.rows:,}"),
        Column(known, lambda row: f"{row.positives:,}"),
        Column(difference, lambda row: Text(gained(row.difference), style=STYLES[row.verdict])),
        Column("p", lambda row: words.p_value(row.p_adjusted)),
        Column("detectable", lambda row: words.number(row.detectable)),
        verdict,
    ]
    spread: Column[DomainComparison] = Column(
        "diff ±", lambda row: Text(_gain_spread(row.difference), style=STYLES[row.verdict])
    )
    return [whole, [*whole[:3], spread, whole[4], verdict]]


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{MARKS[verdict]} {verdict.value}", style=STYLES[verdict])


def _short(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _point(interval: Interval | None) -> str:
    return words.number(interval.value).removeprefix("0") if interval else words.NONE


def _gain_spread(interval: Interval | None) -> str:
    return words.spread(interval, plus=True)
