"""The report as Markdown tables and as JSON."""

import re
from collections.abc import Sequence

from isthmus.diagnosis import Finding
from isthmus.evaluation import Comparison, DomainSharing, SharingTable
from isthmus.evaluation.guarding import GuardTable
from isthmus.evaluation.transfer import TransferMap
from isthmus.report import words
from isthmus.report.columns import DomainColumn, domain_columns
from isthmus.report.cost_table import COST_NOTE, COSTS, TUNED, cost_rows, tuned_note, tuned_rows
from isthmus.report.data import ReportData
from isthmus.report.guard_table import guard_columns, guard_headline, guard_rows, left_lines
from isthmus.report.leaderboard import COLUMNS, leaderboard
from isthmus.report.rank_table import SHOWN, TITLES, rank_rows
from isthmus.report.transfer_table import TITLES as PAIRS
from isthmus.report.transfer_table import agreement, headline, strongest_rows


def to_json(data: ReportData) -> str:
    """Every figure, indented; ``ReportData.model_validate_json`` reads it back."""
    return data.model_dump_json(indent=2) + "\n"


def to_markdown(data: ReportData) -> str:
    """The report as GitHub-flavoured Markdown, for a README, a pull request or the docs."""
    parts = [f"# {cell(data.title)}"]
    if data.sharing is not None:
        parts += [cell(words.headline(data.sharing)), sharing_table(data.sharing)]
        parts += [
            cell(said) for said in (words.to_do(data.sharing), words.calibration(data.sharing))
        ]
        parts += [f"{words.tally(data.sharing.counts)}. {cell(data.sharing.protocol)}".strip()]
    for table in data.further:
        parts += [f"## {table.title}", cell(words.headline(table)), sharing_table(table)]
        parts += [f"{words.tally(table.counts)}. {cell(table.protocol)}".strip()]
    if data.guard is not None:
        parts += ["## Guard", *_guard(data.guard)]
    if data.metrics:
        parts += ["## Models", _metrics_table(data)]
    if data.rank_metrics:
        parts += ["## Models", _rank_table(data)]
    if data.transfer is not None:
        parts += ["## Transfer", *_transfer(data.transfer)]
    parts += _tuned_and_costs(data)
    if data.findings:
        parts += ["## Findings", findings_table(data.findings)]
    if data.notes:
        parts += ["## Notes", *(cell(note) for note in data.notes)]
    parts += _created_from(data)
    return "\n\n".join(filter(None, parts)) + "\n"


def sharing_table(table: SharingTable) -> str:
    """The domain table; intervals stand beside their figures."""
    columns = domain_columns(table)
    rows = [[_written(column, row) for column in columns] for row in table.rows]
    return markdown_table([column.title for column in columns], [c.numeric for c in columns], rows)


def _written(column: DomainColumn, row: DomainSharing) -> str:
    main, detail = column.main(row), column.detail(row)
    if not detail:
        return main
    if column.kind in ("count", "verdict"):
        return f"{main} ({detail})"
    return f"{main}: {detail}" if column.kind == "advice" else f"{main} {detail}"


def comparison_to_markdown(comparison: Comparison, *, names: tuple[str, str] = ("A", "B")) -> str:
    """The table of ``isthmus compare``."""
    rows = [
        [
            row.domain,
            f"{row.rows:,}",
            f"{row.positives:,}",
            words.with_bounds(row.difference, plus=True),
            words.p_value(row.p_adjusted),
            words.number(row.detectable),
            f"{row.verdict.value}{f' ({row.reason})' if row.reason else ''}",
        ]
        for row in comparison.rows
    ]
    titles = ["Domain", "Test rows", "Positives", f"{names[0]} {words.MINUS} {names[1]}", "p",
              "Detectable", "Verdict"]  # fmt: skip
    body = markdown_table(titles, [False, True, True, True, True, True, False], rows)
    return f"{body}\n\n{words.tally(comparison.counts)}. {cell(comparison.protocol)}\n"


def cell(text: str) -> str:
    """Text as it is in a Markdown table: nothing in it is taken for markup or for a new column."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", text)


def markdown_table(
    titles: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]
) -> str:
    """A table of GitHub-flavoured Markdown, its texts escaped; ``numeric`` columns to the right."""
    lines = [[cell(title) for title in titles], ["--:" if right else ":--" for right in numeric]]
    lines += [[cell(text) for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def findings_table(findings: Sequence[Finding]) -> str:
    """What ``isthmus diagnose`` found: one row a finding, in the order given."""
    rows = [[f.severity.value, f.code, f.title, f.message, f.remedy] for f in findings]
    return markdown_table(["", "", "What", "Figures", "What to do"], [False] * 5, rows)


def _transfer(found: TransferMap) -> list[str]:
    said = [*map(agreement, found.agreement), *found.absent.values(), found.protocol]
    table = markdown_table(PAIRS, [False, False, True, True, False], strongest_rows(found))
    return [cell(headline(found)), table, *(cell(line) for line in said)]


def _guard(table: GuardTable) -> list[str]:
    titles, numeric = zip(*guard_columns(table), strict=True)
    said = [guard_headline(table), *left_lines(table.left), table.protocol]
    return [markdown_table(titles, numeric, guard_rows(table)), *(cell(line) for line in said)]


def _metrics_table(data: ReportData) -> str:
    rows = [[row["model"], *(row[name] for name in COLUMNS)] for row in leaderboard(data.metrics)]
    return markdown_table(["Model", *COLUMNS], [False, *([True] * len(COLUMNS))], rows)


def _rank_table(data: ReportData) -> str:
    names = [TITLES[name] for name in SHOWN]
    rows = [
        [row["model"], row["among"], *(row[name] for name in names)]
        for row in rank_rows(data.rank_metrics)
    ]
    return markdown_table(["Model", "Among", *names], [False, False, *([True] * len(names))], rows)


def _tuned_and_costs(data: ReportData) -> list[str]:
    parts = []
    if data.tuned:
        numeric = [False, False, *([True] * (len(TUNED) - 2))]
        parts += [
            "## How settings were found",
            markdown_table(TUNED, numeric, tuned_rows(data.tuned)),
        ]
        parts += [cell(tuned_note(data.tuned))]
    if data.costs:
        isolated = data.sharing.names.get("isolated") if data.sharing else None
        numeric = [False, *([True] * (len(COSTS) - 1))]
        parts += [
            "## Cost",
            markdown_table(COSTS, numeric, cost_rows(data.costs, isolated)),
            COST_NOTE,
        ]
    return parts


def _created_from(data: ReportData) -> list[str]:
    made = data.created_from
    facts = {"data": made.data, **made.provenance} if made.data else dict(made.provenance)
    parts = ["\n".join(f"- {cell(name)}: {cell(value)}" for name, value in facts.items())]
    if made.config:
        fence = "`" * max(
            3, 1 + max((len(run) for run in re.findall("`+", made.config)), default=0)
        )
        parts.append(f"{fence}toml\n{made.config.rstrip()}\n{fence}")
    said = [part for part in parts if part]
    return ["## Made from", *said] if said else []
