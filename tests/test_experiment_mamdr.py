"""scope = "mamdr": stored, interrupted, loaded and refused like any other run."""

import numpy as np
import pytest

from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError
from isthmus.experiment import load_model, run
from isthmus.inference import probabilities
from isthmus.models.mamdr import Mamdr
from isthmus.progress import quiet
from isthmus.sharing import title
from isthmus.store import Store
from tests.test_experiment import contents


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=3000, domains=4, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


def config(data, **changes):
    values = {
        "data": str(data),
        "model": "mlp",
        "scope": "mamdr",
        "settings": {"hidden": [16, 8], "embedding_dim": 8},
        "train": {"batch_size": 256, "max_epochs": 3, "patience": 9},
        "mamdr": {"helpers": 2, "helper_batches": 3},
    }
    return checked({**values, **changes}, "test")


class Interrupted(type(quiet)):
    """Ends the run as Ctrl-C would, once the first epoch is kept."""

    def note(self, text):
        if "epoch 1" in text:
            raise KeyboardInterrupt


def test_a_run_is_stored_and_loaded_and_goes_on_where_it_was_interrupted(data, tmp_path):
    whole = run(config(data), Store(tmp_path / "whole"))
    store = Store(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run(config(data), store, reporter=Interrupted())
    assert contents(run(config(data), store).path) == contents(whole.path)
    model = load_model(whole)
    assert isinstance(model, Mamdr)
    assert model.how.helpers == 2
    scores = probabilities(model, Prepared.open(data).impressions("test"))
    np.testing.assert_array_equal(scores, whole.predictions("test").score)
    assert "-mlp-mamdr-s0-" in whole.name
    assert title(whole) == "mamdr mlp"


def test_its_settings_are_part_of_its_identity_and_of_no_other_run(data):
    assert config(data).identity()["mamdr"]["helper_batches"] == 3
    assert config(data).identity() != config(data, mamdr={}).identity()
    joint = config(data, scope="joint", mamdr={}).identity()
    assert set(joint) == {"model", "scope", "seed", "settings", "train"}


def test_what_makes_no_sense_is_refused(data):
    with pytest.raises(ConfigError, match="'aread' says itself what an epoch"):
        config(data, model="aread", settings={})
    with pytest.raises(ConfigError, match="'mamdr' has no effect under scope 'joint'"):
        config(data, scope="joint")
    with pytest.raises(ConfigError, match=r"mamdr\.helpr"):
        config(data, mamdr={"helpr": 2})
