"""Rows that stay in their file: each once, in an order that data, window, seed and epoch decide."""

import threading
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from isthmus.data import stream as module
from isthmus.data.feed import Feed
from isthmus.data.prepared import Count
from isthmus.data.stream import Stream
from isthmus.data.without import Without
from isthmus.errors import ConfigError, IntegrityError
from tests.data.grouped import planted
from tests.oracles import plain_stream

DOMAINS = [1, 2, 0, 3, 1, 1, 2] * 15  # 105 rows


def streamed(folder, group=10, *, seed=0, window=30, domains=DOMAINS, **settings):
    return Stream(planted(folder, domains, group), "train", seed=seed, window=window, **settings)


def ids(batches):
    return [place for batch in batches for place in batch.features[:, 0].tolist()]


@pytest.mark.parametrize(
    ("group", "window"), [(1, 1), (1, 9), (10, 30), (10, 1), (7, 1000), (200, 5)]
)
@pytest.mark.parametrize("size", [1, 8, 500])
def test_each_row_once_in_full_batches_in_the_order_of_the_plain_version(
    tmp_path, group, window, size
):
    source = streamed(tmp_path, group, window=window, seed=5)
    batches = list(source.batches(2, size))
    sizes = [min(group, 105 - first) for first in range(0, 105, group)]
    assert ids(batches) == plain_stream.order(sizes, window, 5, 2)
    assert sorted(ids(batches)) == list(range(105))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    for batch in batches:
        place = batch.features[:, 0]
        assert torch.equal(batch.features[:, 1], 2 * place)
        assert torch.equal(batch.features[:, 2], place % 3)
        assert batch.domain.tolist() == [DOMAINS[i] for i in place]
        assert torch.equal(batch.label, place.remainder(2).float())
        assert [t.dtype for t in (place, batch.domain, batch.label)] == [
            torch.int64, torch.int64, torch.float32,
        ]  # fmt: skip


def test_order_depends_on_seed_and_epoch_alone(tmp_path):
    found = {
        (seed, epoch): ids(streamed(tmp_path, seed=seed).batches(epoch, 8))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in found.values()}) == 4
    assert ids(streamed(tmp_path, seed=1).batches(1, 8)) == found[1, 1]


@pytest.mark.parametrize("ahead", [0, 2, 50])
def test_reading_ahead_changes_nothing(tmp_path, ahead):
    expected = ids(streamed(tmp_path).batches(0, 8))
    assert ids(streamed(tmp_path, ahead=ahead).batches(0, 8)) == expected


@pytest.mark.parametrize("group", [1, 10, 200])
def test_an_epoch_begun_in_its_middle_gives_the_rest_and_reads_no_window_before(tmp_path, group):
    source = streamed(tmp_path, group)
    whole = ids(source.batches(0, 8))
    windows = source.windows(0)
    read, real = [], source.groups.read
    source.groups.read = lambda number, *rest: (read.append(number), real(number, *rest))[1]
    for start in range(15):
        read.clear()
        assert ids(source.batches(0, 8, start)) == whole[8 * start :]
        rows, needed = 0, []
        for window in windows:
            rows += sum(len(range(g * group, min(105, (g + 1) * group))) for g in window)
            needed += window if rows > 8 * start else []
        assert read == needed


def test_no_more_than_the_next_window_is_read_ahead_and_no_thread_is_left(tmp_path):
    source = streamed(tmp_path, 10, window=20)
    read, real = [], source.groups.read
    source.groups.read = lambda number, *rest: (read.append(number), real(number, *rest))[1]
    batches = source.batches(0, 20)
    next(batches)
    assert any(thread.name.startswith("stream") for thread in threading.enumerate())
    batches.close()
    assert len(read) <= 4
    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


def test_mixing_is_that_of_as_many_groups_as_a_window_has(tmp_path):
    """A batch is a sample of k groups: of what drifts along the file its mean varies accordingly."""
    rows, groups, k, size = 6400, 64, 8, 50
    source = streamed(tmp_path, rows // groups, window=k * rows // groups, domains=[1] * rows)
    means = [
        batch.features[:, 0].double().mean().item()
        for epoch in range(12)
        for batch in source.batches(epoch, size)
    ]
    variance = (rows**2 - 1) / 12
    expected = variance / k * (1 - k / groups) + variance / size  # groups without replacement
    assert np.var(means) == pytest.approx(expected, rel=0.2)
    alone = streamed(tmp_path, 100, window=100, domains=[1] * rows)
    drift = [batch.features[:, 0].double().mean().item() for batch in alone.batches(0, size)]
    assert np.var(drift) > 4 * expected  # with one group at a time the same figure is much larger


def test_slices_are_in_the_order_of_the_file(tmp_path):
    source = streamed(tmp_path)
    for start, stop in [(0, 105), (0, 0), (3, 7), (9, 31), (100, 500), (200, 300)]:
        assert ids([source[start:stop]]) == list(range(105))[start:stop]


# --- at hand


def test_of_each_domain_some_rows_are_at_hand_whatever_the_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 12)
    monkeypatch.setattr(module, "SAMPLE", 40)
    found = [streamed(tmp_path / str(group), group) for group in (1, 10, 200)]
    hand, sample = found[0].at_hand, found[0].sample
    assert {d: int((hand.domain == d).sum()) for d in range(4)} == {0: 12, 1: 12, 2: 12, 3: 12}
    assert len(set(ids([hand]))) == 48
    assert len(set(ids([sample]))) == len(sample) == 40
    assert hand.domain.tolist() == [DOMAINS[i] for i in hand.features[:, 0]]
    for other in found[1:]:
        assert ids([other.at_hand]) == ids([hand])
        assert ids([other.sample]) == ids([sample])
    assert ids([streamed(tmp_path / "1", 10, seed=1).at_hand]) != ids([hand])


def test_few_rows_are_at_hand_all_of_them(tmp_path):
    source = streamed(tmp_path)
    assert ids([source.at_hand]) == ids([source.sample]) == list(range(105))


def test_a_split_without_rows_gives_none(tmp_path):
    prepared = planted(tmp_path, DOMAINS, 10)
    pq.write_table(pq.read_table(prepared.file("train"))[:0], prepared.file("valid"))
    prepared.manifest.splits["valid"] = {}
    empty = Stream(prepared, "valid", seed=0, window=30)
    assert (len(empty), empty.domains, list(empty.batches(0, 8))) == (0, [], [])
    assert [len(empty[:]), len(empty.at_hand), len(empty.sample)] == [0, 0, 0]
    feed = Feed(Stream(prepared, "train", seed=0, window=30), batch_size=8, seed=0, valid=empty)
    assert len(feed.rows_of(1, "valid")) == 0


def test_every_row_is_as_likely_at_hand_as_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 5)
    monkeypatch.setattr(module, "SAMPLE", 20)
    counts = np.zeros(105)
    for seed in range(200):
        counts[ids([streamed(tmp_path, seed=seed).sample])] += 1
    assert counts.sum() == 200 * 20
    assert counts.var() == pytest.approx(200 * (20 / 105) * (85 / 105), rel=0.35)  # binomial


def test_a_domain_that_is_left_out_is_nowhere(tmp_path):
    source = Stream(Without(planted(tmp_path, DOMAINS, 10), ["a"]), "train", seed=0, window=30)
    kept = [place for place, domain in enumerate(DOMAINS) if domain != 1]
    assert len(source) == len(kept)
    assert source.domains == [2, 3]
    assert sorted(ids(source.batches(0, 8))) == kept
    assert ids([source[:]]) == ids([source.at_hand]) == kept


# --- as a feed


def feed(folder, **settings):
    source = streamed(folder)
    return Feed(source, batch_size=8, seed=0, valid=source[:20], **settings)


def test_a_feed_gives_what_its_source_gives(tmp_path):
    epoch = feed(tmp_path).epoch(3)
    assert ids(epoch.shuffled()) == ids(streamed(tmp_path).batches(3, 8))
    assert (epoch.num_batches, epoch.domains) == (14, [1, 2, 3])
    assert ids([epoch.train]) == list(range(105))


def test_samples_and_turns_are_of_the_rows_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 6)
    monkeypatch.setattr(module, "SAMPLE", 6)
    whole = feed(tmp_path)
    hand = set(ids([whole.source.at_hand]))
    turns = list(whole.epoch(0).round_robin(9))
    assert [set(batch.domain.tolist()) for batch in turns] == [{1}, {2}, {3}] * 3
    assert set(ids(turns)) <= hand
    drawn = ids(islice(whole.epoch(0).sample(1, 4), 3))
    assert len(set(drawn)) == 6
    assert set(drawn) <= hand


def test_a_stream_cannot_give_each_row_of_a_domain(tmp_path):
    with pytest.raises(ConfigError, match=r"set train\.stream = false"):
        next(feed(tmp_path).epoch(0).domain(1))


# --- damage


def test_a_short_file_is_refused(tmp_path):
    prepared = planted(tmp_path, DOMAINS, 10)
    file = prepared.file("train")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match=r"train\.parquet cannot be read .*prepare the data"):
        Stream(prepared, "train", seed=0, window=30)


def test_a_file_of_other_rows_is_refused(tmp_path):
    prepared = planted(tmp_path, DOMAINS, 10)
    planted(tmp_path, DOMAINS[:-1], 10)
    with pytest.raises(IntegrityError, match="has 104 rows, its manifest says 105"):
        Stream(prepared, "train", seed=0, window=30)
    other = prepared.manifest.model_copy(
        update={"splits": {"train": {"a": Count(rows=104, positives=0)}}}
    )
    prepared.manifest = other
    table = pq.read_table(prepared.file("train"))
    pq.write_table(table.drop_columns(["label"]), prepared.file("train"))
    with pytest.raises(IntegrityError, match="has no column 'label'"):
        Stream(prepared, "train", seed=0, window=30)


def test_damage_within_names_the_row_group_and_ends_training(tmp_path):
    source = streamed(tmp_path)
    column = pq.ParquetFile(source.groups.path).metadata.row_group(4).column(2)
    content = bytearray(source.groups.path.read_bytes())
    start = column.data_page_offset
    content[start : start + 12] = b"\xff" * 12
    source.groups.path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"row group 4 of .*train\.parquet cannot be read"):
        list(streamed_again(source).batches(0, 8))
    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


def streamed_again(source):
    return Stream(source.groups.prepared, "train", seed=0, window=30)
