"""Every ranker of the registry as a graph: it scores as the model does, or it is refused."""

import numpy as np
import pytest
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.export.check import TOLERANCE
from isthmus.export.runtime import GraphSession
from isthmus.export.stored import with_stored_tables
from isthmus.export.whole import domain_input, write_whole
from isthmus.inference import probabilities
from isthmus.models import Ranker
from isthmus.schema import Feature, Schema
from isthmus.testing import toy_impressions, toy_schema

MIXED = {
    "adasparse",
    "aesm2",
    "autoint",
    "dcn",
    "dcnv2",
    "deepfm",
    "epnet_s",
    "finalmlp",
    "hamur",
    "mlp",
}
"""Rankers whose graph takes rows of several domains in a call; the others' of one alone."""
BY_ROW = {"adl", "hinet"}
"""A row meets parts that are not its domain's alone: no graph of one part scores as these do."""
RANKERS = [name for name in models.names() if issubclass(models.get(name), Ranker)]
SCHEMA = toy_schema()


def made(name):
    """With as few numbers as there may be: torch.onnx takes seconds of any size."""
    torch.manual_seed(0)
    kind = models.get(name)
    model = kind(kind.Config(), SCHEMA)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.05 * torch.randn_like(value)
    return model.eval()


def differs(graph, model, rows):
    return np.abs(graph(rows) - probabilities(model, rows)).max()


def checked(name, folder):
    model = made(name)
    graph = GraphSession(folder / write_whole(model, folder, 18, {}), SCHEMA)
    mixed = toy_impressions(SCHEMA, 60)
    mixed.domain[::7] = 0
    alike = [Impressions(mixed.features, torch.full((60,), d), mixed.label) for d in range(4)]
    if name in BY_ROW:
        assert max(differs(graph, model, rows) for rows in alike) > TOLERANCE
        return
    for rows in alike:
        assert np.ptp(probabilities(model, rows)) > 1e-4
        assert differs(graph, model, rows) < 1e-6
        assert differs(graph, model, rows[:1]) < 1e-6
    assert (differs(graph, model, mixed) < 1e-6) == (name in MIXED)


def test_a_graph_scores_as_its_model_does(tmp_path):
    checked("mlp", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*RANKERS} - {"aread", "mlp"}))
def test_every_ranker_of_the_registry(name, tmp_path):
    checked(name, tmp_path)


def test_all_that_is_said_of_rankers_is_of_rankers():
    assert {*RANKERS} >= MIXED | BY_ROW


@pytest.mark.slow
def test_small_tables_of_any_model(tmp_path):
    """Two tables of embeddings, both of 8 bits."""
    model = made("deepfm")
    stored = with_stored_tables(model, "int8")
    graph = GraphSession(tmp_path / write_whole(stored, tmp_path, 18, {}), SCHEMA)
    rows = toy_impressions(SCHEMA, 60)
    assert differs(graph, stored, rows) < 1e-6 < differs(graph, model, rows)


def test_the_domain_has_a_name_of_its_own():
    features = (Feature(name="domain", size=3), Feature(name="domain_id", size=3))
    assert domain_input(SCHEMA) == "domain"
    assert domain_input(Schema(features=features, domains=("a",))) == "domain_id_id"
