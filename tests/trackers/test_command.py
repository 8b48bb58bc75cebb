"""The page's own tracker, given on the command line and in the file."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "trackers.md"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A working directory with the page's example of a tracker of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (code,) = re.findall(r"```python\n(# my_module.py\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "my_module.py").write_text(code, encoding="utf-8")
    return tmp_path


def test_the_pages_tracker_is_told_by_the_command(page, data, config):
    given = config()
    (page / "run.toml").write_text(
        f'data = "{data}"\nmodel = "mlp"\n[settings]\nhidden = [8]\nembedding_dim = 4\n'
        '[train]\nbatch_size = 256\nmax_epochs = 2\n[track]\n"my_module:MyTracker" = true\n',
        encoding="utf-8",
    )
    done = CliRunner().invoke(app, ["train", "run.toml", "--track", "tensorboard:board"])
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if line.startswith(("settings", "finished"))]
    assert len(told) == 2
    assert "'train.lr': 0.001" in told[0]
    assert told[1].startswith("finished after 2 {'final valid/")
    assert list((page / "board").glob(f"*{given.model}*/events*"))
