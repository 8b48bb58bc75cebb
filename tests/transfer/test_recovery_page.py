"""The page's recovery tables are those of the committed rows, which keep to what is claimed."""

from benchmarks import transfer_recovery as recovery

from isthmus.bench.rows import read_rows

ROWS = read_rows(recovery.RESULTS)


def test_the_tables_are_those_of_the_committed_rows():
    text = recovery.PAGE.read_text(encoding="utf-8")
    stale = "stale: run python benchmarks/transfer_recovery.py --drawn"
    assert recovery.tables(ROWS) in text, stale


def test_gradients_and_leaving_out_recover_the_planted_pairs_in_every_seed():
    found = [row for row in ROWS if row["model"] == "deepfm" and row["against"] == recovery.TRUTH]
    assert {row["seed"] for row in found} == {str(seed) for seed in recovery.SEEDS}
    assert {row["way"] for row in found} == {"gradients", "left_out"}
    assert min(float(row["correlation"]) for row in found) > 0.6
