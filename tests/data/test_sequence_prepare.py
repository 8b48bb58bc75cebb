"""Events to sequences: order, split, vocabulary and filters against plain loops; no leak."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from isthmus.data.config import checked_config, read_config
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Manifest, Prepared
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.sources import get
from isthmus.errors import ConfigError, DataError, IntegrityError
from tests.data.events import config, events, plain, plain_rows, written


def made(tmp_path, table, name="out", **changes):
    file = written(table, tmp_path / f"{name}.parquet")
    return prepare(config(file, **changes), tmp_path / name)


def rows_of(found, split):
    """The histories of a split as plain lists."""
    h = found.histories(split)
    items = [[i for i in row if i] for row in h.items.tolist()]
    return list(zip(items, h.target.tolist(), h.domain.tolist(), strict=True))


@pytest.mark.parametrize("min_count", [1, 4])
def test_leave_one_out_is_what_a_plain_loop_makes(tmp_path, min_count):
    table = events()
    found, truth = made(tmp_path, table, min_count=min_count), plain(table, min_count=min_count)
    assert found.schema.domains == tuple(truth["domains"])
    assert found.values("item").to_pylist() == truth["items"]
    assert found.schema.items == len(truth["items"]) + 1
    for split in ("train", "valid", "test"):
        assert rows_of(found, split) == plain_rows(truth, split, 7)
    assert any(target == 0 for _, target, _ in rows_of(found, "train")) == (min_count > 1)


def test_a_split_by_time_is_what_a_plain_loop_makes(tmp_path):
    table = events()
    found = made(tmp_path, table, split={"by": "time"})
    times = np.sort(table["at"].to_numpy())
    starts = [int(found.table(split)["time"].min()) for split in ("valid", "test")]
    for start, share in zip(starts, (0.8, 0.9), strict=True):
        assert abs((times < start).mean() - share) < 0.01
    truth = plain(table, cuts=tuple(starts))
    for split in ("train", "valid", "test"):
        assert rows_of(found, split) == plain_rows(truth, split, 7)


def test_the_items_of_a_domain_are_a_slice(tmp_path):
    found = made(tmp_path, events())
    domain_I = found.item_domains()
    assert len(domain_I) == found.schema.items
    assert domain_I[0] == 0
    for d, name in enumerate(found.schema.domains, 1):
        ids = np.arange(found.schema.items)[found.schema.items_of(d)]
        assert (domain_I[ids] == d).all()
        assert len(ids) == (domain_I == d).sum()
        values = [found.values("item")[int(i) - 1].as_py() for i in ids]
        assert {f"s{int(v) % 3}" for v in values} == {name}
    h = found.histories("train")
    assert (torch.from_numpy(domain_I)[h.items] == h.domains).all()
    assert (torch.from_numpy(domain_I)[h.target] == h.domain).all()


def test_rows_in_another_order_or_in_two_files_give_the_same_bytes(tmp_path):
    table = events()
    first = made(tmp_path, table)
    shuffled = table.take(pa.array(np.random.default_rng(5).permutation(len(table))))
    second = made(tmp_path, shuffled, "other")
    parts = [written(shuffled.slice(0, 200), tmp_path / "a.parquet"), written(shuffled.slice(200), tmp_path / "b.parquet")]  # fmt: skip
    third = prepare(config(tmp_path, files=tuple(map(str, parts))), tmp_path / "third")
    for name in ("events.parquet", "vocabulary/item.parquet"):
        same = {(one.path / name).read_bytes() for one in (first, second, third)}
        assert len(same) == 1, name


def test_what_is_held_out_teaches_nothing(tmp_path):
    """With other items in the held-out events the vocabulary and all of training stay the same."""
    table = events()
    truth = plain(table)
    changed = []
    held = {
        (w, e[0], e[1]) for w, own in truth["sequences"].items() for e in own if e[3] != "train"
    }
    kept = {
        (w, e[0], e[1]) for w, own in truth["sequences"].items() for e in own if e[3] == "train"
    }
    latest = max(table["at"].to_pylist())
    for n, row in enumerate(table.to_pylist()):
        key = (str(row["who"]), row["at"], str(row["what"]))
        if key in held and key not in kept:  # an item nobody ever had, and later than anything
            row = {**row, "what": 1000 + n, "at": latest + row["at"]}
        changed.append(row)
    before, after = made(tmp_path, table), made(tmp_path, pa.Table.from_pylist(changed), "other")
    name = "vocabulary/item.parquet"
    assert (before.path / name).read_bytes() == (after.path / name).read_bytes()
    assert rows_of(before, "train") == rows_of(after, "train")
    assert rows_of(before, "test") != rows_of(after, "test")
    cold = [row for row in rows_of(after, "test") if row[1] == 0]
    assert len(cold) > 30
    assert all(domain > 0 for _, _, domain in cold)  # the domain of an unknown item is known


def test_no_history_holds_its_target_or_what_came_later(tmp_path):
    found = made(tmp_path, events(), length=100)
    s = found.sequences
    for split in range(3):
        places = s.chosen(split)
        windows = s.windows(places, 100)
        for n, place in enumerate(places):
            first = np.searchsorted(s.user, s.user[place])
            expected = [i for i in s.item[first:place].tolist() if i]
            assert [i for i in windows[n : n + 1].items[0].tolist() if i] == expected
            assert (s.time[first:place] <= s.time[place]).all()
            assert (s.split[first:place] <= s.split[place]).all()


def test_windows_train_every_event_once(tmp_path):
    """With a stride of the length each event but a user's first is predicted once, in order."""
    found = made(tmp_path, events(900))
    windows = found.windows("train", stride=7, least=1)
    pairs = []
    for h in (windows[n : n + 1] for n in range(len(windows))):
        chain = [*h.items[0].tolist(), int(h.target[0])]
        pairs += [pair for pair in pairwise(chain) if pair[0]]
    s = found.sequences
    expected = []
    for user in np.unique(s.user):
        own = s.item[(s.user == user) & (s.split == 0)].tolist()
        expected += pairwise(own)
    assert sorted(pairs) == sorted(expected)


def test_a_batch_of_windows_is_those_rows(tmp_path):
    windows = made(tmp_path, events()).windows("train")
    whole = windows[:]
    rows = torch.tensor([3, 0, 11])
    for name in ("items", "domains", "target", "domain"):
        assert torch.equal(getattr(windows[rows], name), getattr(whole, name)[rows])
        assert torch.equal(getattr(windows.take(rows)[:], name), getattr(whole, name)[rows])
    assert len(windows) == len(whole)


def test_repeats_are_those_of_the_whole_past(tmp_path):
    found, table = made(tmp_path, events(), length=2), events()
    truth = plain(table)["sequences"]
    expected = [own[-1][1] in {e[1] for e in own[:-1]} for own in truth.values() if len(own) >= 3]
    assert found.table("test")["repeat"].tolist() == expected
    assert 0 < sum(expected) < len(expected)


def counts(table, key):
    found = table.group_by(key).aggregate([([], "count_all")])
    return dict(zip(found[key].to_pylist(), found["count_all"].to_pylist(), strict=True))


@pytest.mark.parametrize("core", [False, True])
def test_filters_once_or_to_the_end(tmp_path, core):
    table = events(420, users=60, items=90)
    rules = [("what", 4), ("who", 4)]
    left, before = table, -1
    while len(left) != before:
        before = len(left)
        for key, least in rules:
            enough = [v for v, n in counts(left, key).items() if n >= least]
            left = left.filter(pc.is_in(left[key], pa.array(enough)))
        if not core:
            break
    found = made(tmp_path, table, min_item_events=4, min_user_events=4, core=core)
    assert sum(c.rows for s in found.manifest.splits.values() for c in s.values()) == len(left)
    assert len(left) < len(table)
    assert (min(counts(left, "what").values()) >= 4) == core  # or the case shows nothing


def test_small_domains_are_unknown(tmp_path):
    table = events()
    sizes = counts(table, "shop")
    smallest = min(sizes, key=sizes.get)
    train = [e for own in plain(table)["sequences"].values() for e in own if e[3] == "train"]
    in_train = sum(e[2] == smallest for e in train)
    found = made(tmp_path, table, min_domain_rows=in_train + 1)
    assert smallest not in found.schema.domains
    assert found.manifest.splits["train"]["<unknown>"].rows == in_train
    h = found.histories("test")
    assert (h.domain == 0).any()
    assert (h.target[h.domain == 0] == 0).all()


def test_users_of_one_or_two_events_train_only(tmp_path):
    rows = [("a", 1, 0), ("b", 1, 1), ("b", 2, 2), ("c", 1, 0), ("c", 2, 1), ("c", 3, 2)]
    table = pa.table({"who": [r[0] for r in rows], "what": [r[1] for r in rows], "at": [r[2] for r in rows], "shop": ["s"] * 6})  # fmt: skip
    found = made(tmp_path, table)
    assert {k: sum(c.rows for c in v.values()) for k, v in found.manifest.splits.items()} == {"train": 4, "valid": 1, "test": 1}  # fmt: skip
    h = found.histories("test")
    assert [found.values("item")[int(i) - 1].as_py() for i in h.items[0][-2:]] == ["1", "2"]
    assert h.target.tolist() == [0]  # item 3 was never trained on
    assert len(found.windows("train", least=1)) == 1  # b's second event alone has a history


def test_an_item_of_two_domains_is_refused_or_parted(tmp_path):
    table = events()
    shops = table["shop"].to_pylist()
    shops[0] = "elsewhere"
    table = table.set_column(2, "shop", pa.array(shops))
    with pytest.raises(DataError, match=r"more than one domain.*items_by_domain"):
        made(tmp_path, table)
    found = made(tmp_path, table, items_by_domain=True)
    assert all("/" in value for value in found.values("item").to_pylist())


def test_manifest_round_trip_and_damage(tmp_path):
    found = made(tmp_path, events(), split={"by": "time", "fractions": (0.7, 0.1, 0.2)})
    again = Prepared.open(found.path)
    assert again.manifest == Manifest.model_validate_json(found.manifest.to_json())
    assert isinstance(again.manifest.config, SequenceConfig)
    assert again.of_events
    with (found.path / "events.parquet").open("r+b") as file:
        file.seek(60)
        byte = file.read(1)
        file.seek(60)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError, match=r"events\.parquet"):
        Prepared.open(found.path)


def test_the_two_kinds_of_data_are_told_apart(tmp_path):
    found = made(tmp_path, events())
    for use in (found.impressions, found.encode):
        with pytest.raises(DataError, match="holds sequences of events"):
            use("test")
    ranker = prepare(get("bundled")(tmp_path / "raw"), tmp_path / "ranker")
    with pytest.raises(DataError, match='task = "next_item"'):
        ranker.histories("test")


def test_toml_says_which_kind(tmp_path):
    file = tmp_path / "p.toml"
    columns = 'columns = {user = "who", item = "what", domain = "shop", time = "at"}\n'
    written(events(), tmp_path / "e.parquet")
    file.write_text(f'task = "next_item"\nname = "x"\nfiles = "e.parquet"\n{columns}')
    assert len(prepare(read_config(file), tmp_path / "out").histories("test")) > 20
    with pytest.raises(ConfigError, match="task"):
        checked_config({"task": "next_thing", "name": "x", "files": ["a"]}, "here")
    with pytest.raises(ConfigError, match="fractions belong"):
        checked_config(
            {**read_config(file).model_dump(), "split": {"fractions": [0.5, 0.2, 0.3]}}, "here"
        )


def test_nothing_to_train_on_is_said(tmp_path):
    with pytest.raises(DataError, match="lower min_count"):
        made(tmp_path, events(), min_count=10_000)
    with pytest.raises(DataError, match="no event is left"):
        made(tmp_path, events(), min_item_events=10_000)


def test_the_bundled_events(tmp_path):
    found = prepare(get("bundled_seq")(tmp_path / "raw"), tmp_path / "out")
    assert len(found.schema.domains) == 8
    assert found.schema.items == 1701
    assert sum(c.rows for s in found.manifest.splits.values() for c in s.values()) == 69_538
    assert len(found.histories("test")) == len(found.histories("valid")) == 300
    assert "simulated" in found.manifest.source


def test_complete_journey_is_built_from_the_packages_tables(tmp_path):
    """Purchases join their products; a product without a department is left out."""
    products = pa.table({"product_id": [1, 2, 3], "department": ["A", "B", None]})
    seconds = pa.array([10, 20, 30, 40, 50], pa.timestamp("s"))
    bought = {"household_id": [7, 7, 7, 7, 7], "product_id": [1, 2, 3, 1, 2]}
    pq.write_table(products, tmp_path / "products.parquet")
    pq.write_table(
        pa.table({**bought, "transaction_timestamp": seconds}), tmp_path / "transactions.parquet"
    )
    wanted = get("complete_journey_seq")(tmp_path / "made", raw=tmp_path)
    rows = pq.read_table(wanted.files[0]).to_pylist()
    assert [(r["item_id"], r["domain"], r["timestamp"]) for r in rows] == [
        (1, "A", 10),
        (2, "B", 20),
        (1, "A", 40),
        (2, "B", 50),
    ]


def test_amazon_leaves_rare_items_out(tmp_path):
    table = pa.table(
        {
            "user_id": [f"u{k}" for k in range(6)],
            "item_id": ["a"] * 5 + ["b"],
            "domain": ["Food"] * 6,
            "timestamp": list(range(6)),
        }
    )
    file = written(table, tmp_path / "amazon.parquet")
    found = prepare(get("amazon4_abxi")(tmp_path / "made", table=file), tmp_path / "out")
    assert found.values("item").to_pylist() == ["a"]
    with pytest.raises(DataError, match="no column 'domain'"):
        get("amazon4_abxi")(tmp_path / "x", table=written(table.drop(["domain"]), tmp_path / "no.parquet"))  # fmt: skip
