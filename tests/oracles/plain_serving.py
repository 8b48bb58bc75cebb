"""A service without any of its shortcuts: loops over the raw rows, every item scored, then sorted."""

import numpy as np
import torch

from isthmus.batch import Histories, Impressions
from isthmus.inference import probabilities
from tests.data.events import plain

UNKNOWN = 0


class PlainService:
    """Two models and the raw tables that they were prepared from.

    Args:
        events, rows: raw tables as ``tests.service.pair`` makes them.
        min_count: of items in the preparation of ``events``.
    """

    def __init__(self, retriever, ranker, tables, prepared, min_count=2):
        self.retriever, self.ranker = retriever, ranker
        self.truth = plain(tables["events"], min_count=min_count)
        self.rows = sorted(tables["rows"].to_pylist(), key=lambda row: row["at"])
        self.prepared = prepared["rows"]
        self.item_id = {what: i + 1 for i, what in enumerate(self.truth["items"])}
        self.shop_id = {shop: i + 1 for i, shop in enumerate(self.truth["domains"])}
        self.shop_of = {
            what: shop for own in self.truth["sequences"].values() for _, what, shop, _ in own
        }

    def history(self, user, fresh):
        """Known items, oldest first, after the events (item, time) that came since were put in."""
        own = [(at, what) for at, what, _, _ in self.truth["sequences"].get(user, ())]
        known = {(what, at) for at, what in own if what in self.item_id}
        own = [pair for pair in own if pair[1] in self.item_id]
        if not own:
            own = sorted(self.positives(user), key=lambda pair: pair[0])
            own = sorted(own)
        added = sorted((at, what) for what, at in set(fresh) - known)
        merged = sorted(own + added, key=lambda pair: pair[0])
        return [what for _, what in merged if what in self.item_id]

    def positives(self, user):
        """What the ranker's data says that a user took, of the items that it knows."""
        words = set(self.prepared.values("what").to_pylist())
        found = {
            (row["at"], str(row["what"]))
            for row in self.rows
            if str(row["who"]) == user and row["label"] and str(row["what"]) in words
        }
        return list(found)

    def retrieval(self, history, shops):
        """(score, item) of every item of these shops, best first, of equals the smaller id."""
        length = self.retriever.schema.max_history
        ids = [self.item_id[what] for what in history][-length:]
        places = [self.shop_id[self.shop_of[what]] for what in history][-length:]
        pad = [0] * (length - len(ids))
        found = []
        for shop in shops:
            domain = self.shop_id[shop]
            batch = Histories(
                torch.tensor([pad + ids]),
                torch.tensor([pad + places]),
                torch.tensor([0]),
                torch.tensor([domain]),
            )
            with torch.inference_mode():
                score = self.retriever.scores(batch)[0].tolist()
            for what, item in self.item_id.items():
                if self.shop_of[what] == shop:
                    found.append((score[item], what))
        return sorted(found, key=lambda pair: (-pair[0], self.item_id[pair[1]]))

    def word(self, table, value):
        values = self.prepared.values(table).to_pylist()
        return values.index(str(value)) + 1 if str(value) in values else UNKNOWN

    def bin(self, name, value):
        return 1 + sum(value >= edge for edge in self.prepared.manifest.bins[name])

    def row(self, user, item, fresh, context, now):
        """All features of a user and an item, by name."""
        theirs = [row for row in self.rows if str(row["who"]) == user]
        its = [row for row in self.rows if str(row["what"]) == item]
        known_user, known_item = self.word("who", user), self.word("what", item)
        found = {"who": [known_user], "what": [known_item], "hour": [UNKNOWN]}
        if "hour" in context:
            found["hour"] = [self.word("hour", context["hour"])]
        found["city"] = [self.word("city", theirs[-1]["city"]) if known_user else UNKNOWN]
        found["age"] = [self.bin("age", theirs[-1]["age"]) if known_user else UNKNOWN]
        if "city" in context:
            found["city"] = [self.word("city", context["city"])]
        found["colour"] = [self.word("colour", its[-1]["colour"]) if known_item else UNKNOWN]
        found["price"] = [self.bin("price", its[-1]["price"]) if known_item else UNKNOWN]
        own = theirs if known_user else []
        bought = [(-r["at"], self.word("what", r["what"])) for r in own if r["label"]]
        passed = [(-r["at"], self.word("colour", r["colour"])) for r in own]
        took = {
            (r["at"], str(r["what"])) for r in own if r["label"] and self.word("what", r["what"])
        }
        added = set(fresh)
        if not took:
            added |= {
                (what, at)
                for at, what, _, _ in self.truth["sequences"].get(user, ())
                if what in self.item_id
            }
        for what, at in added:
            if (at, what) not in took:
                same = [row for row in self.rows if str(row["what"]) == what]
                known = bool(self.word("what", what))
                bought.append((-at, self.word("what", what)))
                passed.append((-at, self.word("colour", same[-1]["colour"]) if known else UNKNOWN))
        found["bought"] = ([i for _, i in sorted(bought)] + [0] * 3)[:3]
        recent = [i for at, i in sorted(passed) if -at >= now - 40]
        found["passed"] = (recent + [0] * 4)[:4]
        return found

    def probabilities(self, user, pairs, fresh=(), context=None, now=None):
        """Of (item, shop) pairs; a shop that is no domain of the rows is unknown."""
        times = [row["at"] for row in self.rows if str(row["who"]) == user and row["label"]]
        times += [at for _, at in fresh]
        if not times:
            times = [at for at, what, _, _ in self.truth["sequences"].get(user, ())]
        now = max([*times, 0]) if now is None else now
        schema = self.prepared.schema
        rows = [self.row(user, item, fresh, context or {}, now) for item, _ in pairs]
        features = [[value for f in schema.features for value in row[f.name]] for row in rows]
        names = list(schema.domains)
        domains = [names.index(shop) + 1 if shop in names else 0 for _, shop in pairs]
        return probabilities(
            self.ranker,
            Impressions(torch.tensor(features), torch.tensor(domains), torch.zeros(len(pairs))),
        )

    def recommend(self, user, shops, k, *, retrieved=200, fresh=(), context=None, without=()):
        """(item, probability, retrieval score), the best first."""
        found = self.retrieval(self.history(user, fresh), shops)
        found = [pair for pair in found if pair[1] not in without][:retrieved]
        pairs = [(what, self.shop_of[what]) for _, what in found]
        probability = self.probabilities(user, pairs, fresh, context)
        order = np.argsort(-probability, kind="stable")[:k]
        return [(found[n][1], probability[n], found[n][0]) for n in order]
