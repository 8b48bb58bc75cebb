"""The data guide: its example runs, and its table names every key."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import BaseModel

from isthmus.data import leaks
from isthmus.data import prepare as prepare_module
from isthmus.data.config import Columns, FeatureConfig, PrepareConfig, Split
from tests.data.raw import raw, write

GUIDE = Path(__file__).parents[2] / "docs" / "data-guide.md"


def code(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = raw()
    names = {"user": "customer", "item": "sku", "shop": "category", "at": "shown_at"}
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    table = table.append_column("device", pa.array(["phone", "desk"] * 200))
    (tmp_path / "raw").mkdir()
    write(table, tmp_path / "raw" / "one.parquet")
    (tmp_path / "shop.toml").write_text(code("toml"))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(code("python"), scope)
    rows, columns = scope["train"].features.shape  # type: ignore[attr-defined]
    assert (columns, abs(rows - 320) < 5) == (9, True)
    assert "north" in capsys.readouterr().out


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    return {prefix + name for name in model.model_fields}


def test_every_key_is_in_the_table() -> None:
    known = keys(PrepareConfig) - {"columns", "split", "features"}
    known |= keys(Columns, "columns.") | keys(Split, "split.") | keys(FeatureConfig, "features.")
    section = GUIDE.read_text("utf-8").split("## Every key")[1].split("\n## ")[0]
    named = set()
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        first, *others = re.findall(r"`([\w.]+)`", row)
        named.add(first)
        group = first.split(".")[0]
        named |= {group + other if other.startswith(".") else other for other in others}
    assert named == known


def test_every_finding_is_in_the_table() -> None:
    text = "".join(Path(str(module.__file__)).read_text() for module in (leaks, prepare_module))
    made = set(re.findall(r'"?code"?[=:] ?"([a-z-]+)"', text))
    section = GUIDE.read_text("utf-8").split("## The audit")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == made
