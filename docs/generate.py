"""Writes the pages that follow from code and committed results. A test says when they are stale.

Run: python docs/generate.py               the pages
     python docs/generate.py --pictures    and the pictures of every leaderboard and study they show
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from isthmus import models
from isthmus.bench import beside, read_rows
from isthmus.cli import app
from isthmus.diagnosis import page as diagnosis_page
from isthmus.report import ReportData
from isthmus.report.board import Board
from isthmus.report.board_page import save_board_pictures
from isthmus.report.board_table import to_markdown, tuning_to_markdown
from isthmus.report.charts_board import board_pictures
from isthmus.report.charts_training import curves
from isthmus.report.markdown import sharing_table
from isthmus.report.markdown import to_markdown as report_markdown
from isthmus.report.palette import LIGHT
from isthmus.report.pictures import pictures as report_pictures
from isthmus.report.pictures import save, save_pictures

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the studies' own tables and charts

from benchmarks.scale import page as scale_page  # noqa: E402
from benchmarks.speed import cost_page  # noqa: E402
from benchmarks.studies import page as studies_page  # noqa: E402

RESULTS = HERE.parent / "benchmarks" / "results"
NOTE = "<!-- made by docs/generate.py; do not edit -->\n\n"


def cli() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Command line\n",
        "What a user can mend is one line on standard error, exit code 2.\n",
    ]
    for name, command in _commands(get_command(app)):
        lines += [f"## isthmus {name}\n", f"{command.help}\n"]
        rows = [_parameter(p) for p in command.params if p.name != "help"]
        if rows:
            lines += ["| | default | |", "|---|---|---|", *rows, ""]
    return NOTE + "\n".join(lines)


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Every command with its name; those of a group follow it, "group command"."""
    for name, command in group.commands.items():
        yield name, command
        for inner, each in _commands(command) if hasattr(command, "commands") else ():
            yield f"{name} {inner}", each


def _parameter(parameter: Any) -> str:
    what = " ".join(f"`{opt}`" for opt in parameter.opts if opt.startswith("-"))
    what = what or f"`{(parameter.metavar or parameter.name).upper()}`"
    default = "" if parameter.default in (None, ()) else f"`{parameter.default}`"
    if parameter.required:
        default = "required"
    return f"| {what} | {default} | {getattr(parameter, 'help', '') or ''} |"


def model_pages() -> str:
    """Every model with its paper and settings."""
    lines = ["# Models\n", "`isthmus models` prints the same.\n"]
    for name in models.names():
        kind = models.get(name)
        first = (kind.__doc__ or "").strip().splitlines()[0]
        lines += [f"## {name}\n", f"{first} [Paper]({kind.paper})\n"]
        lines += ["| setting | default |", "|---|---|"]
        for key, value in _flat(kind.Config().model_dump()):
            lines.append(f"| `settings.{key}` | `{value!r}` |")
        lines.append("")
    return NOTE + "\n".join(lines)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        nested = isinstance(value, dict)
        pairs += _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return pairs


def diagnosis() -> str:
    """Every check with its severity, an example and what to do."""
    return NOTE + diagnosis_page.page()


def results() -> str:
    """The hand-written frame of results, its marked places filled from benchmarks/results."""
    return _filled("results.template")


def cost() -> str:
    """What dozens of domains cost."""
    return _filled("cost.template")


def studies() -> str:
    """The paper's studies, as far as they have been run."""
    return _filled("studies.template")


def next_item() -> str:
    """Leaderboards and studies of retrievers."""
    return _filled("next-item.template")


def reports() -> str:
    """Sharing reports of real sets, as ``isthmus share`` wrote them."""
    return _filled("reports.template")


def scale() -> str:
    """What a billion rows a day would take."""
    return _filled("scale.template")


def _filled(template: str) -> str:
    text = (HERE / template).read_text(encoding="utf-8")
    return NOTE + re.sub(r"\{\{(\w+) ([\w./]+)\}\}", lambda m: FILL[m[1]](m[2]), text)


def board(name: str) -> Board:
    """What the committed rows of a benchmark say."""
    rows, pairs, domains = (
        read_rows(file)
        for file in (
            RESULTS / f"{name}.csv",
            beside(RESULTS / f"{name}.csv", "pairs"),
            beside(RESULTS / f"{name}.csv", "domains"),
        )
    )
    return Board.of(rows, pairs, domains)


def _leaderboard(name: str) -> str:
    return to_markdown(board(name))


def _report(name: str) -> ReportData:
    return ReportData.model_validate_json((RESULTS / f"{name}.report.json").read_text("utf-8"))


def _sharing(name: str) -> str:
    table = _report(name).sharing
    assert table is not None
    return sharing_table(table)


def _share(name: str) -> ReportData:
    """What ``isthmus share benchmarks/share/NAME.toml`` wrote as JSON."""
    return ReportData.model_validate_json((RESULTS / f"{name}.share.json").read_text("utf-8"))


def _share_folder(name: str) -> str:
    """Of the report's pictures, under docs/pictures."""
    return f"reports/{name}"


def _share_page(name: str) -> str:
    """The report's pictures, then its Markdown with headings two levels down."""
    data = _share(name)
    drawn = "\n\n".join(
        f"![{picture.title}](pictures/{_share_folder(name)}/{picture.key}.png)\n\n"
        f"*{picture.title}.* {picture.caption}"
        for picture in report_pictures(data)
        if picture.chart is not None
    )
    written = re.sub(r"^#", "###", report_markdown(data), flags=re.MULTILINE)
    return f"{drawn}\n\n{written}"


def _picture(place: str) -> str:
    """Link to a picture that benchmarks/sharing.py drew."""
    return f"![{place.rpartition('/')[2].replace('_', ' ')}](pictures/{place}.png)"


def _told(name: str) -> str:
    """Links to the pictures of what the report's first model told of domains as it trained."""
    drawn = curves(_report(name).curves, LIGHT)
    return "\n\n".join(
        f"![{picture.title}](pictures/{name}/{picture.key}.png)\n\n*{picture.title}.* {picture.caption}"
        for picture in drawn
        if picture.key.startswith("training-0") and "-told-" in picture.key
    )


def _tuning(name: str) -> str:
    return tuning_to_markdown(read_rows(RESULTS / f"{name}.tuning.csv"))


def _pictures(name: str) -> str:
    """Links to a leaderboard's pictures, with their captions."""
    drawn = [picture for picture in board_pictures(board(name), LIGHT) if picture.chart is not None]
    return "\n\n".join(
        f"![{picture.title}](pictures/{name}/{picture.key}.png)\n\n*{picture.title}.* {picture.caption}"
        for picture in drawn
    )


def draw(name: str) -> None:
    """Write a leaderboard's pictures as PNG; the docs show no other kind."""
    _only_png(save_board_pictures(board(name), HERE / "pictures" / name))


def draw_report(name: str) -> None:
    """Write the pictures of a sharing report."""
    _only_png(save_pictures(_share(name), HERE / "pictures" / _share_folder(name)))


def draw_cost(name: str) -> None:
    """Write the pictures of the cost study."""
    drawn = cost_page.pictures(read_rows(RESULTS / f"{name}.csv"))
    _only_png(save(drawn, HERE / "pictures" / name))


def draw_studies() -> None:
    """Write the pictures of the studies that have rows."""
    _only_png(save(studies_page.pictures(), HERE / "pictures" / studies_page.FOLDER))


def _only_png(written: list[Path]) -> None:
    for path in written:
        if path.suffix == ".svg":
            path.unlink()


def _cost_limits(name: str) -> str:
    return cost_page.limits(read_rows(RESULTS / f"{name}.csv"))


def _cost_table(name: str) -> str:
    return cost_page.table(read_rows(RESULTS / f"{name}.csv"))


def _cost_pictures(name: str) -> str:
    return cost_page.markdown(read_rows(RESULTS / f"{name}.csv"), name)


FILL = {
    "leaderboard": _leaderboard,
    "picture": _picture,
    "told": _told,
    "report": _share_page,
    "sharing": _sharing,
    "tuning": _tuning,
    "pictures": _pictures,
    "scale": scale_page.table,
    "cost_limits": _cost_limits,
    "cost_table": _cost_table,
    "cost_pictures": _cost_pictures,
    "protocol": studies_page.protocol,
    "study": studies_page.study_markdown,
    "masks": studies_page.masks_markdown,
}
PAGES = {
    "cli.md": cli,
    "models.md": model_pages,
    "diagnosis.md": diagnosis,
    "results.md": results,
    "cost.md": cost,
    "studies.md": studies,
    "next-item.md": next_item,
    "reports.md": reports,
    "scale.md": scale,
}


def _marked(what: str) -> list[str]:
    """The names that the templates ask ``what`` of."""
    texts = (file.read_text("utf-8") for file in sorted(HERE.glob("*.template")))
    return [name for text in texts for name in re.findall(rf"\{{\{{{what} ([\w.]+)\}}\}}", text)]


if __name__ == "__main__":
    if "--pictures" in sys.argv[1:]:
        for shown in _marked("pictures"):
            draw(shown)
        for shown in _marked("report"):
            draw_report(shown)
        draw_cost("cost")
        draw_studies()
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
