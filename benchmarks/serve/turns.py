"""Clients at once while other runs take over: every reply must be of the version that it names."""

import http.client
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.service import Pipeline, Request

EXACT = 1e-6
PATIENCE = 120.0
"""Seconds in which anything must be answered, on whatever machine."""
BACK_EVERY = 5
"""Swaps between two pairs of roll backs."""
Answers = dict[str, list[tuple[str, float]]]
"""Items and scores by request, as its JSON."""


class Client:
    """A connection of its own that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def post(self, path: str, body: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the reply."""
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        return reply.status, json.loads(reply.read())

    def close(self) -> None:
        self._connection.close()


def offline(runs: Sequence[Path], asked: Sequence[str]) -> tuple[str, Answers]:
    """The version of these runs, and what they say without a server."""
    pipeline = Pipeline.load(runs)
    found = {}
    for body in asked:
        reply = pipeline.recommend(Request.model_validate_json(body))
        found[body] = [(one.item, _score(one.score)) for one in reply.items]
    return pipeline.loaded.version, found


def _score(score: float | None) -> float:
    assert score is not None, "expected a ranker among the runs"
    return score


@dataclass
class Load:
    """Clients at once, and what they met.

    Attributes:
        answers: by version, what each request has for an answer.
        took: milliseconds of each reply.
        failures: what was no right reply, in words.
    """

    port: int
    answers: Mapping[str, Answers]
    clients: int = 8
    took: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stop, self._turns = threading.Event(), [0] * self.clients
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def pass_over(self) -> None:
        """Wait until every client sent a request anew, and has its reply; at once after a failure."""
        before, end = list(self._turns), time.monotonic() + PATIENCE
        while not self.failures and any(
            now < then + 2 for now, then in zip(self._turns, before, strict=True)
        ):
            if time.monotonic() > end:
                self.failures.append(f"a client waits for more than {PATIENCE:.0f} s")
            time.sleep(0.002)

    def _ask(self, number: int) -> None:
        client, bodies = Client(self.port), list(next(iter(self.answers.values())))
        turn = number
        while not self._stop.is_set():
            body = bodies[turn % len(bodies)]
            turn += 1
            start = time.perf_counter()
            try:
                failure = self._wrong(body, *client.post("/v1/recommend", body))
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = f"no reply: {error!r}"
            self.took.append(1000 * (time.perf_counter() - start))
            self._turns[number] += 1
            if failure:
                self.failures.append(failure)
                break
        client.close()

    def _wrong(self, body: str, status: int, reply: dict[str, Any]) -> str:
        """What is wrong with a reply; "" if it is right."""
        if status != 200:
            return f"status {status}: {reply}"
        version = reply["version"]
        self.versions[version] += 1
        wanted = self.answers.get(version, {}).get(body)
        if wanted is None:
            return f"version {version} is none of {', '.join(self.answers)}"
        given = [(one["item"], one["score"]) for one in reply["items"]]
        if not same(given, wanted):
            return f"version {version} answers {body} with {given}, and offline with {wanted}"
        return ""


def same(given: Sequence[tuple[str, float]], wanted: Sequence[tuple[str, float]]) -> bool:
    """Whether the items are the same in the same order, and their scores to ``EXACT``."""
    return [item for item, _ in given] == [item for item, _ in wanted] and all(
        abs(a - b) <= EXACT for (_, a), (_, b) in zip(given, wanted, strict=True)
    )


@dataclass(frozen=True)
class Swaps:
    """The pairs that take turns, by the names of their runs, and the one that must be refused.

    ``versions``: the pairs' own, in their order; the first is served at the beginning.
    """

    pairs: Sequence[Sequence[str]]
    versions: Sequence[str]
    damaged: str

    def run(self, load: Load, swaps: int, *, after: Callable[[int], None] = lambda _: None) -> int:
        """So many swaps under load, ``after`` each of them whatever else; how many roll backs came."""
        client, backs = Client(load.port), 0
        try:
            for number in range(1, swaps + 1):
                load.pass_over()
                self._load(client, number % 2)
                if number % BACK_EVERY == 0:
                    for place in (1, 2):
                        load.pass_over()
                        self._changed(client, "rollback", {}, self.versions[(number + place) % 2])
                    backs += 2
                after(number)
                if load.failures:
                    break
            load.pass_over()
        finally:
            client.close()
        return backs

    def _load(self, client: Client, place: int) -> None:
        """One pair takes over; what is no pair is refused before and after."""
        for names in ([self.damaged], ["nowhere"]):
            status, reply = client.post("/v1/admin/load", json.dumps({"runs": names}))
            assert (status, reply["error"]["code"]) == (422, "bad_run"), reply
        self._changed(client, "load", {"runs": list(self.pairs[place])}, self.versions[place])

    def _changed(self, client: Client, what: str, body: dict[str, Any], version: str) -> None:
        """What is asked for from now on has this version."""
        status, reply = client.post(f"/v1/admin/{what}", json.dumps(body))
        assert (status, reply.get("current", {}).get("version")) == (200, version), reply
        found = client.post("/v1/recommend", "{}")[1]["version"]
        assert found == version, f"{version} was loaded, {found} answers"


def damage(run: Path, name: str) -> None:
    """A copy of a run beside it, under this name, of whose weights one bit is another."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
