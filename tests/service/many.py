"""What stands in for a pipeline of many domains: their names are those of shops, and nasty ones."""

from isthmus.evaluation import Verdict
from isthmus.service import DomainInfo, Event, Loaded, Recommended, Reply
from isthmus.service.http.state import Served
from isthmus.service.http.verdicts import Beside
from tests.report.test_html import NASTY

KINDS = ("bread", "milk", "tea", "soap", "fish")
VERDICTS = [*(verdict.value for verdict in Verdict), None]


class Many:
    """Recommends one item of each asked domain, or of all, the first ones first."""

    loaded = Loaded("many-retriever", None, "0" * 64, "0" * 12)

    def __init__(self, domains):
        names = [*NASTY, *(f"{KINDS[i % 5]} {i}" for i in range(len(NASTY), domains))]
        self.domains = tuple(DomainInfo(n, 7 * i % 1000, True, False) for i, n in enumerate(names))

    def recommend(self, request, *, history=None):
        named = request.domains or [one.name for one in self.domains]
        items = tuple(
            Recommended(f"of {name}", name, rank, None, 1 / rank, rank)
            for rank, name in enumerate(named[: request.k], 1)
        )
        return Reply(items, self.loaded.version)

    def past(self, user):
        return [Event(f"of {one.name}", one.name, 1e9) for one in self.domains]

    def users(self):
        return iter(["<b>bold</b>"])

    def warm_up(self, requests=()):
        """It is warm."""


def many(domains=300):
    """What is served, with a verdict for most domains."""
    served = Served(Many(domains), ())
    names = [one.name for one in served.pipeline.domains]
    found = {n: VERDICTS[i % 5] for i, n in enumerate(names) if VERDICTS[i % 5]}
    served.beside = Beside(found)
    return served
