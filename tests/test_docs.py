"""Generated pages are up to date, links lead somewhere, and nothing names a machine."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "models.md", "results.md"])
def test_generated_pages_are_up_to_date(page):
    made = generator().PAGES[page]()
    assert (DOCS / page).read_text(encoding="utf-8") == made, "run: python docs/generate.py"


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
