"""The speed table of docs/syncrec.md says what the committed figures say."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/syncrec.md").read_text(encoding="utf-8")
LINES = json.loads((ROOT / "benchmarks/results/speed_syncrec.json").read_text())["lines"]
ROWS = {
    "ours, loss against one negative as published, samples / CPU-s": "packed, samples / CPU-s",
    "target": "target, samples / CPU-s",
    "ours, full softmax over the domain, samples / CPU-s": "full softmax over the domain, samples / CPU-s",
    "the same model, a loop over domains, samples / CPU-s": "plain loop, samples / CPU-s",
    "the packed pass is faster than the loop by": "loop over packed, time",
    "published step, samples / CPU-s": "published, samples / CPU-s",
}  # fmt: skip


def cells(name):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")[1:]]


def said(value, text):
    digits = len(text.rstrip("x").partition(".")[2])
    return f"{value:.{digits}f}" == text.rstrip("x")


def test_every_figure_of_the_speed_tables_is_the_committed_one():
    for name, key in ROWS.items():
        for text, domains in zip(cells(name), (5, 25), strict=True):
            assert said(LINES[f"D = {domains}"][key], text), (name, domains)
    for name, loss in (("full softmax", "softmax"), ("256 shared negatives", "sampled_softmax")):
        ours, plain = cells(name)
        found = LINES[f"SASRec, {loss}"]
        assert said(found["CPU-s an epoch of 834k targets"], ours)
        assert said(found["plain prototype"], plain)
    (step,) = re.findall(r"takes ([\d.]+) times that of 5", PAGE)
    assert said(LINES["step at 25 domains over 5, time"], step)
