"""What is gathered, against slow counts of the same rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from isthmus.data import leaks
from isthmus.diagnose import diagnose, find_prepared
from isthmus.diagnose import rows as rows_module
from isthmus.diagnose.groups import grouped
from isthmus.diagnose.rows import data_evidence
from isthmus.diagnose.runs import run_evidence
from isthmus.errors import DataError
from isthmus.experiment import load_model
from isthmus.nn import masks
from isthmus.training.fit import CHURN


@pytest.fixture(scope="module")
def data(shop):
    return data_evidence(shop)


@pytest.fixture(scope="module")
def slow(shop):
    """Rows as Python values: split, domain id, label, ids by feature."""
    found = []
    for split in ("train", "valid", "test"):
        table, batch = shop.table(split), shop.impressions(split)
        for i in range(len(batch)):
            ids = {n: batch.features[i, c].tolist() for n, c in shop.schema.columns.items()}
            found.append((split, int(table["domain"][i]), int(table["label"][i]), ids))
    return found


def test_rows_and_unknown_values_are_counted(data, slow):
    for split in ("train", "valid", "test"):
        for d in range(4):
            here = [ids for s, domain, _, ids in slow if (s, domain) == (split, d)]
            assert data.rows[split][d] == len(here)
            for feature, counts in data.unknown.items():
                assert counts[split][d] == sum(not any(ids[feature]) for ids in here)


def test_a_feature_is_judged_in_each_domain_alone(data, slow, shop):
    by_name = {(s.feature, s.domain): s for s in data.separated}
    assert {feature for feature, _ in by_name} == {"who", "what", "flag"}
    for d, name in enumerate(shop.schema.domains, 1):
        tally = {}
        for split, domain, label, ids in slow:
            if (split, domain) == ("train", d):
                n, ones = tally.get(ids["flag"][0], (0, 0))
                tally[ids["flag"][0]] = n + 1, ones + label
        n, ones = zip(*tally.values(), strict=True)
        whole = leaks.separation(n, ones, np.ones(len(n)))
        assert by_name["flag", name].auc == pytest.approx(whole.auc, abs=1e-12)
        assert by_name["flag", name].error == pytest.approx(whole.error, abs=1e-12)
    assert by_name["flag", "games"].auc > 0.95 > by_name["flag", "books"].auc


def test_a_tally_is_the_same_either_way(data, shop, monkeypatch):
    monkeypatch.setattr(rows_module, "DENSE", 0)
    assert data_evidence(shop).separated == data.separated


def test_items_are_counted_in_domains(data, slow):
    seen = {}
    for split, domain, _, ids in slow:
        if split == "train" and domain and ids["what"][0]:
            seen.setdefault(ids["what"][0], set()).add(domain)
    assert {i: n for i, n in enumerate(data.spread) if n} == {i: len(s) for i, s in seen.items()}


def test_nothing_is_early_in_a_split_by_time(data):
    assert data.early.tolist() == [0, 0, 0, 0]
    assert data.target == "liked"
    assert data.sources["recent"] == "what"


def test_planted_faults_are_found_and_little_else(shop, runs):
    found = diagnose([runs["mmoe-0"], runs["mmoe-1"], runs["isolated"]], shop.path.parent)
    mmoe, isolated = found
    assert mmoe.seeds == (runs["mmoe-1"].name,)
    by_code = {f.code: f for f in mmoe.findings}
    assert by_code["ISTH104"].domains == ("games",)
    assert "'I5 '" in by_code["ISTH201"].message
    assert by_code["ISTH203"].domains == ("games",)
    assert not {f.code for f in mmoe.findings} & {"ISTH101", "ISTH103", "ISTH105", "ISTH202"}
    asked = {*mmoe.passed, *by_code}
    assert {"ISTH401", "ISTH701", "ISTH505"} <= asked
    assert "ISTH701" not in {*isolated.passed, *(f.code for f in isolated.findings)}


def test_data_elsewhere_is_said(shop, runs, tmp_path):
    (found,) = diagnose([runs["mmoe-0"]], tmp_path)
    reasons = {one.code: one.reason for one in found.not_applicable}
    assert "--root" in reasons["ISTH101"]
    assert "--root" in reasons["ISTH505"]
    assert find_prepared(tmp_path, shop.digest) is None
    assert find_prepared(shop.path, shop.digest).digest == shop.digest
    assert find_prepared(shop.path.parent, shop.digest).path == shop.path


def test_gates_are_means_over_a_domains_rows(shop, runs):
    group = grouped([runs["mmoe-0"]])[0]
    evidence = run_evidence(group, [group], (shop, data_evidence(shop)), shop.path)
    model, rows = load_model(runs["mmoe-0"]), shop.impressions("valid")
    with torch.inference_mode():
        share = model.gate_shares(rows)["experts"]
        mixed = {d: share[rows.domain == d].mean(0) for d in (1, 2, 3)}
    for d, mean in mixed.items():
        assert evidence.gates["experts"][d - 1] == pytest.approx(mean.numpy(), abs=1e-6)


def test_one_more_domain_costs_a_gate_a_tower_and_an_embedding(shop, runs):
    group = grouped([runs["mmoe-0"]])[0]
    evidence = run_evidence(group, [group], None, shop.path)
    model = load_model(runs["mmoe-0"])
    own = [p for p in model.parameters() if p.shape[0] == model.num_parts]
    assert evidence.own_parameters == sum(p.numel() // model.num_parts for p in own)


def test_masks_and_their_churn_come_from_weights_and_log(shop, runs):
    run = runs["aread"]
    evidence = run_evidence(grouped([run])[0], [], None, shop.path)
    model = load_model(run)
    for level, kept in zip(evidence.masks, model.expert_masks(), strict=True):
        assert np.array_equal(level, kept[1:].numpy())
    told = [e["told"][CHURN] for e in run.entries() if "told" in e]
    assert len(told) == 3
    assert any(any(epoch.values()) for epoch in told)
    for domain, by_epoch in evidence.course.churn.items():
        assert list(by_epoch) == [epoch[domain] for epoch in told]


def test_changed_edges_are_counted():
    before = [torch.tensor([[[1, 1], [0, 0]]]).bool(), torch.tensor([[[1], [0]]]).bool()]
    after = [torch.tensor([[[1, 0], [1, 0]]]).bool(), torch.tensor([[[1], [0]]]).bool()]
    assert masks.changed(before, after).tolist() == [2 / 4]
    assert masks.changed(before, before).tolist() == [0]


def test_runs_are_grouped_by_all_but_their_seed(runs):
    groups = grouped([runs["mmoe-1"], runs["isolated"], runs["mmoe-0"], runs["mmoe-0"]])
    assert [[r.name for r in g.runs] for g in groups] == [
        [runs["mmoe-0"].name, runs["mmoe-1"].name],
        [runs["isolated"].name],
    ]
    assert groups[0].pairs(groups[1]) == [(runs["mmoe-0"], runs["isolated"])]
    assert groups[0].beside(groups[1])
    assert not groups[0].beside(groups[0])


def test_an_unfinished_run_is_refused(runs, tmp_path):
    from isthmus.store import Store

    done = runs["mmoe-0"]
    begun = Store(tmp_path).create("begun", done.config, done.schema, done.data)
    with pytest.raises(DataError, match="not finished"):
        grouped([begun])


def test_findings_are_plain_json(shop, runs):
    (found,) = diagnose([runs["aread"]], shop.path.parent)
    plain = json.loads(json.dumps(found.model_dump(mode="json")))
    assert type(found).model_validate(plain) == found
    assert replace(data_evidence(shop), audit=()).audit == ()
