"""Generated pages are up to date, links lead somewhere, and nothing names a machine."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from isthmus.bench import beside, write_rows
from isthmus.bench.rows import DOMAINS, PAIRS, TRIALS
from tests.report.board_sample import MODELS, board_rows

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", list(generator().PAGES))
def test_generated_pages_are_up_to_date(page):
    made = generator().PAGES[page]()
    assert (DOCS / page).read_text(encoding="utf-8") == made, "run: python docs/generate.py"


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The generator, with the rows of one benchmark to fill from."""
    module = generator()
    rows, pairs, domains = board_rows()
    results = tmp_path / "planted.csv"
    write_rows(results, rows)
    write_rows(beside(results, "pairs"), pairs, PAIRS)
    write_rows(beside(results, "domains"), domains, DOMAINS)
    trials = [
        {"label": "PLE", "trial": "0", "lr": "0.001", "batch_size": "1024", "valid": "0.7"},
        {"label": "PLE", "trial": "1", "lr": "0.003", "batch_size": "512", "valid": "0.71"},
        {"label": "PLE", "trial": "2", "lr": "0.01", "batch_size": "512", "valid": ""},
    ]
    common = {"weight_decay": "1e-05", "embedding_l2": "0.0"}
    write_rows(beside(results, "tuning"), [{**row, **common} for row in trials], TRIALS)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_a_leaderboard_in_the_docs_has_its_marks(planted, tmp_path):
    """Filled from rows, tests and trials: the fourth model on is marked; the best trial is named."""
    (tmp_path / "results.template").write_text("{{leaderboard planted}}\n{{tuning planted}}\n")
    lines = planted.results().splitlines()
    marked = [next(n for n in MODELS if f"| {n} |" in line) for line in lines if "†" in line[:200] and line.startswith("| ")]  # fmt: skip
    assert marked == list(MODELS[3:])
    assert "| PLE | 0.003 | 512 | 1e-05 | 0 | 0.7100 | 0.7000 | 3 |" in lines


def test_pictures_in_the_docs_are_those_that_are_drawn(planted, tmp_path):
    (tmp_path / "results.template").write_text("{{pictures planted}}\n")
    links = re.findall(r"\]\((\S+)\)", planted.results())
    assert len(links) == 4
    planted.draw("planted")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("pictures/**/*.*")} == set(links)  # fmt: skip


def test_every_link_between_pages_leads_somewhere():
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not link.startswith(("http", "mailto")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"(\S+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {page.name for page in DOCS.glob("*.md")}


def test_no_file_names_a_path_of_one_machine():
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    machine = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w")
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".csv", ".json", ".txt"}:
            found = machine.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{name}: {found and found[0]}"
