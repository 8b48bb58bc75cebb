"""Several processes train what one does; what was killed goes on; any number of them goes on.

All in float64: there sums in another order differ by 1e-15 of a figure, and steps of Adam, which
divide by the root of the mean square, by 1e-9 of a weight at most. In float32 the same differences
are 1e-7, and a near tie of two candidate masks may turn over: no bound could be given for AREAD.
"""

import shutil

import pytest
import torch

from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.store import Store
from isthmus.training import checkpoint
from tests.data.events import config as sequence_config
from tests.data.events import events, written
from tests.distributed import worker
from tests.distributed.launch import trained

AREAD = {
    "bottom_hidden": [8],
    "bottom_experts": 2,
    "experts": [2, 3],
    "expert_hidden": [[4], [4]],
    "embedding_dim": 4,
    "dropout": 0.0,
    "augment_weight": 0.5,
    "search": {"warmup_steps": 5, "first": 0, "every": 5, "batch_size": 32, "candidates": 3},
}
MMOE = {"expert_hidden": [8], "tower_hidden": [4], "embedding_dim": 4, "dropout": 0.0}
SEQUENCE = {"embedding_dim": 8, "layers": 1, "dropout": 0.0}
SETTINGS = {
    "aread": AREAD,
    "mmoe": MMOE,
    "star": {"hidden": [8], "embedding_dim": 4, "dropout": 0.0},
    "sasrec": {**SEQUENCE, "loss": "sampled_softmax", "negatives": 16, "negative_power": 0.5},
    "syncrec": {**SEQUENCE, "num_experts": 3, "correction_gradient": True},
    "markov": {},
}
SIZES = {"mmoe": 373, "sasrec": 18, "syncrec": 18}
"""Of 1,120 rows, by 97, 53 are left for the last batch of an epoch, and by 373 a single one; of 128
windows 2."""
DROPOUT = {**AREAD, "dropout": 0.3}
KILLED = "killed"


def config(data, model, **changes):
    of_items = model in ("sasrec", "syncrec", "markov")
    train = {"batch_size": SIZES.get(model, 97), "max_epochs": 2, "clip": 1.0}
    return {
        "data": str(data["histories" if of_items else "rows"]),
        "model": model,
        "settings": SETTINGS[model],
        "train": train,
        **changes,
    }


def killed(data, **more):
    """A run of three epochs in which much is drawn at random."""
    train = {"batch_size": 97, "max_epochs": 3, "patience": 9, **more}
    return config(data, "aread", settings=DROPOUT, train=train)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=1400, domains=4, clusters=2, seed=3)
    rows = prepare(made, folder / "rows").path
    file = written(events(900, users=60), folder / "e.parquet")
    return {
        "rows": rows,
        "histories": prepare(sequence_config(file, min_count=3), folder / "histories").path,
    }


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """What one process trains, in float64 as the others do."""
    store = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        functional = worker.functional
        name = "binary_cross_entropy_with_logits"
        patch.setattr(functional, name, getattr(functional, name))  # is put back
        before = torch.get_default_dtype()
        try:
            worker.main({"runs": [(model, config(data, model)) for model in SETTINGS]}, store)
        finally:
            torch.set_default_dtype(before)
    return Store(store)


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """What two processes train, among it the run that nobody kills."""
    store = tmp_path_factory.mktemp("two") / "runs"
    runs = [(model, config(data, model)) for model in SETTINGS]
    assert trained(2, store, {"runs": [*runs, (KILLED, killed(data))]}) == 0
    return Store(store)


def assert_same(one, other, *, within=0.0):
    assert one.manifest.scores == pytest.approx(other.manifest.scores, abs=within)
    for mine, theirs in zip(one.manifest.losses, other.manifest.losses, strict=True):
        assert mine == pytest.approx(theirs, abs=within)
    weights, expected = one.model_state(), other.model_state()
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=within, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("model", SETTINGS)
def test_two_processes_train_what_one_does(alone, two, model):
    one, other = alone.run(model), two.run(model)
    assert one.config == other.config
    assert one.model_state(), "there is something to compare"
    assert_same(other, one, within=1e-8)


@pytest.mark.slow
def test_masks_are_found_by_both(two, data):
    """And each had domains to search: masks of all four differ from the whole."""
    state = two.run("aread").model_state()
    assert bool(state["hierarchy.searched"])
    assert not any(bool(mask.all()) for mask in state["hierarchy.mask_0"][1:])


@pytest.mark.slow
def test_who_is_killed_is_started_again_and_all_ends_the_same(data, two, tmp_path):
    """SIGKILL in the middle of the second epoch, of the first process as of the other.

    They go on from the end of the first epoch, or from where they were in the second.
    """
    for rank, more in enumerate(({}, {"checkpoint_every": 5})):
        once = tmp_path / f"{rank} was killed"
        tasks = {
            "runs": [(KILLED, killed(data, **more))],
            "kill": {"rank": rank, "step": 23, "once": str(once)},
        }
        assert trained(2, tmp_path / f"runs{rank}", tasks, restarts=3) == 0
        assert once.exists()
        again = Store(tmp_path / f"runs{rank}").run(KILLED)
        assert_same(again, two.run(KILLED))
        epochs = [entry["epoch"] for entry in again.entries() if "epoch" in entry]
        assert epochs == [1, 2, 3], "and nothing before the last checkpoint was trained again"


@pytest.mark.slow
def test_what_two_began_one_and_three_go_on_with(data, alone, tmp_path):
    runs = {"runs": [("aread", config(data, "aread"))]}
    once = tmp_path / "was killed"
    killing = {**runs, "kill": {"rank": 1, "step": 23, "once": str(once)}}
    begun = tmp_path / "begun"
    assert trained(2, begun, killing) != 0
    assert list(checkpoint.checkpoints(begun / "aread" / "checkpoints")) == [1]
    for processes in (1, 3):
        folder = tmp_path / f"{processes} went on"
        shutil.copytree(begun, folder)
        assert trained(processes, folder, runs) == 0
        ended = Store(folder).run("aread")
        assert [entry["epoch"] for entry in ended.entries() if "epoch" in entry] == [1, 2]
        assert_same(ended, alone.run("aread"), within=1e-8)
