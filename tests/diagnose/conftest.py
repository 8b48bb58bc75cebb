"""A shop of three domains with planted faults, and runs on it."""

import pytest

from isthmus.config import checked
from isthmus.data.config import read_config
from isthmus.data.prepare import prepare
from isthmus.experiment import run
from isthmus.store import Store
from tests.shop import DOMAINS, preparation, visits, write

FLAG = """
[[features]]
name = "flag"
"""


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """Prepared rows: in games the flag all but tells the label, and late rows have new items;
    an item is written in two ways."""
    folder = tmp_path_factory.mktemp("shop")
    lines = ["who,what,where,when,liked,flag"]
    for i, user, item, domain, liked in visits(6000, items=40):
        name = f"i{item}"
        if domain == 1 and i > 5000:
            name = f"new{i % 300}"
        if item == 5 and i % 80 > 40:
            name = "I5 "
        flag = liked if domain == 1 and i % 50 else i // 3 % 2
        lines.append(f"u{user},{name},{DOMAINS[domain]},{i * 60},{liked},f{flag}")
    toml = write(folder, lines, preparation(extra=FLAG))
    return prepare(read_config(toml), folder / "prepared" / "shop")


def trained(shop, store, **values):
    settings = {"train": {"batch_size": 256, "max_epochs": 1}, **values}
    return run(checked({"data": str(shop.path), **settings}, "test"), store)


@pytest.fixture(scope="session")
def runs(shop, tmp_path_factory):
    """Two seeds of an MMoE, one isolated MLP and an AREAD, by name."""
    store = Store(tmp_path_factory.mktemp("runs"))
    small = {"embedding_dim": 4}
    gated = {**small, "num_experts": 3, "expert_hidden": [8], "tower_hidden": [4]}
    masked = {
        **small,
        "bottom_experts": 2,
        "bottom_hidden": [8],
        "experts": [2, 3],
        "augment": False,
    }
    search = {
        "warmup_steps": 2,
        "first": 4,
        "every": 4,
        "candidates": 2,
        "updates": 1,
        "scorings": 1,
    }
    return {
        "mmoe-0": trained(shop, store, model="mmoe", settings=gated, seed=0),
        "mmoe-1": trained(shop, store, model="mmoe", settings=gated, seed=1),
        "isolated": trained(
            shop,
            store,
            model="mlp",
            scope="isolated",
            settings={**small, "hidden": [8]},
            share={"workers": 1},
        ),
        "aread": trained(
            shop,
            store,
            model="aread",
            settings={**masked, "search": search},
            train={"batch_size": 256, "max_epochs": 3, "patience": 3},
        ),
    }
