"""The figures of a study: settings in their own order, each beside one of them, the default."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from isthmus.report import words
from isthmus.report.board import METRICS, RANKED, TESTED, TESTED_RANKS, Rows, Spread
from isthmus.report.markdown import cell

DEFAULT: Final = "(our default)"
"""What the label of a study's default ends with."""
_MASK_TITLES: Final = (
    "related by",
    "seed",
    "density",
    "related pairs",
    "random there",
    "unrelated pairs",
    "random there",
    "p",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: ``figures`` of what is shown and the cost; differences to the default by metric.

    ``by_seed`` holds the single differences. Both are empty for the default itself, and where no
    seed has been run with both.
    """

    label: str
    seeds: int
    figures: dict[str, Spread | None]
    differences: dict[str, Spread]
    by_seed: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Study:
    """``settings`` that have rows, in the order asked for; ``missing`` are labels without any.

    ``shown`` are the titles of two metrics by name: of rankers, or of retrievers.
    """

    name: str
    default: str
    settings: tuple[Setting, ...]
    missing: tuple[str, ...]
    shown: dict[str, str]

    @classmethod
    def of(cls, name: str, rows: Rows, labels: Sequence[str]) -> Self:
        """From the rows of NAME.csv; rows of other labels are left out.

        Raises:
            ValueError: not exactly one of the labels is the default's.
        """
        defaults = [label for label in labels if label.endswith(DEFAULT)]
        if len(defaults) != 1:
            raise ValueError(f"{name}: {len(defaults)} labels end with {DEFAULT!r}; expected one")
        own = {label: [row for row in rows if row["label"] == label] for label in labels}
        base = own[defaults[0]]
        shown = _shown(rows)
        settings = [_setting(label, found, base, shown) for label, found in own.items() if found]
        missing = tuple(label for label, found in own.items() if not found)
        return cls(name, defaults[0], tuple(settings), missing, shown)


def _shown(rows: Rows) -> dict[str, str]:
    if any(TESTED_RANKS[0] in row for row in rows):
        return {name: RANKED[name] for name in TESTED_RANKS}
    return {name: METRICS[name] for name in TESTED}


def _setting(label: str, rows: Rows, base: Rows, shown: Iterable[str]) -> Setting:
    figures = {
        name: Spread.of([float(row[name]) for row in rows if row[name]])
        for name in (*shown, "cpu_seconds")
    }
    by_seed = {name: _differences(rows, base, name) for name in shown} if rows is not base else {}
    by_seed = {name: found for name, found in by_seed.items() if found}
    spreads = {name: Spread.of(found) for name, found in by_seed.items()}
    differences = {name: spread for name, spread in spreads.items() if spread is not None}
    return Setting(label, len(rows), figures, differences, by_seed)


def _differences(rows: Rows, base: Rows, name: str) -> tuple[float, ...]:
    """Setting minus default, for every seed that both have, in order of seeds."""
    there = {row["seed"]: float(row[name]) for row in base if row[name]}
    here = {row["seed"]: float(row[name]) for row in rows if row[name]}
    return tuple(here[seed] - there[seed] for seed in sorted(here.keys() & there, key=int))


def clear(spread: Spread) -> bool:
    """Whether the interval of a difference leaves out zero."""
    return spread.half is not None and abs(spread.mean) > spread.half


def study_table(study: Study) -> str:
    """The settings as Markdown, in their order, and what the figures mean."""
    titles = [title for name in study.shown.values() for title in (name, "to the default")]
    titles = ["setting", "seeds", *titles, "CPU-s"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * (len(titles) - 1)}"]
    lines += [f"| {' | '.join(_cells(study, setting))} |" for setting in study.settings]
    said = (
        "Means over seeds on the test split, ± half of the 95 % interval (Student's t). Differences "
        "are setting minus default, paired by seed; bold: the interval leaves out zero, uncorrected "
        "for the number of settings. CPU-s: of one run, training and scoring."
    )
    if study.missing:
        said += f" Not run yet: {', '.join(study.missing)}."
    return "\n".join(lines) + f"\n\n{said}\n"


def _cells(study: Study, setting: Setting) -> list[str]:
    cells = [cell(setting.label), str(setting.seeds)]
    for name in study.shown:
        cells.append(_spread(setting.figures[name]))
        found = setting.differences.get(name)
        text = _spread(found, plus=True)
        cells.append(f"**{text}**" if found is not None and clear(found) else text)
    seconds = setting.figures["cpu_seconds"]
    return [*cells, words.NONE if seconds is None else f"{seconds.mean:,.0f}"]


def _spread(spread: Spread | None, *, plus: bool = False) -> str:
    if spread is None:
        return words.NONE
    text = (words.signed if plus else words.number)(spread.mean, 4)
    return text if spread.half is None else f"{text} ± {words.number(spread.half, 4)}"


def mask_table(rows: Rows) -> str:
    """Overlap of related and of unrelated domains' masks, one line a run, as Markdown."""
    lines = [f"| {' | '.join(_MASK_TITLES)} |", f"|---|{'--:|' * (len(_MASK_TITLES) - 1)}"]
    pairs = {(row["by"], row["run"], row["pairs"]): row for row in rows}
    for by, run in dict.fromkeys((row["by"], row["run"]) for row in rows):
        related, unrelated = pairs[by, run, "related"], pairs[by, run, "unrelated"]
        cells = [cell(by), related["seed"], _overlap(related["density"])]
        for row in (related, unrelated):
            cells.append(f"{_overlap(row['overlap'])} ({row['count']})")
            cells.append(
                f"{_overlap(row['random'])} [{_overlap(row['low'])}, {_overlap(row['high'])}]"
            )
        lines.append(f"| {' | '.join([*cells, words.p_value(float(related['p']))])} |")
    return "\n".join(lines) + "\n"


def _overlap(value: str) -> str:
    return words.number(float(value) if value else None)
