"""What every store promises: one suite for both."""

import asyncio
import threading

import pytest

from isthmus.errors import DataError
from isthmus.files import StorageError
from isthmus.service.events import Counts, open_events
from tests.service.events.sample import NOW, event, ids, statuses


def test_events_come_back_as_they_were_given(open_store):
    whole = event(1, kind="click", value=2.5, context={"b": [1, None, "é\0"], "a": {}}, user="ü")
    with open_store() as store:
        assert statuses(store.append([whole, event(2)])) == ["accepted", "accepted"]
    store = open_store()
    (found,) = store.history("ü", 5)
    assert found.as_json() == whole
    assert store.history("u2", 5)[0].as_json() == event(2)


def test_verdicts_add_up_and_bad_events_keep_no_good_one_out(store):
    batch = [event(1), {"id": "x"}, event(2), event(1), event(2, item="other"), event(3)]
    verdicts = store.append(batch)
    expected = ["accepted", "rejected", "accepted", "duplicate", "conflict", "accepted"]
    assert statuses(verdicts) == expected
    assert [v.id for v in verdicts] == ["e1", "x", "e2", "e1", "e2", "e3"]
    assert verdicts[4].code == "id_conflict"
    assert ids(e for _, e in store.since()) == ["e1", "e2", "e3"]
    assert store.append([]) == ()


def test_a_batch_sent_again_counts_nothing_twice(store):
    batch = [event(i, kind="k", value=1, context={"z": 1, "a": 2.0}) for i in range(50)]
    first, before = store.append(batch), store.counts()
    again = store.append([{**e, "context": {"a": 2.0, "z": 1}} for e in reversed(batch)])
    assert set(statuses(first)) == {"accepted"}
    assert set(statuses(again)) == {"duplicate"}
    assert store.counts() == before


@pytest.mark.parametrize(
    "change",
    [
        {"user": "other"},
        {"item": "other"},
        {"domain": "other"},
        {"time": NOW},
        {"kind": "k"},
        {"value": 0},
        {"context": {}},
    ],
)
def test_an_id_belongs_to_one_content(store, change):
    store.append([event(1)])
    assert statuses(store.append([event(1, **change)])) == ["conflict"]
    assert [e.as_json() for _, e in store.since()] == [event(1)]


def test_a_history_is_the_newest_by_time_whatever_came_first(store):
    times = {"a": 5, "c": 9, "b": 9, "d": 1, "z": 9, "B": 9}
    store.append([event(id=i, time=t, user="u", domain=i) for i, t in times.items()])
    by_time = ["d", "a", "B", "b", "c", "z"]
    assert ids(store.history("u", 10)) == by_time
    assert ids(store.history("u", 4)) == by_time[-4:]
    assert store.history("u", 0) == store.history("u", -1) == store.history("nobody", 9) == []


def test_pages_of_a_history_meet_without_gap_or_overlap(store):
    store.append([event(i, user="u", time=i // 4) for i in range(23)])
    pages, before = [], None
    while page := store.history("u", 5, before=before):
        pages = page + pages
        before = (page[0].time, page[0].id)
    assert pages == store.history("u", 100)
    assert len(pages) == 23
    assert [e.time for e in store.history("u", 100, before=(3.0, ""))] == [0] * 4 + [1] * 4 + [
        2
    ] * 4


def test_a_skewed_clock_neither_loses_nor_reorders(store):
    """Late ones are taken; what is further ahead than the bound is refused, and taken once due."""
    batch = [
        event(1, time=NOW + 299, user="u"),
        event(2, time=3, user="u"),
        event(3, time=NOW + 301),
    ]
    verdicts = store.append(batch)
    assert statuses(verdicts) == ["accepted", "accepted", "rejected"]
    assert verdicts[2].code == "time_ahead"
    assert ids(store.history("u", 9)) == ["e2", "e1"]
    store._clock = lambda: NOW + 10
    assert statuses(store.append(batch)) == ["duplicate", "duplicate", "accepted"]


def test_numbers_rise_and_are_never_given_twice(open_store):
    with open_store() as store:
        store.append([event(i) for i in range(6)])
        numbers = [n for n, _ in store.since()]
        assert numbers == sorted(set(numbers))
        assert [e.id for _, e in store.since(numbers[3])] == ["e4", "e5"]
        store.delete_user("u2")  # has the last one
    with open_store() as store:
        store.append([event(9)])
        (new,) = store.since(numbers[-1])
        assert new.event.id == "e9"
        assert list(store.since(new.sequence)) == []


def test_many_pages_of_numbers(store):
    store.append([event(i) for i in range(2001)])
    assert [e.id for _, e in store.since()] == [f"e{i}" for i in range(2001)]


def test_a_deleted_user_is_gone_and_may_come_again(open_store):
    with open_store() as store:
        store.append([event(i) for i in range(10)])
        assert store.delete_user("u1") == 3
        assert store.delete_user("u1") == store.delete_user("nobody") == 0
    with open_store() as store:
        assert store.history("u1", 9) == []
        assert {e.user for _, e in store.since()} == {"u0", "u2"}
        assert store.counts() == Counts(7, 2, {"d0": 4, "d1": 3})
        assert statuses(store.append([event(1), event(31)])) == ["accepted", "accepted"]
        assert ids(store.history("u1", 9)) == ["e1", "e31"]


def test_counts_forget_domains_without_events(store):
    assert store.counts() == Counts(0, 0, {})
    store.append([event(1, domain="b"), event(2, domain="a"), event(3, domain="a")])
    assert store.counts() == Counts(3, 3, {"a": 2, "b": 1})
    assert list(store.counts().domains) == ["a", "b"]
    store.delete_user("u1")
    assert store.counts().domains == {"a": 2}


def test_appends_at_once_are_each_answered_for_themselves(store):
    """Eight threads send the same ids: each id is accepted by exactly one of them."""
    found = [None] * 8

    def send(place):
        found[place] = [store.append([event(i)])[0].status for i in range(40)]

    threads = [threading.Thread(target=send, args=(p,)) for p in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers in zip(*found, strict=True):
        assert sorted(answers) == ["accepted"] + ["duplicate"] * 7
    assert store.counts().events == 40


def test_async_callers_wait_for_their_futures(store):
    async def send():
        futures = [asyncio.wrap_future(store.submit([event(i)])) for i in range(20)]
        first = await asyncio.gather(*futures)
        return first, await asyncio.wrap_future(store.submit_delete("u0"))

    first, deleted = asyncio.run(send())
    assert [statuses(v) for v in first] == [["accepted"]] * 20
    assert deleted == 7
    assert store.backlog == 0


def test_requests_are_done_in_the_order_in_which_they_came(store):
    futures = [store.submit([event(1)]), store.submit_delete("u1"), store.submit([event(1)])]
    assert [f.result() for f in futures][1] == 1
    assert statuses(futures[2].result()) == ["accepted"]


def test_what_is_submitted_is_kept_by_closing(open_store):
    with open_store() as store:
        futures = [store.submit([event(i)]) for i in range(30)]
    assert all(f.done() for f in futures)
    with pytest.raises(StorageError, match="closed"):
        store.append([event(99)])
    assert open_store().counts().events == 30


def test_a_store_for_reading_changes_nothing(store, url):
    store.append([event(1)])
    with open_events(url, reading=True) as reader:
        assert ids(reader.history("u1", 5)) == ["e1"]
        assert reader.backlog == 0
        for change in (lambda: reader.append([event(2)]), lambda: reader.delete_user("u1")):
            with pytest.raises(StorageError, match="for reading only"):
                change()
        store.append([event(4)])
        assert ids(reader.history("u1", 5)) == ["e1", "e4"]


@pytest.mark.parametrize("url", ["mysql://x/y", "", "https://example.org"])
def test_an_unknown_kind_of_store_is_refused(url):
    with pytest.raises(ValueError, match="no event store"):
        open_events(url)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(DataError, match="no such event store"):
        open_events(tmp_path / "none.sqlite", reading=True)
    assert not list(tmp_path.iterdir())


def test_a_user_whose_name_is_no_text_has_nothing(store):
    """Nor does asking for one disturb those who write at the same time."""
    good, none = store.submit([event(1)]), store.submit_delete("\ud800")
    assert (statuses(good.result()), none.result()) == (["accepted"], 0)
    assert store.history("\ud800", 5) == []
    assert ids(store.history("u1", 10**30)) == ["e1"]


def test_paths_and_urls_name_the_same_file(place):
    odd = place / "a?b#c%20d é.sqlite"
    with open_events(f"sqlite:///{odd}") as store:
        store.append([event(1, time=3)])
    with open_events(odd) as store:
        assert store.counts().events == 1
    assert odd.is_file()
