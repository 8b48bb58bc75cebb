"""Event files, read back by TensorBoard's own reader and compared with the run's log."""

import json
import warnings

import pytest

from isthmus.experiment import run
from isthmus.store import Store

pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")


def read(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorBoard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
    return events


def scalars(events):
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def logged(kept):
    lines = (kept.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return {e["epoch"]: e for e in map(json.loads, lines) if "epoch" in e}


def expected(kept):
    """What is to be there, from the log and the metrics of the run."""
    found = {}
    for epoch, entry in logged(kept).items():
        figures = {f"loss/{name}": value for name, value in entry["losses"].items()}
        figures[f"valid/{kept.config['train']['metric']}"] = entry["score"]
        for what, of in entry.get("told", {}).items():
            figures |= {f"{what}/{name}": value for name, value in of.items()}
        for name, value in figures.items():
            found.setdefault(name, []).append((epoch, pytest.approx(value, abs=1e-6)))
    return found


def test_the_events_are_those_of_the_log(config, tmp_path):
    search = {"warmup_steps": 2, "first": 2, "every": 3, "batch_size": 32, "updates": 1}
    aread = {"bottom_hidden": [4], "experts": [2, 3], "expert_hidden": [[4], [4]], "search": search}
    given = config(model="aread", settings=aread, track={"tensorboard": True})
    kept = run(given, Store(tmp_path))
    events = read(kept.path / "tensorboard")
    found = scalars(events)
    assert {t: v for t, v in found.items() if not t.startswith("final ")} == expected(kept)
    assert any("mask edges" in tag for tag in found)
    test = kept.metrics["test"]
    assert found["final test/auc"] == [(3, pytest.approx(test.overall.auc.value, abs=1e-6))]
    by_domain = {
        t.rpartition("/")[2]: v
        for t, v in found.items()
        if t.startswith("final test by domain/auc/")
    }
    assert by_domain == {
        name: [(3, pytest.approx(one.auc.value, abs=1e-6))]
        for name, one in test.by_domain.items()
        if one.auc is not None
    }
    (text,) = events.Tensors("settings/text_summary")
    assert "| settings.search.every | 3 |" in text.tensor_proto.string_val[0].decode()


class Kill(Exception):
    pass


def test_a_resumed_run_goes_on_in_its_steps(config, tmp_path):
    whole = run(config(track={"tensorboard": True}), Store(tmp_path / "whole"))
    given = config(track={"tensorboard": str(tmp_path / "board")})

    def killed(state):
        if state.epochs == 2:
            raise Kill

    with pytest.raises(Kill):
        run(given, Store(tmp_path / "cut"), on_epoch=killed)
    assert [step for step, _ in scalars(read(tmp_path / "board" / whole.name))["loss/bce"]] == [
        1,
        2,
    ]
    kept = run(given, Store(tmp_path / "cut"))
    assert kept.name == whole.name
    again, uncut = (
        scalars(read(f)) for f in (tmp_path / "board" / kept.name, whole.path / "tensorboard")
    )
    assert again == uncut
    assert [step for step, _ in again["loss/bce"]] == [1, 2, 3]


def test_an_epoch_that_was_told_before_is_told_once(tmp_path):
    from isthmus.trackers import Tracked, get

    kind, told = get("tensorboard"), Tracked("a", tmp_path, "data", {"lr": 0.1})
    for first in (1, 2):
        tracker = kind(told)
        for epoch in range(first, first + 3):
            tracker.on_epoch(epoch, {"loss/bce": float(epoch)})
        tracker.close()
    assert scalars(read(tmp_path / "tensorboard")) == {
        "loss/bce": [(epoch, float(epoch)) for epoch in (1, 2, 3, 4)]
    }
