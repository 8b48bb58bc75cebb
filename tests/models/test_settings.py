"""Settings that are allowed work, those that cannot work are refused: for every model."""

import pytest
from pydantic import ValidationError

from isthmus import models
from isthmus.contract import SCHEMA, rows, scores

WIDTHS = [
    (name, key)
    for name in models.names()
    for key, value in models.get(name).Config()
    if isinstance(value, tuple) and value and all(isinstance(width, int) for width in value)
]


@pytest.mark.parametrize(("name", "key"), WIDTHS)
def test_no_hidden_layer_is_refused_or_works(name, key):
    kind = models.get(name)
    try:
        config = kind.Config.model_validate({key: ()})
    except ValidationError:
        return
    model = kind(config, SCHEMA)
    batch = rows(model, 8)
    assert all(loss.isfinite() for loss in model.losses(batch).values())
    assert scores(model, batch).isfinite().all()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("aread", "bottom_hidden"),
        ("aread", "experts"),
        ("mmoe", "expert_hidden"),
        ("m3oe", "expert_hidden"),
        ("hinet", "expert_hidden"),
        ("hinet", "task_hidden"),
        ("sar_net", "expert_hidden"),
        ("aesm2", "layers"),
        ("finalmlp", "hidden_2"),
    ],
)
def test_experts_need_a_layer(name, key):
    with pytest.raises(ValidationError, match="at least 1"):
        models.get(name).Config.model_validate({key: ()})
