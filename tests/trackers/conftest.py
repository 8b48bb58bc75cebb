"""Small planted data, and runs of it."""

import pytest

from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.sources import get


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    made = get("synthetic")(
        folder / "raw", rows=3000, domains=4, clusters=1, harmful_pairs=1, seed=3
    )
    return prepare(made, folder / "prepared").path


@pytest.fixture
def config(data):
    def make(**changes):
        values = {
            "data": str(data),
            "model": "mlp",
            "settings": {"hidden": [8], "embedding_dim": 4},
            "train": {"batch_size": 256, "max_epochs": 3, "patience": 9},
        }
        return checked({**values, **changes}, "test")

    return make


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.notes = []

    def task(self, label, total):
        from isthmus.progress import quiet

        return quiet.task(label, total)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def notes():
    return Notes()
