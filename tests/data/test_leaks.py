"""The audit: planted leaks are found, and honest data passes."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig, Split
from isthmus.data.leaks import Finding, separation
from isthmus.data.prepare import prepare
from isthmus.errors import LeakError
from tests.data.raw import FEATURES, config, raw, write

N = 600


def codes(data_findings: tuple[Finding, ...]) -> set[tuple[str, str, str]]:
    return {(finding.code, finding.severity, finding.feature) for finding in data_findings}


def labels(table: pa.Table) -> np.ndarray:
    return table["bought"].to_numpy()


def with_feature(values: object, **options: object) -> tuple[pa.Table, list[FeatureConfig]]:
    return raw(N, extra=values), [*FEATURES, FeatureConfig(name="extra", **options)]


LABEL = labels(raw(N))
DRAW = np.random.default_rng(5)
PLANTED = {
    "copy": (LABEL, {}),
    "copy as text": (pa.array(["no", "yes"]).take(pa.array(LABEL)), {}),
    "inverse": (1 - LABEL, {}),
    "many values, each of one label": (DRAW.integers(0, 20, N) * 2 + LABEL, {}),
    "missing unless bought": (pa.array(np.arange(N), mask=LABEL == 0), {}),
    "number": (LABEL * 3.5, {"kind": "number"}),
    "number with noise": (LABEL + DRAW.normal(0, 0.1, N), {"kind": "number"}),
    "falling number": (-5.0 * LABEL + DRAW.random(N), {"kind": "number"}),
    "number in a band": (np.where(LABEL, 0.0, DRAW.choice([-9, 9], N)) + DRAW.random(N),
                         {"kind": "number"}),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_a_feature_that_knows_the_label_stops(tmp_path: Path, case: str) -> None:
    values, options = PLANTED[case]
    table, features = with_feature(values, **options)
    asked = config(write(table, tmp_path / "in.parquet"), features=features)
    with pytest.raises(LeakError, match=r"\[label-in-feature\] feature 'extra' gives the label"):
        prepare(asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    accepted = prepare(asked.model_copy(update={"accept_leaks": True}), tmp_path / "out")
    assert ("label-in-feature", "blocks", "extra") in codes(accepted.manifest.audit)


HONEST = {
    "unique": (np.arange(N), {}),
    "random id": (DRAW.integers(0, 300, N), {}),
    "few rows of a pure value": (np.where(np.arange(N) < 5, 1, DRAW.integers(2, 9, N)), {}),
    "strong but honest": (np.where(DRAW.random(N) < 0.85, LABEL, 1 - LABEL), {}),
    "random number": (DRAW.normal(size=N), {"kind": "number"}),
    "all missing": (pa.nulls(N, pa.int32()), {}),
}


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_feature_passes(tmp_path: Path, case: str) -> None:
    values, options = HONEST[case]
    table, features = with_feature(values, **options)
    data = prepare(
        config(write(table, tmp_path / "in.parquet"), features=features), tmp_path / "out"
    )
    assert {code for code, _, _ in codes(data.manifest.audit)} <= {"constant", "unseen-values"}


def test_few_rows_are_within_chance(tmp_path: Path) -> None:
    table = raw(12, extra=labels(raw(12)), at=np.arange(12))
    features = [FeatureConfig(name="extra")]
    data = prepare(
        config(write(table, tmp_path / "in.parquet"), features=features), tmp_path / "out"
    )
    assert not {code for code, _, _ in codes(data.manifest.audit)} & {"label-in-feature"}


def test_separation_is_the_leave_one_out_auc_of_a_slow_loop() -> None:
    draw = np.random.default_rng(0)
    value, label = draw.integers(0, 12, 300), draw.integers(0, 2, 300)
    label = np.where(draw.random(300) < 0.5, value % 2, label)
    prior = label.mean()
    scores = []
    for row in range(300):
        others = [label[k] for k in range(300) if k != row and value[k] == value[row]]
        scores.append((sum(others) + prior) / (len(others) + 1))
    counts: dict[int, list[int]] = defaultdict(list)
    for v, y in zip(value, label, strict=True):
        counts[v].append(y)
    found = separation(
        [len(y) for y in counts.values()], [sum(y) for y in counts.values()], [1] * len(counts)
    )
    assert found is not None
    assert found.auc == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
    pure = sum(max(sum(y), len(y) - sum(y)) for y in counts.values()) / 300
    assert found.purity == pytest.approx(pure)


def test_the_chance_error_is_that_of_shuffled_labels() -> None:
    draw = np.random.default_rng(1)
    label = np.repeat([0, 1], [150, 50])
    aucs = [roc_auc_score(draw.permutation(label), np.arange(200)) for _ in range(3000)]
    found = separation([100, 100], [30, 20], [1, 1])
    assert found is not None
    # the standard error of a standard deviation over 3,000 draws is 1.3 %
    assert found.error == pytest.approx(np.std(aucs), rel=0.06)


def test_one_class_has_no_separation() -> None:
    assert separation([5, 3], [0, 0], [1, 1]) is None
    assert separation([5, 3], [5, 3], [1, 1]) is None


TIMES = {
    "later if bought": np.arange(N) + 10_000 * LABEL,
    "whole hours unless bought": 3600 * np.arange(N) + LABEL * DRAW.integers(1, 3600, N),
    "midnight unless bought": 86_400 * np.arange(N) + LABEL * DRAW.integers(1, 86_400, N),
    "odd if bought": 2 * DRAW.integers(0, 40, N) + LABEL,
}


@pytest.mark.parametrize("case", TIMES)
def test_times_that_know_the_label_stop(tmp_path: Path, case: str) -> None:
    file = write(raw(N, at=TIMES[case]), tmp_path / "in.parquet")
    with pytest.raises(LeakError, match=r"\[label-in-time\] the time column"):
        prepare(config(file), tmp_path / "out")


def test_a_ready_history_that_holds_its_own_event_stops(tmp_path: Path) -> None:
    plain = raw(N)
    others = DRAW.integers(100, 130, (N, 3))
    item = plain["item"].to_numpy()
    leaky = np.where(LABEL[:, None] == 1, np.column_stack([item, others[:, :2]]), others)
    feature = FeatureConfig(name="seen", kind="history", length=3, table="item_id")
    for name, lists, stops in (("leaky", leaky, True), ("honest", others, False)):
        file = write(raw(N, seen=pa.array(lists.tolist())), tmp_path / f"{name}.parquet")
        asked = config(file, features=[*FEATURES, feature])
        if stops:
            with pytest.raises(LeakError, match=r"\[own-item-in-history\] history 'seen'"):
                prepare(asked, tmp_path / name)
        else:
            assert not prepare(asked, tmp_path / name).manifest.audit


def by_part(part: np.ndarray, file: Path, **changes: object) -> PrepareConfig:
    table = raw(N, part=pa.array(["train", "valid", "test"]).take(pa.array(part)), **changes)
    return config(
        write(table, file),
        features=FEATURES[:4],
        split=Split(by="column", column="part"),
    )


def test_valid_rows_before_training_rows_are_told(tmp_path: Path) -> None:
    asked = by_part(DRAW.integers(0, 3, N), tmp_path / "in.parquet", at=DRAW.permutation(N))
    data = prepare(asked, tmp_path / "out")
    assert codes(data.manifest.audit) == {("future-in-training", "warns", "split")}
    collects = asked.model_copy(update={"features": FEATURES})
    with pytest.raises(LeakError, match=r"\[future-in-training\].*collected histories"):
        prepare(collects, tmp_path / "again")


def test_twins_across_splits_stop(tmp_path: Path) -> None:
    order = np.arange(N) // 2
    asked = by_part(
        np.arange(N) % 2, tmp_path / "in.parquet", at=order, user=order % 20, item=order % 30
    )
    with pytest.raises(LeakError, match=r"\[split-twins\] 300 of 300 valid and test rows"):
        prepare(asked, tmp_path / "out")


def test_a_time_of_training_alone_is_told_as_useless(tmp_path: Path) -> None:
    table, features = with_feature(raw(N)["at"].to_numpy() // 10)
    data = prepare(
        config(write(table, tmp_path / "in.parquet"), features=features), tmp_path / "out"
    )
    assert codes(data.manifest.audit) == {("unseen-values", "warns", "extra")}


def test_all_leaks_are_named_at_once(tmp_path: Path) -> None:
    features = [*FEATURES, FeatureConfig(name="a"), FeatureConfig(name="b")]
    file = write(raw(N, a=LABEL, b=1 - LABEL), tmp_path / "in.parquet")
    with pytest.raises(LeakError, match=r"feature 'a' .*feature 'b' .*accept_leaks = true"):
        prepare(config(file, features=features), tmp_path / "out")


def test_the_bundled_real_data_passes(tmp_path: Path) -> None:
    import isthmus.data

    folder = Path(isthmus.data.__file__).parent / "bundled" / "ci_small_cj_ctr"
    names = ("store_id", "week", "department", "brand", "product_type", "display_location")
    asked = PrepareConfig(
        name="bundled",
        files=(str(next(folder.glob("*.parquet"))),),
        columns=Columns(
            user="user_id", item="item_id", domain="domain", label="label", time="timestamp"
        ),
        features=(
            FeatureConfig(name="user_id"),
            FeatureConfig(name="item_id"),
            *(FeatureConfig(name=name) for name in names),
        ),
    )
    data = prepare(asked, tmp_path / "out")
    assert codes(data.manifest.audit) == {("unseen-values", "warns", "week")}
