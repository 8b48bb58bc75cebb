"""A request's candidates, scored by exported graphs, by the service and by the model itself.

    python benchmarks/speed/export.py [--rounds 200]

One user, 64 or 200 candidates, of one domain and of five; an AREAD of the default sizes over 30
domains with random weights and masks of about half of the edges. One thread; milliseconds are of the
process's CPU, the median over rounds in which all sides take turns; ratios are medians of a round's.
The rows of a graph hold the user once, but for "whole rows", where each candidate brings its own.
Writes ``benchmarks/results/export.csv``.
"""

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402  the thread settings come first
import onnxruntime  # noqa: E402
import torch  # noqa: E402

from benchmarks.serve.made import DOMAINS, IDS, ROLES  # noqa: E402
from benchmarks.speed import workload  # noqa: E402
from benchmarks.speed.clock import interleaved, median, ratio  # noqa: E402
from isthmus.batch import Impressions  # noqa: E402
from isthmus.export.aread import Paths  # noqa: E402
from isthmus.export.graph import OLDEST, WeightsFile  # noqa: E402
from isthmus.export.runtime import by_name  # noqa: E402
from isthmus.export.stored import by_vocabulary, with_stored_tables  # noqa: E402
from isthmus.inference import probabilities  # noqa: E402
from isthmus.models.aread import AREAD  # noqa: E402
from isthmus.schema import Feature, Schema  # noqa: E402
from isthmus.service.folded import Folded  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "export.csv"
ITEMS, SEVERAL = 10_000, (3, 7, 12, 20, 28)
HEAD = ("candidates", "domains", "side", "ms", "a_cpu_second", "of_model", "of_service")
Side = Callable[[], np.ndarray]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    rounds = options.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = workload.model("aread", schema())
    assert isinstance(model, AREAD)
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as place:
        graphs = {
            tables: Graphs(model.eval(), tables, Path(place) / tables)
            for tables in ("float32", "float16", "int8")
        }
        for candidates in (64, 200):
            for domains in (SEVERAL[:1], SEVERAL):
                found = sides(model, graphs, candidates, domains)
                lines += measured(found, candidates, len(domains), rounds)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    for line in lines:
        print("".join(f"{cell!s:>16}" for cell in line))


def schema() -> Schema:
    """That of ``benchmarks/serve``: four features of items, two of users and a history, two more."""
    features = [
        Feature(name=name, size=(size or ITEMS) + 1, role=ROLES.get(name, "context"))  # type: ignore[arg-type]
        for name, size in IDS.items()
    ]
    recent = Feature(
        name="recent", kind="history", size=ITEMS + 1, table="item", role="user", length=5
    )
    return Schema(features=(*features, recent), domains=tuple(f"d{n}" for n in range(DOMAINS)))


class Graphs:
    """The graphs of the domains that are asked for, in onnxruntime."""

    def __init__(self, model: AREAD, tables: str, folder: Path) -> None:
        folder.mkdir()
        stored = with_stored_tables(model, tables)  # type: ignore[arg-type]
        files = WeightsFile(folder / "tables.bin"), WeightsFile(folder / "shared.bin")
        rows = by_vocabulary(stored.embed.features, model.schema.tables)  # type: ignore[union-attr, arg-type]
        paths = Paths(stored, rows, *files)  # type: ignore[arg-type]
        for file in files:
            file.close()
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = threads.inter_op_num_threads = 1
        self._sessions = {}
        for domain in SEVERAL:
            path = folder / f"{domain}.onnx"
            path.write_bytes(paths.model(domain, OLDEST, {}).SerializeToString())
            self._sessions[domain] = onnxruntime.InferenceSession(str(path), threads)

    def side(self, rows: Impressions, shared: set[str]) -> Side:
        """Scores of these rows; features in ``shared`` are given once."""
        domain, parts = rows.domain.numpy(), []
        for one in np.unique(domain):
            own = np.flatnonzero(domain == one)
            feeds = by_name(schema(), rows.features.numpy()[own])
            feeds = {n: v[:1] if n in shared else v for n, v in feeds.items()}
            parts.append((own, self._sessions[int(one)], feeds))

        def scored() -> np.ndarray:
            found = np.empty(len(domain))
            for own, session, feeds in parts:
                found[own] = session.run(None, feeds)[0]
            return found

        return scored


def sides(
    model: AREAD, graphs: dict[str, Graphs], candidates: int, domains: tuple[int, ...]
) -> dict[str, Side]:
    """All who score one request; they agree."""
    draw, features = np.random.default_rng(1), model.schema.features
    ids = np.concatenate([draw.integers(1, f.size, (candidates, f.length)) for f in features], 1)
    is_item = np.array([f.role == "item" for f in features for _ in range(f.length)])
    ids[:, ~is_item] = ids[0, ~is_item]
    domain = np.sort(draw.choice(domains, candidates))
    rows = Impressions(torch.from_numpy(ids), torch.from_numpy(domain), torch.zeros(candidates))
    service, items = Folded(model), np.ascontiguousarray(ids[:, is_item])
    shared = {f.name for f in features if f.role != "item"}
    found: dict[str, Side] = {
        "model": lambda: probabilities(model, rows),
        "service": lambda: service(ids[0], items, domain),
        "graph": graphs["float32"].side(rows, shared),
        "whole rows": graphs["float32"].side(rows, set()),
        "graph, float16": graphs["float16"].side(rows, shared),
        "graph, int8": graphs["int8"].side(rows, shared),
    }
    wanted = found["model"]()
    for name, score in found.items():
        off = 0.05 if name.startswith("graph,") else 1e-6
        np.testing.assert_allclose(score(), wanted, rtol=0, atol=off, err_msg=name)
    return found


def measured(
    found: dict[str, Side], candidates: int, domains: int, rounds: int
) -> list[tuple[str, ...]]:
    """The lines of one request."""
    seconds = interleaved(found, rounds=rounds)
    return [
        (
            str(candidates),
            str(domains),
            name,
            f"{1000 * median(each):.3f}",
            f"{candidates / median(each):.0f}",
            f"{ratio(seconds['model'], each):.2f}",
            f"{ratio(seconds['service'], each):.2f}",
        )
        for name, each in seconds.items()
    ]


if __name__ == "__main__":
    main()
