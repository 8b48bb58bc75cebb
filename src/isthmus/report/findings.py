"""A diagnosis for the terminal and as Markdown."""

from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from isthmus.diagnosis import RANK, Diagnosis, Severity
from isthmus.report import words
from isthmus.report.console import clean, say
from isthmus.report.markdown import cell, findings_table

STYLES: Final = {Severity.error: "bold red", Severity.warning: "yellow", Severity.note: "cyan"}
_INDENT: Final = 10


def print_diagnosis(diagnosis: Diagnosis, console: Console, *, whole: bool = False) -> None:
    """Findings by severity, then how many checks were made; ``whole``: the others as well."""
    also = f" (with {', '.join(diagnosis.seeds)})" if diagnosis.seeds else ""
    say(console, f"{diagnosis.run}{also}", style="bold")
    for finding in diagnosis.findings:
        head = f"{finding.code:<{_INDENT}}{finding.severity.value}: {finding.title}"
        say(console, head, style=STYLES[finding.severity])
        _indented(console, finding.message)
        _indented(console, f"{finding.remedy} ({finding.page})", "dim")
    if whole:
        for silent in diagnosis.not_applicable:
            say(console, f"{silent.code:<{_INDENT}}{silent.title}", style="dim")
            _indented(console, f"not applicable: {silent.reason}", "dim")
        if diagnosis.passed:
            say(console, f"nothing found: {', '.join(diagnosis.passed)}", style="dim")
    say(console, tally(diagnosis), style="bold")


def tally(diagnosis: Diagnosis) -> str:
    """ "1 error, 2 warnings, 0 notes; 20 checks found nothing, 9 are not applicable"."""
    counts = diagnosis.counts()
    found = ", ".join(words.plural(counts[level], level.value) for level in RANK)
    passed = words.plural(len(diagnosis.passed), "check")
    return f"{found}; {passed} found nothing, {len(diagnosis.not_applicable)} not applicable"


def diagnosis_to_markdown(diagnosis: Diagnosis, *, whole: bool = False) -> str:
    """A table of findings, for a pull request; ``whole``: also what was not applicable."""
    parts = [f"## {cell(diagnosis.run)}", f"{tally(diagnosis)}."]
    if diagnosis.findings:
        parts.append(findings_table(diagnosis.findings))
    if whole and diagnosis.not_applicable:
        lines = ["| not applicable | | because |", "|---|---|---|"]
        for silent in diagnosis.not_applicable:
            lines.append(f"| {silent.code} | {cell(silent.title)} | {cell(silent.reason)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _indented(console: Console, line: str, style: str = "") -> None:
    """A line below a heading: wrapped in a terminal, whole elsewhere."""
    text = Text(clean(line).plain, style)
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, _INDENT)))
    else:
        console.print(Text(" " * _INDENT) + text, soft_wrap=True)
