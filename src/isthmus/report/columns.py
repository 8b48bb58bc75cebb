"""The columns of the domain table, for the page and for Markdown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from isthmus.evaluation import DomainSharing, SharingTable
from isthmus.report import words

Kind = Literal["name", "count", "number", "verdict", "calibration", "advice"]


@dataclass(frozen=True, slots=True)
class DomainColumn:
    """One column: ``main`` is the figure, ``detail`` its interval, ``key`` what it is sorted by.

    ``key`` is ``None`` where the figure is undefined; such rows stand last in either direction.
    ``kind`` says how the page shows it.
    """

    title: str
    main: Callable[[DomainSharing], str]
    key: Callable[[DomainSharing], float | str | None]
    detail: Callable[[DomainSharing], str] = lambda _: ""
    kind: Kind = "number"

    @property
    def numeric(self) -> bool:
        """Whether figures stand in it, which are set to the right."""
        return self.kind in ("count", "number", "calibration")


def domain_columns(table: SharingTable) -> list[DomainColumn]:
    """Domain, sizes, each model's AUC, gain and its test, calibration, verdict, what to do."""
    digits = words.digits(table)
    return [
        DomainColumn("Domain", lambda r: r.domain, lambda r: r.domain.casefold(), kind="name"),
        DomainColumn("Train rows", lambda r: f"{r.train_rows:,}", lambda r: r.train_rows),
        DomainColumn(
            "Test rows",
            lambda r: f"{r.rows:,}",
            lambda r: r.rows,
            lambda r: f"{r.positives:,} {words.known(table)}",
            kind="count",
        ),
        *(_figure(table, role, name) for role, name in words.present_roles(table)),
        DomainColumn(
            "Gain",
            lambda r: words.signed(r.gain.value if r.gain else None, digits),
            lambda r: r.gain.value if r.gain else None,
            lambda r: words.bounds(r.gain, digits, plus=True),
        ),
        DomainColumn(
            "Detectable", lambda r: words.number(r.detectable, digits), lambda r: r.detectable
        ),
        *([_CALIBRATION] if any(row.calibration for row in table.rows) else []),
        DomainColumn(
            "Verdict",
            lambda r: r.verdict.value,
            lambda r: words.ORDER.index(r.verdict),
            _why,
            kind="verdict",
        ),
        *([_ADVICE] if any(row.advice for row in table.rows) else []),
    ]


def _why(row: DomainSharing) -> str:
    """The corrected p-value, or why there is none, unless the advice says that."""
    if row.p_adjusted is not None:
        return f"p {words.p_value(row.p_adjusted)}"
    return "" if row.advice else row.reason


_CALIBRATION: Final = DomainColumn(
    "Calibration shift",
    lambda r: words.times(r.calibration.shift if r.calibration else None),
    lambda r: r.calibration.shift.value if r.calibration and r.calibration.shift else None,
    lambda r: words.shifted(r.calibration),
    kind="calibration",
)
_ADVICE: Final = DomainColumn(
    "What to do",
    lambda r: r.advice.action.value if r.advice else words.NONE,
    lambda r: words.ACTIONS.index(r.advice.action) if r.advice else None,
    lambda r: r.advice.reason if r.advice else "",
    kind="advice",
)


def _figure(table: SharingTable, role: str, name: str) -> DomainColumn:
    def value(row: DomainSharing) -> float | None:
        interval = words.interval_of(row, role)
        return interval.value if interval else None

    return DomainColumn(
        f"{table.title} {name}",
        lambda row: words.number(value(row), words.digits(table)),
        value,
        lambda row: words.bounds(words.interval_of(row, role), words.digits(table)),
    )
