"""What every page has: it asks the network for nothing, and looks the same offline."""

import functools
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from isthmus.report.palette import DARK, LIGHT, PAGE, properties
from isthmus.report.picture import Picture, theme


def render(template: str, drawn: Sequence[Picture], **values: Any) -> str:
    """A template of ``page/`` as one file, about 1 MB, most of it the drawing library (one copy).

    All values are escaped; the pictures among ``drawn`` that have figures are embedded.
    """
    return _template(template).render(
        **values,
        pictures={picture.key: picture for picture in drawn},
        charts=_embedded(_charts(drawn)),
        light=Markup(properties(LIGHT)),
        dark=Markup(properties(DARK)),
        style=_asset("shared.css") + _asset("report.css"),
        script=_asset("tables.js") + _asset("pictures.js"),
        bundle=_bundle(),
    )


def _charts(drawn: Sequence[Picture]) -> dict[str, Any]:
    return {
        "config": theme(PAGE),
        "pictures": {
            picture.key: {
                "spec": picture.spec(),
                "dense": picture.dense,
                "byDomain": picture.by_domain,
            }
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


def _text(name: str) -> str:
    return files("isthmus.report").joinpath("page", name).read_text(encoding="utf-8")


def _asset(name: str) -> Markup:
    return Markup(_text(name))


@functools.cache
def _bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script of 0.9 MB."""
    source = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub omits the default
    return Markup(source.replace("</script", "<\\/script"))


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
