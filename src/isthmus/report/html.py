"""One self-contained HTML file: it asks the network for nothing and looks the same offline."""

from typing import Any

from isthmus.evaluation import SharingTable, Verdict
from isthmus.report import words
from isthmus.report.columns import domain_columns
from isthmus.report.cost_table import COST_NOTE, COSTS, TUNED, cost_rows, tuned_note, tuned_rows
from isthmus.report.data import ReportData
from isthmus.report.guard_table import guard_view
from isthmus.report.leaderboard import COLUMNS, EXPLAINED, leaderboard, undefined
from isthmus.report.palette import PAGE
from isthmus.report.picture import MANY
from isthmus.report.pictures import pictures
from isthmus.report.rank_table import NOTE, TITLES, rank_rows
from isthmus.report.sections import sections
from isthmus.report.transfer_table import TITLES as PAIRS
from isthmus.report.transfer_table import transfer_view
from isthmus.report.webpage import render

_SLUGS = {verdict: verdict.value.replace(" ", "-") for verdict in Verdict}

_MARKS = {
    Verdict.gains: "▲",
    Verdict.unchanged: "●",
    Verdict.hurt: "▼",
    Verdict.not_measurable: "◇",
}


def to_html(data: ReportData) -> str:
    """The whole report as one page, about 1 MB, most of it the drawing library (one copy).

    Everything in ``data`` is escaped, names of domains and models included.
    """
    drawn = pictures(data, PAGE)
    return render(
        "report.html.j2",
        drawn,
        data=data,
        sections=sections(data),
        headline=_headline(data),
        verdicts=_verdicts(data.sharing),
        columns=domain_columns(data.sharing) if data.sharing else [],
        slugs=_SLUGS,
        marks=_MARKS,
        many=MANY,
        training=[picture for picture in drawn if picture.key.startswith("training")],
        leaderboard=leaderboard(data.metrics) or rank_rows(data.rank_metrics),
        metric_names=["among", *TITLES.values()] if data.rank_metrics else COLUMNS,
        explained=EXPLAINED,
        rank_note=NOTE if data.rank_metrics else "",
        further=[(table, domain_columns(table)) for table in data.further],
        undefined=undefined(data.metrics),
        to_do=words.to_do(data.sharing) if data.sharing else "",
        calibration=words.calibration(data.sharing) if data.sharing else "",
        cost_rows=cost_rows(
            data.costs, data.sharing.names.get("isolated") if data.sharing else None
        ),
        tuned_rows=tuned_rows(data.tuned),
        tuned_note=tuned_note(data.tuned),
        COSTS=COSTS,
        COST_NOTE=COST_NOTE,
        TUNED=TUNED,
        guard=guard_view(data.guard),
        transfer=transfer_view(data.transfer),
        transfer_titles=PAIRS,
        drawn_transfer=[picture for picture in drawn if picture.key.startswith("transfer")],
    )


def _headline(data: ReportData) -> str:
    if data.sharing is not None:
        return words.headline(data.sharing)
    if data.rank_metrics:
        return _best_retriever(data)
    known = {name: found.domain_auc for name, found in data.metrics.items() if found.domain_auc}
    if not known:
        return "This report holds no domain table."
    best = max(known, key=lambda name: known[name] or 0.0)
    return f"{best} has a DomainAUC of {words.number(known[best], 4)}" + (
        f", the best of {words.plural(len(known), 'model')}." if len(known) > 1 else "."
    )


def _best_retriever(data: ReportData) -> str:
    found = {
        name: metrics.primary.weighted["ndcg@10"].value
        for name, metrics in data.rank_metrics.items()
        if "ndcg@10" in metrics.primary.weighted
    }
    if not found:
        return "No event of a known domain was ranked."
    best = max(found, key=lambda name: found[name])
    return f"{best} has an NDCG@10 of {words.number(found[best], 4)}" + (
        f", the best of {words.plural(len(found), 'model')}." if len(found) > 1 else "."
    )


def _verdicts(table: SharingTable | None) -> list[dict[str, Any]]:
    if table is None:
        return []
    return [
        {
            "slug": _SLUGS[verdict],
            "name": verdict.value,
            "count": table.counts.get(verdict, 0),
            "meaning": words.MEANING[verdict],
        }
        for verdict in words.ORDER
    ]
