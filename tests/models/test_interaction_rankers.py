"""DeepFM, DCN, DCN V2, AutoInt and FinalMLP against their papers' equations, row by row."""

import numpy as np
import pytest
import torch

from isthmus import models
from isthmus.models.autoint import AutoInt
from isthmus.models.finalmlp import FinalMLP
from isthmus.schema import Feature
from isthmus.testing import toy_impressions, toy_schema
from tests.oracles import plain_interaction

SMALL = {"embedding_dim": 4, "hidden": (6, 8)}
MIX = {"variant": "low_rank", "rank": 3, "experts": 2}
STREAMS = {"hidden_2": (5, 6), "heads": 2}
CASES = [
    ("deepfm", {}),
    ("deepfm", {"domain_blind": True}),
    ("dcn", {}),
    ("dcn", {"cross_layers": 1, "domain_blind": True}),
    ("dcnv2", {}),
    ("dcnv2", {"structure": "stacked", "domain_blind": True}),
    ("dcnv2", MIX),
    ("dcnv2", {**MIX, "gate": "sigmoid", "structure": "stacked"}),
    ("autoint", {"head_width": 3}),
    ("autoint", {"head_width": 3, "heads": 3, "layers": 1, "deep": False, "domain_blind": True}),
    ("finalmlp", STREAMS),
    ("finalmlp", {**STREAMS, "gates": ("learned", "domain")}),
    ("finalmlp", {**STREAMS, "heads": 1, "gates": ("item", "learned"), "domain_blind": True}),
]


def build(name, settings, schema=None):
    """A model in float64 whose every parameter and statistic is away from where it starts."""
    torch.manual_seed(0)
    cls = models.get(name)
    config = cls.Config.model_validate({**SMALL, **settings})
    model = cls(config, schema or toy_schema()).double().eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_(std=0.6)
        for key, tensor in model.named_buffers():
            if "running" in key:
                tensor.uniform_(0.5, 2)
    return model


def rows(schema, number=24):
    """Rows with the unknown domain, unknown ids, and histories with and without padding."""
    batch = toy_impressions(schema, number)
    batch.domain[:3] = 0
    batch.features[:6, -2:] = 0
    batch.features[:2] = 0
    return batch


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_equals_the_equations_of_the_paper(name, settings):
    model = build(name, settings)
    batch = rows(model.schema)
    plain = getattr(plain_interaction, name)
    pairs = zip(batch.features, batch.domain, strict=True)
    expected = np.array([plain(model, row, domain) for row, domain in pairs])
    with torch.inference_mode():
        torch.testing.assert_close(model(batch), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)
    assert expected.std() > 0.1


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_a_blind_model_does_not_see_the_domain(name, settings):
    model = build(name, settings)
    batch = rows(model.schema)
    moved = type(batch)(batch.features, (batch.domain + 1) % 4, batch.label)
    with torch.inference_mode():
        same = torch.equal(model(batch), model(moved))
    assert same == settings.get("domain_blind", False)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_every_parameter_is_reached(name, settings):
    """The contract sees each model with its default settings alone."""
    model = build(name, settings).train()
    sum(model.losses(rows(model.schema)).values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.to_dense().abs().max() > 1e-9, key


def test_plain_autoint_has_no_mlp():
    model = AutoInt(AutoInt.Config(deep=False), toy_schema())
    assert not [name for name, _ in model.named_parameters() if "mlp" in name]


def test_a_gate_without_features_to_read_learns_its_context():
    schema = toy_schema()
    item = schema.model_copy(update={"features": schema.features[1:3]})
    model = build("finalmlp", STREAMS, item)
    assert model.gate.context is not None
    assert model.gate_2.context is None
    batch = rows(item)
    expected = [
        plain_interaction.finalmlp(model, row, domain)
        for row, domain in zip(batch.features, batch.domain, strict=True)
    ]
    with torch.inference_mode():
        torch.testing.assert_close(model(batch), torch.tensor(expected, dtype=torch.float64))


def test_gates_read_ids_of_their_own_side_alone():
    features = (
        Feature(name="user", size=5, role="user"),
        Feature(name="age", kind="number", size=5, role="user"),
        Feature(name="item", size=5, role="item"),
    )
    schema = toy_schema().model_copy(update={"features": features})
    model = FinalMLP(FinalMLP.Config(), schema)
    assert model.places == ([0], [2])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"heads": 3}, "heads must divide"),
        ({"hidden_2": ()}, "at least 1"),
        ({"domain_blind": True, "gates": ("domain", "item")}, "domain_blind hides it"),
    ],
)
def test_finalmlp_refuses_streams_that_do_not_fit(settings, told):
    with pytest.raises(ValueError, match=told):
        FinalMLP.Config.model_validate(settings)
