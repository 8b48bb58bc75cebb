"""The transfer map in words and tables: for the terminal, Markdown and the page alike."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.console import Console
from rich.text import Text

from isthmus.evaluation.transfer import MEANING, SURE, WAYS, Agreement, TransferMap, Way
from isthmus.report import words
from isthmus.report.console import Column, clean, print_table, say

MOST: Final = 8
"""Pairs that a table shows of each kind; the picture and the JSON hold all."""
TITLES: Final = ("Gives", "Receives", "Effect", "Standard error", "")


@dataclass(frozen=True, slots=True)
class TransferView:
    """What is said of a map beside its pictures; ``rows`` are cells of ``TITLES``."""

    headline: str
    way: str
    rows: list[tuple[str, ...]]
    agreements: list[str]
    absent: list[str]
    groups: list[tuple[str, str]]
    protocol: str


def transfer_view(found: TransferMap | None) -> TransferView | None:
    """All that the page says; ``None`` without a map."""
    if found is None:
        return None
    way = main_way(found)
    return TransferView(
        headline=headline(found),
        way=MEANING[way] if way else "",
        rows=strongest_rows(found),
        agreements=[agreement(one) for one in found.agreement],
        absent=list(found.absent.values()),
        groups=[(name, ", ".join(all_)) for name, all_ in found.groups.items() if len(all_) > 1],
        protocol=found.protocol,
    )


def main_way(found: TransferMap) -> Way | None:
    """The way that tables are of: leaving out, where it was done."""
    return next((way for way in WAYS if way in found.ways), None)


def headline(found: TransferMap) -> str:
    """How many pairs help and hurt by more than noise, and which most."""
    way = main_way(found)
    if way is None:
        return "No way of measuring transfer had a figure."
    cells = found.strongest(way)
    kind = "groups of domains" if any(len(g) > 1 for g in found.groups.values()) else "domains"
    pairs = f"{len(cells):,} ordered pairs of {len(found.groups)} {kind}"
    if way != "left_out":
        return f"{pairs}, by {MEANING[way]}; what they give to each other was not left out of training."
    sure = [cell for cell in cells if abs(cell[2]) > SURE * cell[3]]
    hurt, help_ = [c for c in sure if c[2] < 0], [c for c in sure if c[2] > 0]
    said = f"Of {pairs}, {len(help_)} help and {len(hurt)} hurt by more than two standard errors"
    chance = f" (chance alone would give about {0.05 * len(cells):.0f} in all)."
    most = [_pair("most help", help_[-1:]), _pair("most harm", hurt[:1])]
    return " ".join(filter(None, [said + chance, *most]))


def _pair(what: str, cells: list[tuple[str, str, float, float]]) -> str:
    if not cells:
        return ""
    source, target, effect, _ = cells[0]
    return f"{what.capitalize()}: {source} to {target}, {words.signed(effect, 4)}."


def agreement(one: Agreement) -> str:
    """How far two ways agree, in a sentence."""
    names = f"{MEANING[one.ways[0]].capitalize()} and {MEANING[one.ways[1]]}"
    if one.correlation is None:
        return f"{names}: too few groups, or too like each other, for a correlation ({one.groups})."
    return (
        f"{names}: rank correlation {words.with_bounds(one.correlation, 2, plus=True)} "
        f"over {one.groups} groups "
        f"(p {words.p_value(one.p_value)})."
    )


def strongest_rows(found: TransferMap) -> list[tuple[str, ...]]:
    """The most harmful and the most helpful pairs, worst first."""
    way = main_way(found)
    if way is None:
        return []
    cells = found.strongest(way)
    shown = cells if len(cells) <= 2 * MOST else cells[:MOST] + cells[-MOST:]
    return [
        (
            source,
            target,
            words.signed(effect, 4),
            words.number(error if error == error else None, 4),
            ("hurts" if effect < 0 else "helps") if abs(effect) > SURE * error else "",
        )
        for source, target, effect, error in shown
    ]


def print_transfer(found: TransferMap, console: Console) -> None:
    """The strongest pairs, and how far the ways agree."""
    columns: list[Column[tuple[str, ...]]] = [
        Column(title, partial(_cell, place=place), left=place < 2)
        for place, title in enumerate(TITLES)
    ]
    print_table(console, [columns], strongest_rows(found))
    console.print()
    say(console, headline(found), style="bold")
    for one in found.agreement:
        say(console, agreement(one))
    for reason in found.absent.values():
        say(console, reason)
    say(console, found.protocol, style="dim")


def _cell(row: tuple[str, ...], place: int) -> Text:
    return clean(row[place])
