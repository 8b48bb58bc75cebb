"""A small data set, and benchmarks on it."""

import pytest

from isthmus.bench import BenchConfig
from isthmus.data.prepare import prepare
from isthmus.data.sources import get

GRID = {"lr": [1e-4, 1e-3, 1e-2], "batch_size": [256, 512], "embedding_l2": [0.0, 1e-5]}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Planted clusters of domains, 4,000 rows."""
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=4000, domains=12, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


@pytest.fixture
def small(data):
    """Two entries that train in a second each, with a search of four trials."""

    def make(**changes):
        values = {
            "name": "small",
            "data": str(data),
            "seeds": [0, 1],
            "workers": 1,
            "train": {"lr": 1e-3, "batch_size": 512, "max_epochs": 2},
            "entries": [entry("a"), entry("b", train={"lr": 3e-3})],
            "tune": {"trials": 4, "max_epochs": 1, "rows": 600, "grid": GRID},
        }
        return BenchConfig.model_validate({**values, **changes})

    return make


def entry(label, **changes):
    settings = {"hidden": [8], "embedding_dim": 4}
    return {"label": label, "model": "mlp", "settings": settings, **changes}
