"""The columns of the domain table, for the page and for Markdown."""

from collections.abc import Callable
from dataclasses import dataclass

from isthmus.evaluation import DomainSharing, SharingTable
from isthmus.report import words


@dataclass(frozen=True, slots=True)
class DomainColumn:
    """One column: ``main`` is the figure, ``detail`` its interval, ``key`` what it is sorted by.

    ``key`` is ``None`` where the figure is undefined; such rows stand last in either direction.
    """

    title: str
    main: Callable[[DomainSharing], str]
    key: Callable[[DomainSharing], float | str | None]
    detail: Callable[[DomainSharing], str] = lambda _: ""
    numeric: bool = True


def domain_columns(table: SharingTable) -> list[DomainColumn]:
    """Domain, sizes, AUC of each model with its interval, gain, p-value, detectable, verdict."""
    digits = words.digits(table)
    return [
        DomainColumn("Domain", lambda r: r.domain, lambda r: r.domain.casefold(), numeric=False),
        DomainColumn("Test rows", lambda r: f"{r.rows:,}", lambda r: r.rows),
        DomainColumn(
            words.known(table).capitalize(), lambda r: f"{r.positives:,}", lambda r: r.positives
        ),
        *(_figure(table, role, name) for role, name in words.present_roles(table)),
        DomainColumn(
            "Gain",
            lambda r: words.signed(r.gain.value if r.gain else None, digits),
            lambda r: r.gain.value if r.gain else None,
            lambda r: words.bounds(r.gain, digits, plus=True),
        ),
        DomainColumn("p", lambda r: words.p_value(r.p_adjusted), lambda r: r.p_adjusted),
        DomainColumn(
            "Detectable", lambda r: words.number(r.detectable, digits), lambda r: r.detectable
        ),
        DomainColumn(
            "Verdict",
            lambda r: r.verdict.value,
            lambda r: words.ORDER.index(r.verdict),
            lambda r: r.reason,
            numeric=False,
        ),
    ]


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
