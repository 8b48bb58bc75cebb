"""Joint and isolated runs of planted sets; whoever guards takes a copy of the store."""

import shutil

import pytest

from isthmus.config import checked
from isthmus.data.prepared import Prepared
from isthmus.experiment import run
from isthmus.store import Run, Store
from tests.guarding.planted import RANKER, RETRIEVER, events, impressions


class Pair:
    """A joint run and an isolated one, in a store that others may write to."""

    def __init__(self, data, store, names):
        self.data, self.prepared, self.store = data, Prepared.open(data), store
        self.joint, self.isolated = (Run.open(store / name) for name in names)

    def copy(self, folder):
        store = folder / "runs"
        shutil.copytree(self.store, store)
        return Pair(self.data, store, (self.joint.name, self.isolated.name))


def trained(data, settings, folder):
    config = checked({"data": str(data), **settings}, "test")
    joint = run(config, Store(folder / "runs"))
    own = run(config.rival(config.share.isolated, "isolated"), Store(folder / "runs"))
    return Pair(data, folder / "runs", (joint.name, own.name))


@pytest.fixture(scope="session")
def opposed(tmp_path_factory):
    """Rankers: the domain "odd" is hurt."""
    folder = tmp_path_factory.mktemp("opposed")
    return trained(impressions(folder / "data"), RANKER, folder)


@pytest.fixture(scope="session")
def alike(tmp_path_factory):
    """Rankers: no domain is hurt."""
    folder = tmp_path_factory.mktemp("alike")
    data = impressions(folder / "data", {"books": 1, "games": 1, "tools": 1})
    return trained(data, RANKER, folder)


@pytest.fixture(scope="session")
def chained(tmp_path_factory):
    """Retrievers: the domain "chain" is hurt."""
    folder = tmp_path_factory.mktemp("chained")
    return trained(events(folder / "data"), RETRIEVER, folder)
