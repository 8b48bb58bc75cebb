"""Models of a user's own, named by their place: what is found, and what is refused in one line."""

import importlib
import re
import subprocess
import sys

import pytest

from isthmus import models
from isthmus.config import checked
from isthmus.errors import ConfigError
from isthmus.models import register
from isthmus.models.mlp import MLPRanker

OWN = """
from isthmus.models import register
from isthmus.models.mlp import MLPRanker

@register("own", paper="https://example.org")
class Own(MLPRanker):
    '''A ranker.'''

class Unregistered(Own):
    pass

def function(): pass
"""
AGAIN = OWN.replace("class Own", "class Again").replace("(Own)", "(Again)")


@pytest.fixture
def folder(own_models):
    (own_models / "mine.py").write_text(OWN, encoding="utf-8")
    importlib.invalidate_caches()
    return own_models


def test_a_model_is_found_by_its_place_and_then_by_its_name(folder):
    kind = models.get("mine:Own")
    assert issubclass(kind, MLPRanker)
    assert models.get("mine:Own") is kind
    assert models.get("own") is kind
    assert "own" in models.names()


def test_a_module_in_a_package_is_found(folder):
    (folder / "pack").mkdir()
    (folder / "pack" / "deep.py").write_text(OWN, encoding="utf-8")
    assert models.get("pack.deep:Own").__module__ == "pack.deep"


def test_the_library_s_own_models_are_found_by_place_too(folder):
    assert models.get("isthmus.models.mlp:MLPRanker") is MLPRanker


def test_an_installed_module_comes_before_one_of_the_same_name_here(folder):
    (folder / "json.py").write_text(OWN, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"json has no 'Own'"):
        models.get("json:Own")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("own", r"unknown model 'own'; known: .*mmoe.*\"my_module:MyRanker\""),
        ("absent:Own", r"model 'absent:Own': no module 'absent' is installed, or lies in .*Class"),
        ("absent.deep:Own", r"no module 'absent' is installed"),
        ("mine.deep:Own", r"no module 'mine.deep' is installed"),
        (":Own", r"model ':Own': .*cannot be imported"),
        ("mine:", r"mine has no ''; models that it registers: Own"),
        ("mine:Onw", r"mine has no 'Onw'; models that it registers: Own"),
        ("mine:function", r"is no model; expected a class derived from isthmus.models.Ranker"),
        ("mine:Unregistered", r"is not registered; put @register\(\"a_name\""),
    ],
)
def test_what_is_no_model_is_refused(folder, place, told):
    with pytest.raises(ConfigError, match=told):
        checked({"data": "", "model": place}, "run.toml")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import absent", "cannot be imported: No module named 'absent'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def (", "cannot be imported: SyntaxError"),
    ],
)
def test_a_module_that_breaks_is_named_with_its_reason(folder, code, told):
    (folder / "broken.py").write_text(code, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"model 'broken:Own': broken {told}"):
        models.get("broken:Own")


def test_a_mended_module_can_be_imported_after_all(folder):
    """What it had registered before it broke does not stand in its way."""
    place = folder / "mended.py"
    place.write_text(f"{OWN}\n1 / 0", encoding="utf-8")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        models.get("mended:Own")
    place.write_text(f"{OWN}\n# mended", encoding="utf-8")
    assert models.get("mended:Own").__module__ == "mended"


@pytest.mark.parametrize("name", ["own", "mmoe"])
def test_a_name_belongs_to_one_model(folder, name):
    models.get("mine:Own")
    text = AGAIN.replace('"own"', f'"{name}"')
    (folder / "other.py").write_text(text, encoding="utf-8")
    first = {"own": "mine:Own", "mmoe": "isthmus.models.mmoe:MMoE"}[name]
    told = f"model '{name}' is registered twice: by {first} and by other:Again; choose another name"
    with pytest.raises(ConfigError, match=re.escape(told)):
        models.get("other:Again")
    assert models.get(name).__name__ != "Again"


def test_a_class_defined_anew_takes_its_own_place(own_models):
    def define():
        @register("own", paper="https://example.org")
        class Own(MLPRanker):
            """A ranker."""

        return Own

    define()
    second = define()
    assert models.get("own") is second


def test_the_command_finds_a_module_beside_it(folder):
    """A console script's own folder is on the path, not the working directory."""
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p]; from isthmus.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "mine:Own"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mine:Own: A ranker." in done.stdout
