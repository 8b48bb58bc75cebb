"""Ali-CCP, on rows in the published two-file format, against a slow loop."""

import gzip
import random
from collections import Counter

import pyarrow.parquet as pq
import pytest

from isthmus.data.sources.aliccp import aliccp, choose_domains
from isthmus.errors import ConfigError, DataError

USER_FIELDS = (
    "101", "121", "122", "124", "125", "126", "127", "128", "129", "109_14", "110_14", "127_14",
    "150_14",
)  # fmt: skip
ITEM_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
NAMES = {"101": "userid", "205": "itemid", "206": "domain"}


def features(pairs):
    return "\x01".join(f"{field}\x02{value}\x031.0" for field, value in pairs)


def write(folder, part, rng, rows, first=1):
    """One part of the data; returns its rows as dictionaries of the last value of each field."""
    expected, common, skeleton = [], {}, []
    for number in range(first, first + rows):
        user = min(int(rng.paretovariate(0.7)), 60)
        index = f"{part}{user:032x}"
        if index not in common:
            pairs = [(f, f"{f}u{user}") for f in USER_FIELDS if f not in ("128", "150_14")]
            pairs += [("150_14", f"b{k}") for k in range(rng.randint(0, 3))]  # several values
            pairs += [("1150_14", "trap"), ("121_14", "trap")]  # fields whose names hold others
            rng.shuffle(pairs)
            common[index] = pairs
        item = min(int(rng.paretovariate(0.6)), 80)
        pairs = [("205", f"i{item}"), ("206", f"c{item % 7}"), ("508", f"x{user % 3}")]
        pairs += [(f, f"{f}v{item}") for f in ITEM_FIELDS[2:] if f != "508" and rng.random() < 0.9]
        click = int(rng.random() < 0.3)
        purchase = int(rng.random() < 0.1)
        skeleton.append(f"{number},{click},{purchase},{index},{len(pairs)},{features(pairs)}")
        if click or not purchase:
            values = dict(common[index] + pairs)  # a dictionary keeps the last value
            row = {NAMES.get(f, f): values.get(f) for f in (*USER_FIELDS, *ITEM_FIELDS)}
            expected.append({**row, "click": click, "sample_id": number, "part": part})
    lines = [f"{index},{len(pairs)},{features(pairs)}" for index, pairs in common.items()]
    (folder / f"sample_skeleton_{part}.csv").write_text("\n".join(skeleton) + "\n")
    (folder / f"common_features_{part}.csv").write_text("\n".join(lines) + "\n")
    return expected


@pytest.fixture
def raw(tmp_path):
    rng = random.Random(2)
    return tmp_path, [*write(tmp_path, "train", rng, 900), *write(tmp_path, "test", rng, 700)]


def by_hand(rows, min_rows, min_entities, domains):
    users, items = Counter(r["userid"] for r in rows), Counter(r["itemid"] for r in rows)
    rows = [r for r in rows if users[r["userid"]] >= min_rows and items[r["itemid"]] >= min_rows]
    seen: dict[str, tuple[set[str], set[str]]] = {}
    for r in rows:
        of_domain = seen.setdefault(r["domain"], (set(), set()))
        of_domain[0].add(r["userid"])
        of_domain[1].add(r["itemid"])
    large = {d for d, (u, i) in seen.items() if min(len(u), len(i)) >= min_entities}
    sizes = Counter(r["domain"] for r in rows if r["domain"] in large)
    chosen = choose_domains(sizes, domains)
    return [r for r in rows if r["domain"] in chosen]


def test_rows_are_those_of_a_slow_loop(raw):
    folder, rows = raw
    config = aliccp(folder / "out", raw=folder, min_rows=8, min_entities=3, domains=8)
    expected = by_hand(rows, 8, 3, 8)
    found = pq.read_table(config.files[0]).to_pylist()
    assert 0 < len(expected) < len(rows)
    assert len({r["domain"] for r in expected}) < 7
    part = {0: "train", 1: "test", 2: "test"}
    found = [{"part": part[r.pop("train_tag")], **r} for r in found]
    key = lambda r: (r["part"], r["sample_id"])  # noqa: E731
    assert sorted(found, key=key) == sorted(expected, key=key)


def test_the_official_test_part_is_halved_by_the_seed(tmp_path):
    rng = random.Random(0)
    write(tmp_path, "train", rng, 50)
    write(tmp_path, "test", rng, 4_000)

    def halves(name, **settings):
        settings = {"min_rows": 1, "min_entities": 1, "domains": 60, **settings}
        rows = pq.read_table(aliccp(tmp_path / name, raw=tmp_path, **settings).files[0]).to_pydict()
        tags = zip(rows["sample_id"], rows["train_tag"], strict=True)
        return {number for number, tag in tags if tag == 1}, Counter(rows["train_tag"])

    valid, counts = halves("a")
    total = counts[1] + counts[2]
    assert abs(counts[1] - total / 2) < 4 * (total / 4) ** 0.5
    assert halves("b")[0] == valid
    other = halves("c", seed=1)[0]
    assert 0.35 < len(valid & other) / len(valid) < 0.65  # another half, not this or its rest


def test_gzipped_files_give_the_same_rows(raw):
    folder, _ = raw
    settings = {"min_rows": 8, "min_entities": 3}
    plain = pq.read_table(aliccp(folder / "a", raw=folder, **settings).files[0])
    for file in folder.glob("*.csv"):
        with gzip.open(f"{file}.gz", "wb") as zipped:
            zipped.write(file.read_bytes())
        file.unlink()
    assert pq.read_table(aliccp(folder / "b", raw=folder, **settings).files[0]) == plain


def test_features_are_the_papers_and_split_by_column(raw):
    config = aliccp(raw[0] / "out", raw=raw[0], min_rows=8, min_entities=3)
    names = {f.name for f in config.features}
    assert len(names) == 22  # the domain is the twenty-third
    assert names == {NAMES.get(f, f) for f in (*USER_FIELDS, *ITEM_FIELDS)} - {"domain"}
    assert all(f.min_count == 10 for f in config.features)
    assert config.columns.time is None
    assert (config.split.by, config.split.column) == ("column", "train_tag")
    assert "purchase" not in pq.read_schema(config.files[0]).names


@pytest.mark.parametrize("count", [40, 400])
def test_domains_are_chosen_as_in_the_paper(count):
    sizes = {f"c{k}": 100_000 - 7 * k for k in range(count)}
    chosen = choose_domains(sizes, 30)
    ranks = [int(name[1:]) for name in chosen]
    large = count // 20
    top, rest = [r for r in ranks if r < large], [r for r in ranks if r >= large]
    step = max(1, large // 5)
    assert top == list(range(0, large, step))[:5]
    assert rest == list(range(large, count, max(1, (count - large) // 25)))[:25]
    assert len(chosen) == (27 if count == 40 else 30)


def test_chosen_domains_do_not_depend_on_the_order_of_ties():
    names = [f"c{k}" for k in range(60)]
    one = choose_domains(dict.fromkeys(names, 5), 30)
    assert one == choose_domains(dict.fromkeys(reversed(names), 5), 30)


def test_wrong_calls_are_named(raw, tmp_path):
    folder, _ = raw
    with pytest.raises(DataError, match="give either raw="):
        aliccp(tmp_path / "o")
    with pytest.raises(DataError, match=r"sample_skeleton_train\.csv: not there"):
        aliccp(tmp_path / "o", raw=tmp_path / "nowhere")
    with pytest.raises(DataError, match="no domain has 75 users and items with at least 15 rows"):
        aliccp(tmp_path / "o", raw=folder)
    with pytest.raises(ConfigError, match="aliccp: unknown key 'thresh'"):
        aliccp(tmp_path / "o", raw=folder, thresh=3)


def test_the_authors_csv(tmp_path):
    columns = [NAMES.get(f, f) for f in (*USER_FIELDS, *ITEM_FIELDS)]
    header = ["click", "purchase", *columns, "D508", "train_tag", "is_augmented"]
    rows = [["1", "0", "9", *"0" * 21, "c", "3", str(tag), flag] for tag, flag in
            ((0, "FALSE"), (1, "FALSE"), (2, "FALSE"), (0, "TRUE"))]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(map(",".join, [header, *rows])) + "\n")
    config = aliccp(tmp_path / "out", table=tmp_path / "t.csv")
    found = pq.read_table(config.files[0]).to_pylist()
    assert sorted(r["train_tag"] for r in found) == [0, 1, 2]
    assert {r["click"] for r in found} == {1}
    assert {(r["userid"], r["itemid"], r["121"], r["301"]) for r in found} == {
        ("9", "0", None, "c")
    }
    assert all(f.min_count == 1 for f in config.features)
