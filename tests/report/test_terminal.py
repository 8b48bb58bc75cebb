import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from isthmus.evaluation import Comparison, DomainComparison, Verdict
from isthmus.report import ReportData, print_comparison, print_metrics, to_terminal
from tests.report.sample import sample

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def terminal(width: int) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="standard", legacy_windows=False
    )  # fmt: skip


def printed(console: Console) -> str:
    return console.file.getvalue()


def shown(data: ReportData, width: int) -> str:
    console = terminal(width)
    to_terminal(data, console)
    return printed(console)


def piped(data: ReportData) -> str:
    console = Console(file=io.StringIO(), force_terminal=False)
    to_terminal(data, console)
    return printed(console)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_every_line_fits_the_terminal_and_every_domain_has_its_verdict_in_words(width):
    data = sample(32)
    lines = ESCAPE.sub("", shown(data, width)).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    for row, line in zip(data.sharing.rows, lines[2:], strict=False):
        start = line.split("…")[0][:8].strip()
        assert row.domain.startswith(start)
        assert line.rstrip().endswith(row.verdict.value)
        if row.gain is not None:
            assert f"{abs(row.gain.value):.3f}".removeprefix("0") in line


def test_verdicts_are_coloured_in_a_terminal_alone():
    assert "\x1b[1;31m" in shown(sample(32), 120)
    assert "\x1b" not in piped(sample(32))


def test_a_pipe_gets_everything_on_one_line_a_domain():
    data = sample(32)
    lines = piped(data).splitlines()
    for row in data.sharing.rows:
        line = next(line for line in lines if line.startswith(f"{row.domain} "))
        assert line.endswith(row.verdict.value)
        assert f"{row.train_rows:,}" in line
        if row.joint:
            assert f"[{row.joint.low:.3f}, {row.joint.high:.3f}]" in line
    assert lines[-1] == data.sharing.protocol


def test_the_summary_adds_up():
    data = sample(32)
    text = piped(data)
    counts = data.sharing.counts
    assert f"{counts[Verdict.gains]} gain, {counts[Verdict.unchanged]} unchanged" in text
    for name, found in data.metrics.items():
        assert f"{name} {found.domain_auc:.4f}" in text
    assert "the gain is +0.0061 AUC [+0.0021, +0.0101]" in text


def test_names_are_neither_markup_nor_control_codes():
    data = sample(4, names=("[red]A[/red]", "B\x1b[2J\x07", "C\nD", "[/]"))
    text = piped(data)
    assert "[red]A[/red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert len([line for line in text.splitlines() if line.rstrip().endswith("D")]) == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_console_that_knows_no_unicode_gets_plain_signs(encoding, is_terminal):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    data = sample(32, names=("飲み物",))
    to_terminal(data, Console(file=file, width=80, force_terminal=is_terminal))
    file.flush()
    text = raw.getvalue().decode(encoding)
    assert "unchanged" in text
    assert "???" in text


def test_models_are_shown_where_there_is_no_sharing_table():
    data = sample(32).model_copy(update={"sharing": None})
    text = piped(data)
    for name, found in data.metrics.items():
        assert re.search(
            rf"^{name} +{found.overall.auc.value:.4f} +{found.domain_auc:.4f}", text, re.M
        )
    assert "minor5 is undefined: 2 of the 5 smallest domains have no positives" in text


def test_the_metrics_of_models_fit_80_columns():
    console = terminal(80)
    print_metrics(sample(32).metrics, console)
    lines = ESCAPE.sub("", printed(console)).splitlines()
    assert max(cell_len(line) for line in lines) <= 80
    assert "DomainAUC" in lines[0]


def test_a_comparison():
    rows = sample(32).sharing.rows
    comparison = Comparison(
        rows=tuple(
            DomainComparison(
                domain=row.domain, rows=row.rows, positives=row.positives, difference=row.gain,
                p_value=row.p_value, p_adjusted=row.p_adjusted, detectable=row.detectable,
                verdict=row.verdict, reason=row.reason,
            )
            for row in rows
        ),
        overall=rows[0].gain, overall_p_value=0.2, counts={}, seeds=1, alpha=0.05,
        protocol="Paired by row.",
    )  # fmt: skip
    for width in (80, 140):
        console = terminal(width)
        print_comparison(comparison, console, names=("new", "old"))
        lines = ESCAPE.sub("", printed(console)).splitlines()
        assert max(cell_len(line) for line in lines) <= width
        for row, line in zip(rows, lines[2:], strict=False):
            assert line.rstrip().endswith(row.verdict.value)
        assert any(line.startswith("DomainAUC of new minus old") for line in lines)
