"""Tables of retrievers for the terminal: one row a model, and one row a domain."""

from collections.abc import Mapping
from typing import Final

from rich.console import Console

from isthmus.evaluation import Interval, ProtocolMetrics, RankFigures, RankMetrics
from isthmus.evaluation.ranks import Protocol
from isthmus.report import words
from isthmus.report.console import Column, clean, print_table, say

SHOWN: Final = ("hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
TITLES: Final = {"mrr": "MRR"} | {name: name.upper() for name in SHOWN if name != "mrr"}
WHERE: Final[dict[Protocol, str]] = {
    "domain": "items of the item's domain",
    "all": "all items",
    "sampled": "100 draws from all domains",
}
NOTE: Final = (
    "Ranked among all items of the domain; ties by expectation; an item that training did not know "
    "is a miss. The 100 draws reward a model for telling domains apart: for comparison with papers "
    "alone."
)


def print_rank_metrics(metrics: Mapping[str, RankMetrics], console: Console) -> None:
    """The table of ``isthmus evaluate`` for retrievers: a model's means by protocol, and by novelty."""
    rows = [
        (name, label, values)
        for name, found in metrics.items()
        for label, values in _means(found)
        if values
    ]
    columns: list[Column[tuple[str, str, Mapping[str, Interval]]]] = [
        Column("model", lambda row: clean(row[0]), left=True),
        Column("among", lambda row: row[1], left=True),
        *(_figure(name) for name in SHOWN),
    ]
    print_table(console, [columns], rows)
    console.print()
    for name, found in metrics.items():
        overall = found.primary.overall
        cold = f", {overall.cold:,} of them of unknown items" if overall.cold else ""
        say(console, f"{name}: {overall.rows:,} rows{cold}", style="dim")
    say(console, NOTE, style="dim")


def rank_rows(metrics: Mapping[str, RankMetrics]) -> list[dict[str, str]]:
    """The same rows as text: "model", "among" and every one of ``TITLES``; a dash where undefined."""
    return [
        {
            "model": name,
            "among": label.strip(),
            **{TITLES[figure]: _value(values, figure) for figure in SHOWN},
        }
        for name, found in metrics.items()
        for label, values in _means(found)
        if values
    ]


def print_rank_domains(metrics: RankMetrics, console: Console) -> None:
    """One row a domain, most rows first, among the items of the domain."""
    columns: list[Column[tuple[str, RankFigures]]] = [
        Column("domain", lambda row: clean(row[0]), left=True),
        Column("rows", lambda row: f"{row[1].rows:,}"),
        Column("cold", lambda row: f"{row[1].cold:,}"),
        Column("items", lambda row: words.number(row[1].candidates, 0)),
        Column("HR@10 [95 %]", lambda row: _whole(row[1], "hr@10")),
        Column("NDCG@10 [95 %]", lambda row: _whole(row[1], "ndcg@10")),
        Column("MRR", lambda row: _value(row[1].values, "mrr")),
    ]
    rows = sorted(metrics.primary.by_domain.items(), key=lambda row: -row[1].rows)
    print_table(console, [columns, [*columns[:2], *columns[4:6]]], rows)
    console.print()


def _means(found: RankMetrics) -> list[tuple[str, Mapping[str, Interval]]]:
    first: ProtocolMetrics = found.primary
    return [
        (WHERE["domain"], first.weighted),
        ("  mean of domains", first.macro),
        (f"  {words.plural(first.repeats.rows, 'repeat')}", first.repeats.values),
        (f"  {first.new.rows:,} new to the user", first.new.values),
        (WHERE["all"], found.protocols["all"].weighted),
        (WHERE["sampled"], found.protocols["sampled"].weighted),
    ]


def _figure(name: str) -> Column[tuple[str, str, Mapping[str, Interval]]]:
    return Column(TITLES[name], lambda row: _value(row[2], name))


def _value(values: Mapping[str, Interval], name: str) -> str:
    return words.number(values[name].value if name in values else None, 4)


def _whole(figures: RankFigures, name: str) -> str:
    return words.with_bounds(figures.values.get(name))
