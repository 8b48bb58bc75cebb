"""What is served is what the models say offline: against loops over the raw rows."""

import numpy as np
import pytest

from isthmus.experiment import load_model
from isthmus.next_item import load_retriever
from isthmus.service import Candidate, Event, Pipeline, RankRequest, Request
from tests.data.events import events
from tests.oracles.plain_serving import PlainService
from tests.service.pair import impressions

TABLES = {"events": events(700), "rows": impressions()}
NEW = (Event("5", "", 310), Event("17", "s2", 305), Event("never", "", 311), Event("9", "", 305))
FRESH = [(event.item, event.time) for event in NEW]
USERS = ["7", "0", "41", "nobody"]
"""In both data sets, in the events alone, in the rows alone, in neither."""


@pytest.fixture(
    scope="module", params=[("sasrec", "aread"), ("syncrec", "mlp"), ("markov", "aread")]
)
def both(request, pair):
    """A pipeline and the plain service of the same runs."""
    retriever, ranker = (pair[name] for name in request.param)
    plain = PlainService(load_retriever(retriever), load_model(ranker), TABLES, pair)
    return Pipeline.load([ranker.path, retriever.path]), plain


def check(reply, wanted):
    assert [one.item for one in reply.items] == [item for item, _, _ in wanted]
    assert [one.score for one in reply.items] == pytest.approx([p for _, p, _ in wanted], abs=1e-6)
    found = [one.retrieval_score for one in reply.items]
    assert found == pytest.approx([s for _, _, s in wanted], abs=1e-6)
    assert [one.rank for one in reply.items] == list(range(1, len(wanted) + 1))


@pytest.mark.parametrize("user", USERS[:3])
@pytest.mark.parametrize("shops", [("s1",), ("s2", "s0"), ()])
def test_known_users(both, user, shops):
    pipeline, plain = both
    reply = pipeline.recommend(Request(user=user, domains=shops, k=7, context={"hour": 3}))
    check(reply, plain.recommend(user, shops or plain.truth["domains"], 7, context={"hour": 3}))
    assert not reply.flags.unknown_user
    assert not reply.flags.fallback


@pytest.mark.parametrize("user", USERS)
def test_events_that_came_since_count_at_once(both, user):
    pipeline, plain = both
    request = Request(user=user, domains=("s0", "s2"), k=9, history=NEW, retrieved=11)
    reply = pipeline.recommend(request)
    check(reply, plain.recommend(user, ["s0", "s2"], 9, fresh=FRESH, retrieved=11))
    assert reply.flags.unknown_items == ("never",)
    assert not reply.flags.unknown_user
    turned = pipeline.recommend(request.model_copy(update={"history": NEW[::-1]}))
    assert turned == reply


def test_retrieval_ranks_are_those_of_the_first_stage(both):
    pipeline, plain = both
    reply = pipeline.recommend(Request(user="7", domains=("s1",), k=100))
    order = [what for _, what in plain.retrieval(plain.history("7", ()), ["s1"])]
    assert {one.item: one.retrieval_rank for one in reply.items} == {
        what: place for place, what in enumerate(order, 1)
    }


def test_nothing_that_the_user_had(both):
    pipeline, plain = both
    reply = pipeline.recommend(Request(user="7", k=50, history=NEW, exclude_seen=True))
    seen = set(plain.history("7", FRESH)) | {what for _, what in plain.positives("7")} | {"never"}
    check(reply, plain.recommend("7", plain.truth["domains"], 50, fresh=FRESH, without=seen))


def test_given_candidates(both):
    """Known to both stages, to one, to none; with the domain said and not."""
    pipeline, plain = both
    candidates = [("5", ""), ("5", "s0"), ("1", "s1"), ("62", ""), ("64", "s1"), ("none", ""), ("8", "mars")]  # fmt: skip
    asked = tuple(Candidate(item=item, domain=domain) for item, domain in candidates)
    reply = pipeline.rank(RankRequest(user="7", candidates=asked, context={"city": "y1"}))
    shop = {"5": "s2", "62": "s2"}
    pairs = [(item, domain or shop.get(item, "")) for item, domain in candidates]
    wanted = plain.probabilities("7", pairs, context={"city": "y1"})
    found = {(one.item, one.domain): one.score for one in reply.items}
    assert found == pytest.approx(dict(zip(pairs, wanted, strict=True)), abs=1e-6)
    assert [one.score for one in reply.items] == sorted(found.values(), reverse=True)
    retrieval = {what: score for score, what in plain.retrieval(plain.history("7", ()), ["s0", "s1", "s2"])}  # fmt: skip
    for one in reply.items:
        expected = retrieval.get(one.item) if plain.shop_of.get(one.item) == one.domain else None
        if one.domain == "mars":  # the item is known, in another domain
            expected = None
        assert one.retrieval_score == pytest.approx(expected, abs=1e-6)
    assert reply.flags.unknown_items == ("none",)
    assert reply.flags.unknown_domains == ("mars",)
    assert {one.item for one in reply.items if not one.known} == {"none", "1"}


def test_an_event_counts_for_histories_that_reach_back_far_enough(both):
    """``passed`` holds the last 40 s: from now, where it is said, else from the newest event."""
    pipeline, plain = both
    pairs = [("5", "s2"), ("7", "s1")]
    asked = tuple(Candidate(item=item, domain=domain) for item, domain in pairs)
    scores = {}
    for now in (None, 320, 345, 2000):
        reply = pipeline.rank(RankRequest(user="7", candidates=asked, history=NEW, time=now))
        wanted = plain.probabilities("7", pairs, FRESH, now=now)
        scores[now] = {one.item: one.score for one in reply.items}
        assert scores[now] == pytest.approx({"5": wanted[0], "7": wanted[1]}, abs=1e-6)
    assert scores[345] != scores[2000]


def test_a_user_who_is_forgotten_is_a_stranger(both):
    pipeline, plain = both
    forgotten = pipeline.recommend(Request(user="7", trained=False, history=NEW, domains=("s1",)))
    check(forgotten, plain.recommend("nobody", ["s1"], 10, fresh=FRESH))


def test_explanations_are_differences_of_scores(both):
    pipeline, plain = both
    reply = pipeline.recommend(Request(user="7", domains=("s1",), k=3, explain=True))
    history = plain.history("7", ())
    for one in reply.items:
        assert one.why is not None
        gains = [each.weight for each in one.why.events]
        assert gains == sorted(gains, reverse=True)
        last = history[-1]
        without = {w: s for s, w in plain.retrieval(history[:-1], ["s1"])}
        known = next(e for e in one.why.events if e.event.item == last and e.event.time == max(x.event.time for x in one.why.events))  # fmt: skip
        assert known.weight == pytest.approx(one.retrieval_score - without[one.item], abs=1e-5)
    masks = [level[plain.ranker.schema.domains.index("s1") + 1] for level in plain.ranker.expert_masks()]  # fmt: skip
    wanted = tuple(float(np.mean(mask.numpy())) for mask in masks)
    assert reply.items[0].why.edges == pytest.approx(wanted)
