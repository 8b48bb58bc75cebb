"""Transfer maps of planted groups: those of one help each other, those of two harm."""

import random

from isthmus.evaluation.transfer import TransferMap, WayMap, agreements
from tests.report.sample import NAMES


def transfer_sample(groups: int = 8, *, ways: int = 3) -> TransferMap:
    """A map of so many groups; the same arguments give the same figures."""
    rng = random.Random(groups)
    names = [
        NAMES[i] if i < len(NAMES) else f"{NAMES[i % 32]} {i // 32 + 1}" for i in range(groups)
    ]
    kind = [rng.randrange(3) for _ in names]

    def table(same: float, other: float, noise: float, low: float = -1.0):
        drawn = [
            [None if a == b else max(low, rng.gauss(same if kind[a] == kind[b] else other, noise))
             for b in range(groups)]
            for a in range(groups)
        ]  # fmt: skip
        return tuple(map(tuple, drawn))

    errors = tuple(tuple(None if a == b else 0.01 for b in range(groups)) for a in range(groups))
    found = {
        "left_out": WayMap(effect=table(0.03, -0.02, 0.012), error=errors, unit="AUC"),
        "gradients": WayMap(effect=table(0.3, -0.05, 0.1), unit="cosine"),
        "masks": WayMap(effect=table(0.6, 0.4, 0.08, low=0.0), unit="share of edges in common"),
    }
    chosen = dict(list(found.items())[:ways])
    return TransferMap(
        groups={name: (name,) if i else (name, "OTHER") for i, name in enumerate(names)},
        ways=chosen,
        absent={} if ways == 3 else {"masks": "mlp has no masks"},
        agreement=agreements(chosen),
        model="aread",
        runs=16,
        noise=(0.01,) * groups,
        resolved=0.02,
        protocol="How it was measured.",
    )
