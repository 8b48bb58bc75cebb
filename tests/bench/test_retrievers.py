"""isthmus bench over retrievers: their own columns, tests against the best, search, leaderboard."""

import pytest

from isthmus.bench import BenchConfig, bench, beside, read_rows, tune
from isthmus.bench.rows import RANK_COLUMNS, RANK_DOMAINS, RANKED
from isthmus.data.prepare import prepare
from isthmus.report.board import Board
from isthmus.report.board_page import write_board
from isthmus.report.board_table import to_markdown
from isthmus.store import Store
from tests.data.events import config as sequence_config
from tests.data.events import events, written

SASREC = {"label": "SASRec", "model": "sasrec", "settings": {"embedding_dim": 4}}
FLOORS = [{"label": name, "model": name} for name in ("popularity", "markov")]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    file = written(events(900, users=60), folder / "e.parquet")
    data = prepare(sequence_config(file, min_count=3), folder / "prepared").path
    return BenchConfig.model_validate(
        {
            "name": "next",
            "data": str(data),
            "seeds": [0, 1],
            "workers": 1,
            "train": {"batch_size": 64, "max_epochs": 1},
            "entries": [*FLOORS, SASREC],
            "tune": {"trials": 2, "max_epochs": 1, "grid": {"lr": [1e-3, 1e-2]}},
        }
    )


def test_rows_tests_and_table(config, tmp_path):
    store, place = Store(tmp_path / "runs"), tmp_path / "next.csv"
    rows, failed = bench(config, store, place)
    assert failed == {}
    assert len(rows) == 6
    stored = read_rows(place)
    assert tuple(stored[0]) == RANK_COLUMNS
    for row in stored:
        found = store.run(row["run"]).rank_metrics["test"]
        assert row["ndcg@10"] == f"{found.primary.weighted['ndcg@10'].value:.6f}"
        assert row["all_ndcg@10"] == f"{found.protocols['all'].weighted['ndcg@10'].value:.6f}"
        assert row["new_ndcg@10"] == f"{found.primary.new.values['ndcg@10'].value:.6f}"
        assert int(row["cold"]) == found.primary.overall.cold > 0
        assert all(row[name] for name in RANKED)
    domains = read_rows(beside(place, "domains"))
    assert tuple(domains[0]) == RANK_DOMAINS
    assert len(domains) == 6 * 3
    pairs = read_rows(beside(place, "pairs"))
    assert {row["metric"] for row in pairs} == {"ndcg@10", "macro_ndcg@10"}
    assert len(pairs) == 4
    best = pairs[0]["best"]
    means = {label: sum(float(r["ndcg@10"]) for r in rows if r["label"] == label) / 2 for label in {r["label"] for r in rows}}  # fmt: skip
    assert best == max(means, key=means.get)
    for row in pairs[:2]:
        assert float(row["difference"]) == pytest.approx(means[row["label"]] - means[best], abs=2e-6)  # fmt: skip

    board = Board.of(stored, pairs, domains)
    assert [line.label for line in board.lines] == sorted(means, key=lambda label: -means[label])
    table = to_markdown(board)
    assert "| model | seeds | NDCG@10 | HR@10 |" in table
    assert "AUC" not in table
    assert "reward a model for telling domains apart" in table
    written = write_board(board, tmp_path / "board")
    assert (tmp_path / "board" / "standing-ndcg10.svg") in written
    assert "AUC" not in (tmp_path / "board" / "leaderboard.md").read_text()


def test_search_is_by_the_validation_ranking(config, tmp_path):
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "t.csv", entries=config.entries[-1:])
    assert failed == {}
    assert {row["metric"] for row in rows} == {"ndcg@10"}
    assert all(0 < float(row["valid"]) < 1 for row in rows)


def test_one_model_a_domain_is_searched_and_measured_like_any(config, tmp_path):
    entry = {**SASREC, "label": "one a domain", "scope": "isolated"}
    values = {**config.model_dump(), "entries": [FLOORS[0], entry], "seeds": [0]}
    both = BenchConfig.model_validate(values)
    trials, failed = tune(both, tmp_path, tmp_path / "next.tuning.csv", entries=both.entries[1:])
    assert failed == {}
    assert len({row["valid"] for row in trials}) == 2
    rows, failed = bench(both, Store(tmp_path / "runs"), tmp_path / "next.csv")
    assert failed == {}
    (own,) = (row for row in rows if row["label"] == "one a domain")
    found = Store(tmp_path / "runs").run(own["run"])
    assert own["scope"] == found.config["scope"] == "isolated"
    assert found.config["train"]["lr"] == float(own["lr"])
    assert 0 < float(own["ndcg@10"]) < 1
