"""The gate for a pipeline: JUnit XML, Markdown and JSON."""

import json
import re
from typing import Final
from xml.etree import ElementTree

from isthmus.evaluation import Gate, GateRow, Outcome
from isthmus.report import gate as said
from isthmus.report import words
from isthmus.report.markdown import cell, markdown_table

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) has no way to write, not even escaped."""


def gate_to_junit(gate: Gate, *, name: str = "isthmus gate") -> str:
    """One test case a row: a failure where it is worse, skipped where it was not judged.

    What cannot be told is skipped where it does not stop the release, else an error: JUnit's word
    for a test without a result.
    """
    cases = [_case(gate, row, name) for row in gate.rows]
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    plain = {key: str(value) for key, value in counts.items()}
    suite = ElementTree.Element("testsuite", {"name": _xml(name), "time": "0", **plain})
    suite.extend(cases)
    root = ElementTree.Element("testsuites", plain)
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def gate_to_markdown(gate: Gate, *, name: str = "isthmus gate") -> str:
    """Headline, what stops the release, the whole table, and how it was tested."""
    titles = ["Domain", "Rows", f"Difference [{said.level(gate)}]", "Margin", "p worse", "Outcome"]
    rows = [
        [
            row.name,
            f"{row.rows:,}",
            said.difference(row),
            f"{row.margin:g}",
            words.p_value(row.p_adjusted),
            f"{row.outcome.value}{f' ({row.reason})' if row.reason else ''}",
        ]
        for row in gate.rows
    ]
    parts = [f"# {cell(name)}", f"**{cell(said.headline(gate))}**"]
    if gate.stopping:
        parts.append("\n".join(f"- {cell(said.line(gate, row))}" for row in gate.stopping))
    if cure := said.cure(gate):
        parts.append(cell(cure))
    parts += [
        markdown_table(titles, [False, True, True, True, True, False], rows),
        cell(gate.protocol),
    ]
    return "\n\n".join(parts) + "\n"


def gate_to_json(gate: Gate) -> str:
    """Every figure, with the exit code."""
    values = {"exit_code": gate.exit_code, **gate.model_dump(mode="json")}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _case(gate: Gate, row: GateRow, name: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name=_xml(row.name), classname=_xml(name), time="0")
    kind = {Outcome.worse: "failure", Outcome.cannot_tell: "skipped", Outcome.excluded: "skipped"}
    if row.outcome not in kind:
        return case
    stops = row.outcome is Outcome.cannot_tell and gate.stops(row)
    what = "error" if stops else kind[row.outcome]
    message = _xml(f"{row.outcome.value}: {said.figures(gate, row)}")
    found = ElementTree.SubElement(case, what, message=message)
    if gate.stops(row):
        found.set("type", row.outcome.value)
        found.text = _xml(said.line(gate, row))
    return case


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
