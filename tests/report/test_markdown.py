import json
import re

from isthmus.evaluation import Comparison, DomainComparison, Verdict
from isthmus.report import CreatedFrom, ReportData, comparison_to_markdown, to_json, to_markdown
from isthmus.report.markdown import cell
from isthmus.report.words import p_value
from tests.report.sample import sample

NASTY = ("A | B", "<script>alert(1)</script>", "`x` *y* _z_ [l](u)", "two\nlines", "back\\slash|")


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))


def tables(text: str) -> list[list[str]]:
    return [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]


def test_every_line_of_a_table_has_as_many_cells_whatever_the_domains_are_called():
    data = sample(8, names=(*NASTY, "C", "D", "E"))
    found = tables(to_markdown(data))
    assert [len(table) - 2 for table in found] == [8, 3, 3, 3], "domains, models, settings, costs"
    for table in found:
        assert {len(cells(line)) for line in table} == {len(cells(table[0]))}


def test_the_figures_stand_in_the_table():
    data = sample(32)
    lines = tables(to_markdown(data))[0][2:]
    for row, line in zip(data.sharing.rows, lines, strict=True):
        found = [text.strip() for text in cells(line)]
        assert found[0].replace("\\", "") == row.domain
        assert found[1:3] == [
            f"{row.train_rows:,}",
            f"{row.rows:,} ({row.positives:,} positives)",
        ]
        assert found[-2].startswith(row.verdict.value)
        if row.p_adjusted is not None:
            assert found[-2] == f"{row.verdict.value} (p {cell(p_value(row.p_adjusted))})"
        assert found[-1] == f"{row.advice.action.value}: {cell(row.advice.reason)}"
        if row.gain is not None:
            assert found[6].startswith("−" if row.gain.value < 0 else "+")
            assert found[-3].startswith(f"×{row.calibration.shift.value:.2f} ")


def test_markup_in_names_is_text():
    assert cell("a|b") == "a\\|b"
    assert cell("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert cell("*a* _b_ `c` [d]") == "\\*a\\* \\_b\\_ \\`c\\` \\[d\\]"
    assert cell("a\n  b") == "a b"


def test_a_configuration_with_fences_stays_in_its_block():
    data = ReportData(title="t", created_from=CreatedFrom(config="a = '''\n```\n'''"))
    assert to_markdown(data).count("\n````") == 2


def test_an_empty_report_is_its_title():
    assert to_markdown(ReportData(title="Nothing yet")) == "# Nothing yet\n"


def test_json_holds_every_figure():
    data = sample(4)
    assert json.loads(to_json(data)) == data.model_dump(mode="json")


def test_a_comparison():
    row = sample(4).sharing.rows[0]
    one = DomainComparison(
        domain="A | B", rows=row.rows, positives=row.positives, difference=row.gain,
        p_adjusted=0.5, detectable=0.02, verdict=Verdict.unchanged, reason="small",
    )  # fmt: skip
    none = DomainComparison(domain="C", rows=3, positives=0, verdict=Verdict.not_measurable)
    counts = {Verdict.unchanged: 1, Verdict.not_measurable: 1}
    text = comparison_to_markdown(
        Comparison(rows=(one, none), counts=counts, seeds=1, alpha=0.05, protocol="Paired."),
        names=("new", "old"),
    )
    table = tables(text)[0]
    assert {len(cells(line)) for line in table} == {7}
    assert "new − old" in table[0]
    assert "unchanged (small)" in table[2]
    assert "0 gain, 1 unchanged, 0 hurt, 1 not measurable. Paired." in text
