"""One self-contained HTML file: it asks the network for nothing and looks the same offline."""

import functools
import json
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from isthmus.evaluation import SharingTable, Verdict
from isthmus.report import words
from isthmus.report.columns import domain_columns
from isthmus.report.data import ReportData
from isthmus.report.leaderboard import COLUMNS, EXPLAINED, leaderboard, undefined
from isthmus.report.palette import DARK, LIGHT, PAGE, properties
from isthmus.report.picture import MANY, Picture, theme
from isthmus.report.pictures import pictures

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
    drawn = {picture.key: picture for picture in pictures(data, PAGE)}
    return _template().render(
        data=data,
        headline=_headline(data),
        verdicts=_verdicts(data.sharing),
        columns=domain_columns(data.sharing) if data.sharing else [],
        slugs=_SLUGS,
        marks=_MARKS,
        many=MANY,
        pictures=drawn,
        training=[picture for key, picture in drawn.items() if key.startswith("training")],
        leaderboard=leaderboard(data.metrics),
        metric_names=COLUMNS,
        explained=EXPLAINED,
        undefined=undefined(data.metrics),
        charts=_embedded(_charts(list(drawn.values()))),
        light=Markup(properties(LIGHT)),
        dark=Markup(properties(DARK)),
        style=_asset("report.css"),
        script=_asset("report.js"),
        bundle=_bundle(),
    )


def _headline(data: ReportData) -> str:
    if data.sharing is not None:
        return words.headline(data.sharing)
    known = {name: found.domain_auc for name, found in data.metrics.items() if found.domain_auc}
    if not known:
        return "This report holds no domain table."
    best = max(known, key=lambda name: known[name] or 0.0)
    return f"{best} has a DomainAUC of {words.number(known[best], 4)}" + (
        f", the best of {words.plural(len(known), 'model')}." if len(known) > 1 else "."
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


def _charts(drawn: list[Picture]) -> dict[str, Any]:
    return {
        "config": theme(PAGE),
        "pictures": {
            picture.key: {"spec": picture.spec(), "dense": picture.dense}
            for picture in drawn
            if picture.chart is not None
        },
    }


def _embedded(value: Any) -> Markup:
    """JSON that no text in it can end the element of, nor open another."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _asset(name: str) -> Markup:
    return Markup(files("isthmus.report").joinpath("page", name).read_text(encoding="utf-8"))


@functools.cache
def _bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script of 0.9 MB."""
    source = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub omits the default
    return Markup(source.replace("</script", "<\\/script"))


@functools.cache
def _template() -> jinja2.Template:
    source = files("isthmus.report").joinpath("page", "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)
