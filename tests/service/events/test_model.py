"""Any sequence of requests against a dictionary that does the same in the obvious way."""

import json
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.service.events import Counts, dump, open_events, restore
from tests.service.events.sample import NOW, statuses

names = st.sampled_from(["a", "b", "c"])
events = st.fixed_dictionaries(
    {
        "id": st.sampled_from([f"e{i}" for i in range(9)] + ["é", "\ud800", ""]),
        "user": names,
        "item": names,
        "domain": names,
        "time": st.sampled_from([0, 1, 1.5, 2, NOW + 1000]),
    },
    optional={"kind": names, "value": st.sampled_from([0, 1, 0.1]), "context": st.just({"x": []})},
)
requests = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(events, max_size=6)),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(
            st.just("history"),
            st.tuples(
                names,
                st.integers(0, 4),
                st.none()
                | st.tuples(st.sampled_from([0.0, 1.5, 2.0]), st.sampled_from(["", "e4"])),
            ),
        ),
    ),
    max_size=12,
)


class Model:
    """Event id -> event, in the order in which they were kept."""

    def __init__(self):
        self.kept = {}

    def append(self, batch):
        return [self._one(each) for each in batch]

    def _one(self, each):
        if each["id"] in ("", "\ud800") or each["time"] > NOW:
            return "rejected"
        if each["id"] in self.kept:
            return "duplicate" if self.kept[each["id"]] == each else "conflict"
        self.kept[each["id"]] = each
        return "accepted"

    def delete(self, user):
        gone = [i for i, each in self.kept.items() if each["user"] == user]
        for i in gone:
            del self.kept[i]
        return len(gone)

    def history(self, user, limit, before):
        places = sorted((e["time"], e["id"]) for e in self.kept.values() if e["user"] == user)
        places = [place for place in places if before is None or place < before]
        return [i for _, i in places[len(places) - min(limit, len(places)) :]]

    def counts(self):
        domains = sorted(e["domain"] for e in self.kept.values())
        users = {e["user"] for e in self.kept.values()}
        return Counts(
            len(domains), len(users), {d: domains.count(d) for d in dict.fromkeys(domains)}
        )


def follow(store, reopen, steps):
    """Do the steps to both; the store, reopened as asked, and the model."""
    model = Model()
    for step, about in steps:
        if step == "append":
            assert statuses(store.append(about)) == model.append(about)
        elif step == "delete":
            assert store.delete_user(about) == model.delete(about)
        elif step == "history":
            user, limit, before = about
            found = [e.id for e in store.history(user, limit, before=before)]
            assert found == model.history(user, limit, before)
        else:
            store.close()
            store = reopen()
        assert store.counts() == model.counts()
    assert [e.as_json() for _, e in store.since()] == list(model.kept.values())
    return store, model


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_store_does_what_a_dictionary_does(kind, request, place):
    url = request.getfixturevalue("server").url if kind == "redis" else None

    @settings(
        max_examples=60 if kind == "sqlite" else 15,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(requests)
    def check(steps):
        with tempfile.TemporaryDirectory(dir=place) as directory:
            if kind == "redis":
                request.getfixturevalue("server").empty()

            def reopen():
                return open_events(url or f"{directory}/s", clock=lambda: NOW)

            store, model = follow(reopen(), reopen, steps)
            with store:
                assert dump(store, f"{directory}/dump") == len(model.kept)
            with open_events(f"{directory}/other", clock=lambda: NOW) as other:
                assert restore(other, f"{directory}/dump").accepted == len(model.kept)
                assert [e.as_json() for _, e in other.since()] == list(model.kept.values())

    check()


def test_the_events_drawn_reach_every_verdict():
    """Of what Hypothesis draws, all four outcomes occur: else the test above shows little."""
    seen = set()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(requests)
    def look(steps):
        model = Model()
        for step, about in steps:
            if step == "append":
                seen.update(model.append(about))

    look()
    assert seen == {"accepted", "duplicate", "conflict", "rejected"}, json.dumps(sorted(seen))
