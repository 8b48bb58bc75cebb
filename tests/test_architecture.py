"""Who may import whom, read from the source itself."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "isthmus"
# Lowest first; a module may import its own layer and those below, and evaluation from training on.
# A row beside it: evaluation, diagnosis and report rest on schema and errors alone.
LAYERS = [
    {"schema", "errors", "progress", "files", "toml"},
    {"device"},
    {"batch", "distributed", "meeting"},
    {"data", "nn", "optim"},
    {"models", "testing"},
    {"training", "inference", "evaluation", "reference"},
]
# The store reads and writes tables; tensors it hands to training, when it is asked for some.
BESIDE = {
    "evaluation": set(),
    "diagnosis": {"evaluation"},
    "report": {"evaluation", "diagnosis"},
    "store": {"evaluation", "training"},
}
BASE = {"schema", "errors", "progress", "files", "toml"}
WITHOUT_TORCH = (
    "evaluation",
    "diagnosis",
    "report",
    "store",
    "service/events",
    "schema.py",
    "errors.py",
    "progress.py",
    "files.py",
)
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Absolute names of all modules that a file imports anywhere, but for type checking."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def part(file: Path) -> str:
    """The layer's name for a file: its folder under the package, or its own name."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def own_parts(file: Path) -> set[str]:
    """The parts of the package that a file imports."""
    parts = {name.split(".")[1] for name in imported(file) if name.startswith("isthmus.")}
    return {p for p in parts if (SOURCE / p).is_dir() or (SOURCE / f"{p}.py").exists()}


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_go_down_the_layers(file):
    here, used = part(file), own_parts(file)
    for number, layer in enumerate(LAYERS):
        if here in layer:
            allowed = set().union(*LAYERS[: number + 1])
            assert used <= allowed, f"{here} may not import {sorted(used - allowed)}"
    if here in BESIDE:
        allowed = BASE | BESIDE[here] | {here}
        assert used <= allowed, f"{here} may not import {sorted(used - allowed)}"


def test_every_layer_named_here_exists():
    parts = {part(file) for file in MODULES}
    named = set().union(*LAYERS, BESIDE)
    assert named <= parts


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_tables_are_judged_without_torch(name):
    files = sorted((SOURCE / name).rglob("*.py")) if (SOURCE / name).is_dir() else [SOURCE / name]
    assert files
    for file in files:
        torches = {module for module in imported(file) if module.split(".")[0] == "torch"}
        assert not torches, f"{file.relative_to(SOURCE)} imports {torches}"


def test_only_one_place_takes_gradients():
    takers = set()
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(
                (".backward", "autograd.grad")
            ):
                takers.add(str(file.relative_to(SOURCE)))
    assert takers == {"optim.py"}


def test_the_loop_names_no_model():
    """Nor do inference, the optimisers and what all models share."""
    models = {file.stem for file in (SOURCE / "models").glob("*.py")} - {"__init__", "base"}
    shared = ["training/fit.py", "inference.py", "optim.py", "models/__init__.py", "models/base.py"]
    for file in map(SOURCE.joinpath, shared):
        named = {
            name.split(".")[2] for name in imported(file) if name.startswith("isthmus.models.")
        }
        assert not named & models, file


def test_importing_touches_nothing(tmp_path):
    """No file is written, nothing is printed, no seed is set, and evaluation loads no torch."""
    code = (
        "import sys\n"
        "import isthmus, isthmus.evaluation, isthmus.schema, isthmus.errors, isthmus.store\n"
        "assert 'torch' not in sys.modules, 'torch came along'\n"
        "import torch; seed = torch.initial_seed(); threads = torch.get_num_threads()\n"
        "import isthmus.models, isthmus.training.fit, isthmus.inference, isthmus.testing\n"
        "isthmus.models.names()\n"
        "assert torch.initial_seed() == seed\n"
        "assert torch.get_num_threads() == threads\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
