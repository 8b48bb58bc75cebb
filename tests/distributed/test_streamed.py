"""Two processes train on one stream, each on its part of each batch; one is killed within an epoch."""

from pathlib import Path

import pytest

from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from tests.data.grouped import regrouped
from tests.distributed.launch import trained
from tests.reliability.small_loop import contents
from tests.reliability.small_run import config


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_and_started_again_ends_the_same(tmp_path: Path) -> None:
    made = get("synthetic")(tmp_path / "raw", rows=1300, domains=4, clusters=2, seed=3)
    data = regrouped(prepare(made, tmp_path / "whole").path, tmp_path / "grouped", 60)
    how = config(data).model_dump(mode="json", exclude_defaults=True)
    runs = {"runs": [["small", how]]}
    kill = {"rank": 1, "step": 11, "once": str(tmp_path / "once")}
    assert trained(2, tmp_path / "straight", runs) == 0
    assert trained(2, tmp_path / "killed", {**runs, "kill": kill}) != 0
    assert (tmp_path / "once").exists()
    assert trained(2, tmp_path / "killed", runs) == 0
    found, expected = (contents(tmp_path / name) for name in ("killed", "straight"))
    assert found == expected
    log = (tmp_path / "killed" / "small" / "log.jsonl").read_text()
    assert "epoch-0000-step-00000008" in log
