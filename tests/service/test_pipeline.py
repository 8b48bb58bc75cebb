"""Filters, fallbacks, ties and limits, with models whose scores are planted."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from isthmus.service import Candidate, Event, Pipeline, RankRequest, Request
from isthmus.service.load import stage
from isthmus.service.retrieval import top


@pytest.fixture(scope="module")
def pipeline(pair):
    return Pipeline.load([pair["sasrec"].path, pair["aread"].path])


@pytest.fixture(scope="module")
def retriever(pair):
    return Pipeline.load([pair["markov"].path])


@pytest.fixture(scope="module")
def sequential(pair):
    return Pipeline.load([pair["sasrec"].path])


@pytest.fixture(scope="module")
def ranker(pair):
    return Pipeline.load([pair["aread"].path])


@dataclass
class Kept:
    item: str
    domain: str
    time: float
    value: float | None = None


class Source:
    """A history source that says what it was asked."""

    def __init__(self, **events):
        self.events, self.asked = events, []

    def history(self, user, limit):
        self.asked.append((user, limit))
        return self.events.get(user, [])


def ids(reply):
    return [one.item for one in reply.items]


# --- who


def test_a_stranger_gets_what_is_popular_there(pipeline, pair):
    reply = pipeline.recommend(Request(user="nobody", domains=("s2",), k=5, retrieved=8))
    assert reply.flags.unknown_user
    assert reply.flags.fallback == "popularity"
    counts = pair["events"].sequences
    known = counts.item[(counts.split == 0) & (counts.item > 0)]
    often = np.bincount(known, minlength=pair["events"].schema.items)
    own = np.flatnonzero(pair["events"].item_domains() == 3)
    assert pair["events"].schema.domains.index("s2") + 1 == pair["events"].item_domains()[own[0]]
    best = sorted(own, key=lambda i: (-often[i], i))[:8]
    names = pair["events"].values("item").to_pylist()
    assert {one.retrieval_rank: one.item for one in reply.items}.items() <= {
        rank: names[i - 1] for rank, i in enumerate(best, 1)
    }.items()
    assert sorted([one.score for one in reply.items], reverse=True) == [
        o.score for o in reply.items
    ]


def test_nobody_in_particular_is_no_unknown_user(pipeline):
    reply = pipeline.recommend(Request(domains=("s2",)))
    assert not reply.flags.unknown_user
    assert reply.flags.fallback == "popularity"


def test_history_comes_from_the_source_too(pipeline):
    stored = Source(new=[Kept("5", "s2", 300.5), Kept("9", "s0", 301.0, 1.0)])
    raw = (Event("5", "s2", 300.5), Event("9", "s0", 301.0))
    one = pipeline.recommend(Request(user="new"), history=stored)
    assert one.items == pipeline.recommend(Request(user="new", history=raw)).items
    assert stored.asked == [("new", 1000)]
    twice = pipeline.recommend(Request(user="new", history=raw), history=stored)
    assert twice.items == one.items
    assert not one.flags.unknown_user
    assert not one.flags.fallback


def test_what_was_only_shown_is_no_history(pipeline):
    shown = Source(new=[Kept("5", "s2", 300.0, 0.0)])
    reply = pipeline.recommend(Request(user="new"), history=shown)
    assert reply.items == pipeline.recommend(Request(user="other")).items


def test_an_event_that_the_data_knew_counts_once(sequential):
    past = sequential.past("7")
    assert len(past) > 3
    again = Source(**{"7": [Kept(e.item, e.domain, float(e.time)) for e in past]})
    reply = sequential.recommend(Request(user="7"), history=again)
    assert reply.items == sequential.recommend(Request(user="7")).items


def test_events_without_a_time_are_the_newest_in_their_order(sequential):
    late = tuple(Event(item, "", 10_000.0 + n) for n, item in enumerate(("9", "5", "4")))
    untimed = tuple(Event(event.item) for event in late)
    timed = sequential.recommend(Request(user="7", history=late))
    assert sequential.recommend(Request(user="7", history=untimed)).items == timed.items
    turned = sequential.recommend(Request(user="7", history=untimed[::-1]))
    assert turned.items != timed.items


# --- what there is


def test_only_what_is_allowed_and_nothing_that_is_blocked(pipeline):
    allow = ("5", "8", "11", "14", "nothing")
    reply = pipeline.recommend(
        Request(user="7", domains=("s2",), allow=(*allow, "4"), block=("8", "9", "no such"), k=9)
    )
    assert set(ids(reply)) == {"5", "11", "14"}  # 4 is of another shop
    assert set(reply.flags.unknown_items) == {"nothing", "no such"}
    assert reply.fewer == "9 items asked for; the asked domains hold 20, of which 3 may be given"


def test_nothing_allowed_is_an_empty_reply_with_a_reason(pipeline):
    reply = pipeline.recommend(Request(user="7", allow=(), k=2))
    assert reply.items == ()
    assert reply.fewer.endswith("hold 60, of which 0 may be given")


def test_more_than_there_is_gives_all(pipeline):
    reply = pipeline.recommend(Request(user="7", domains=("s1",), k=10**6))
    assert len(set(ids(reply))) == len(reply.items) == 20
    assert reply.fewer == "1000000 items asked for; the asked domains hold 20"
    assert not pipeline.recommend(Request(user="7", domains=("s1",), k=20)).fewer


def test_k_is_never_cut_by_the_number_retrieved(pipeline):
    assert len(pipeline.recommend(Request(user="7", k=30, retrieved=3)).items) == 30


def test_the_order_and_number_of_domains_named_changes_nothing(pipeline):
    one, other = (
        pipeline.recommend(Request(user="7", domains=domains))
        for domains in (("s2", "s0", "s2"), ("s0", "s2"))
    )
    assert one == other


def test_a_domain_that_the_ranker_alone_knows(pipeline):
    """Items 20 and 40 are in the attic there."""
    reply = pipeline.recommend(Request(user="7", domains=("attic",)))
    assert set(ids(reply)) == {"20", "40"}
    assert {d.name: (d.items, d.retriever, d.ranker) for d in pipeline.domains} == {
        "s0": (20, True, True),
        "s1": (20, True, True),
        "s2": (20, True, True),
        "attic": (2, False, True),
    }
    given = pipeline.rank(
        RankRequest(
            user="7", candidates=tuple(Candidate(item=i, domain="attic") for i in ("20", "40"))
        )
    )
    assert [one.score for one in reply.items] == [one.score for one in given.items]


def test_an_unknown_domain_is_all_items_by_the_unknown_path(pipeline):
    reply = pipeline.recommend(Request(user="7", domains=("mars", "venus"), k=60))
    assert len(reply.items) == 60
    assert reply.flags.unknown_domains == ("mars", "venus")
    assert reply.flags.fallback == "unknown domain"
    given = pipeline.rank(
        RankRequest(
            user="7", candidates=tuple(Candidate(item=i, domain="mars") for i in ids(reply))
        )
    )
    assert sorted(one.score for one in reply.items) == pytest.approx(
        sorted(one.score for one in given.items), abs=1e-6
    )
    beside = pipeline.recommend(Request(user="7", domains=("mars", "s1")))
    assert beside.items == pipeline.recommend(Request(user="7", domains=("s1",))).items
    assert beside.flags.unknown_domains == ("mars",)
    assert beside.flags.fallback == ""


def test_an_event_of_a_wrong_domain_is_told_and_no_candidate_comes_of_it(pipeline, sequential):
    """Items 5 and 17 are of s2; 20 is of s2 too, and the ranker alone has it in the attic."""
    for one in (pipeline, sequential):
        ask = lambda *events, one=one: one.recommend(Request(domains=("s2",), history=events))  # noqa: E731
        right, wrong, both = (
            ask(Event("5", "s2")),
            ask(Event("5", "s1"), Event("20", "attic"), Event("5", "mars")),
            ask(Event("5", "s1", 1.0), Event("17", "s2", 2.0)),
        )
        assert (right.flags.misplaced_items, right.flags.fallback) == ((), "")
        assert (wrong.flags.misplaced_items, wrong.flags.fallback) == (("5", "20"), "popularity")
        assert (both.flags.misplaced_items, both.flags.fallback) == (("5",), "")
        assert {right.flags.unknown_items, wrong.flags.unknown_items} == {()}
        found = {item.item: item.retrieval_score for item in both.items}
        assert found == {i.item: i.retrieval_score for i in ask(Event("17", "s2", 2.0)).items}


def test_kept_events_of_a_wrong_domain_are_told_for_as_long_as_they_count(pipeline):
    kept = Source(new=[Kept("5", "s1", 1.0), Kept("8", "s0", 2.0, 0.0), Kept("never", "s0", 3.0)])
    asked = RankRequest(user="new", candidates=(Candidate(item="17"),))
    for reply in (pipeline.recommend(Request(user="new"), history=kept), pipeline.rank(asked, history=kept)):  # fmt: skip
        assert reply.flags.misplaced_items == ("5",)  # 8 was only shown
        assert reply.flags.unknown_items == ("never",)


def test_a_candidate_of_a_wrong_domain_is_not_unknown(sequential):
    asked = (Candidate(item="5", domain="s1"), Candidate(item="never"))
    reply = sequential.rank(RankRequest(user="7", candidates=asked))
    assert (reply.flags.misplaced_items, reply.flags.unknown_items) == (("5",), ("never",))
    assert {one.known for one in reply.items} == {False}


def test_what_speaks_against_an_event(pipeline, sequential, ranker):
    assert pipeline.doubt("5", "s2") == pipeline.doubt("62", "s1") == ("", "")  # the ranker's own
    for domain in ("s1", "mars", "attic"):
        wrong = "what is served now knows the item in s2, not in the event's domain"
        assert pipeline.doubt("5", domain) == ("misplaced_item", wrong)
    assert pipeline.doubt("never", "s1")[0] == sequential.doubt("62", "s2")[0] == "unknown_item"
    assert ranker.doubt("20", "attic") == ("", "")
    assert ranker.doubt("20", "s2")[0] == "misplaced_item"


def test_everything_unknown_at_once(pipeline):
    reply = pipeline.recommend(
        Request(
            user="nobody",
            domains=("mars",),
            history=(Event("never"),),
            block=("nor this",),
            context={"weather": "fine", "hour": "late", "price": 3},
        )
    )
    assert len(reply.items) == 10
    assert reply.flags.unknown_items == ("never", "nor this")
    assert reply.flags.unknown_context == ("weather", "price")
    assert reply.flags.fallback == "unknown domain, popularity"
    assert all(np.isfinite(one.score) for one in reply.items)


# --- given candidates


def test_order_and_repetition_of_candidates_change_nothing(pipeline):
    names = ["5", "62", "none", "17", "other", "20"]
    asked = [Candidate(item=name) for name in names]
    replies = [
        pipeline.rank(RankRequest(user="7", candidates=tuple(order)))
        for order in (asked, asked[::-1], [*asked, *asked])
    ]
    assert replies[0].items == replies[1].items == replies[2].items
    assert len(replies[0].items) == len(names)
    unknown = [one for one in replies[0].items if one.item in ("none", "other")]
    assert unknown[0].score == unknown[1].score  # tied, and in the order of their names
    assert [one.item for one in unknown] == ["none", "other"]


def test_no_candidates(pipeline):
    reply = pipeline.rank(RankRequest(user="7", candidates=(), k=3))
    assert reply.items == ()
    assert reply.fewer == "3 items asked for; there are 0 different candidates"


def test_without_a_ranker_candidates_are_ordered_by_retrieval(retriever):
    asked = tuple(Candidate(item=name) for name in ("none", "5", "17", "8"))
    reply = retriever.rank(RankRequest(user="7", candidates=asked))
    scores = [one.retrieval_score for one in reply.items]
    assert scores[-1] is None
    assert reply.items[-1].item == "none"
    assert not reply.items[-1].known
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert {one.score for one in reply.items} == {None}


# --- one stage, ties, versions


def test_one_stage_does_what_it_can(retriever, ranker):
    one = retriever.recommend(Request(user="7", domains=("s1",), k=20))
    assert [item.score for item in one.items] == [None] * 20
    assert [item.retrieval_rank for item in one.items] == list(range(1, 21))
    other = ranker.recommend(Request(user="7", domains=("attic",), k=9))
    assert set(ids(other)) == {"20", "40", "60"}
    assert other.flags.fallback == "popularity"
    assert other.items[0].score >= other.items[1].score
    assert ranker.past("41")
    assert retriever.past("41") == []


def test_equal_scores_stand_in_the_order_of_retrieval(pair):
    """A ranker that knows no difference leaves the first stage's order."""
    flat = stage(pair["mlp"].path)
    with torch.no_grad():
        for value in flat.model.parameters():
            value.zero_()
    made = Pipeline(stage(pair["sasrec"].path), flat)
    reply = made.recommend(Request(user="7", k=60))
    assert {one.score for one in reply.items} == {0.5}
    assert [one.retrieval_rank for one in reply.items] == list(range(1, 61))


def test_top_takes_the_first_of_equals():
    draw = np.random.default_rng(0)
    for _ in range(200):
        score = draw.integers(0, 5, 30).astype(float)
        score[draw.random(30) < 0.3] = -np.inf
        for most in (1, 7, 29, 30, 50):
            order = sorted(range(30), key=lambda i: (-score[i], i))
            wanted = [i for i in order if score[i] > -np.inf]
            found, real = top(score, most)
            assert real == len(wanted)
            assert sorted(found.tolist()) == sorted(wanted[:most])


def test_a_version_stands_for_both_runs(pair, pipeline):
    again = Pipeline.load([pair["aread"].path, pair["sasrec"].path])
    assert again.loaded == pipeline.loaded
    other = Pipeline.load([pair["mlp"].path, pair["sasrec"].path])
    assert other.loaded.version != pipeline.loaded.version
    request = Request(user="7")
    assert again.recommend(request) == pipeline.recommend(request)
    assert again.recommend(request).version == pipeline.loaded.version


def test_warming_up_changes_nothing(pair, pipeline):
    made = Pipeline.load([pair["aread"].path, pair["sasrec"].path])
    made.warm_up([Request(user="0")])
    assert made.recommend(Request(user="7")) == pipeline.recommend(Request(user="7"))


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"k": 1.5}, {"domain": "s1"}, {"history": [{"item": ""}]}, {"user": ""},
    {"history": [{"item": "5", "when": 3}]}, {"time": "now"}]
)  # fmt: skip
def test_requests_that_are_none_are_refused(wrong):
    with pytest.raises(ValidationError):
        Request.model_validate(wrong)


def test_whole_numbers_are_ids():
    assert Request.model_validate({"user": 906, "history": [{"item": 5}]}) == Request(
        user="906", history=(Event("5"),)
    )
