"""Nested state comes back exactly: every kind of tensor, number, key, stride and sharing."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from isthmus.training import checkpoint, tensors
from isthmus.training.state import TrainingState
from tests.training.states import same, same_state


def tensor(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randint(0, 2, shape).to(dtype)


SPECIAL: dict[str, Callable[[], Tensor]] = {
    "zero-dim": lambda: torch.tensor(3.5),
    "empty": lambda: torch.empty(0),
    "empty, with a shape": lambda: torch.empty(3, 0, 2, dtype=torch.int64),
    "transposed": lambda: torch.randn(3, 4).t(),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "NaN with payload": lambda: torch.tensor([0x7FC0BEEF, 0x7F800000]).int().view(torch.float32),
    "negative zero": lambda: torch.tensor([-0.0, 0.0]),
    "subnormal": lambda: torch.tensor([1e-44]),
    "int64 beyond 2^53": lambda: torch.tensor([2**62 + 1, -(2**63)]),
    "buffer": lambda: torch.randn(3).requires_grad_(True).detach(),
}
for _type in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float64"):
    SPECIAL[_type] = lambda dtype=getattr(torch, _type): tensor(dtype, 2, 3)


@pytest.mark.parametrize("kind", SPECIAL)
def test_every_kind_of_tensor_comes_back(tmp_path: Path, kind: str) -> None:
    value = SPECIAL[kind]()
    state = TrainingState(
        [0.5],
        [{}],
        {"weight": value},
        {"state": {0: {"exp_avg": value.clone()}}},
        {"weight": value},
    )
    checkpoint.save(state, tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert same_state(found, state)


def test_views_with_gaps_and_overlaps_come_back_by_value(tmp_path: Path) -> None:
    views = {
        "slice": torch.arange(10.0)[::3],
        "expanded": torch.tensor([1.0, 2.0])[:, None].expand(2, 5),
    }
    checkpoint.save(TrainingState([0.0], [{}], views, {}, views), tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    for name, view in views.items():
        assert torch.equal(found.model[name], view)
        assert found.model[name].is_contiguous()


def test_a_parameter_that_requires_grad_comes_back_as_a_plain_tensor(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(3))
    checkpoint.save(TrainingState([0.0], [{}], {"w": weight}, {}, {"w": weight}), tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert type(found.model["w"]) is Tensor
    assert not found.model["w"].requires_grad
    assert torch.equal(found.model["w"], weight)


def test_tied_weights_stay_tied_and_views_of_one_storage_part(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    state = {"tied": whole, "again": whole, "head": whole[:4], "tail": whole[2:], "t": whole}
    node, kept = tensors.flatten(state)
    assert list(kept) == ["tied", "head", "tail"]  # the twins are stored once
    back = tensors.restore(json.loads(json.dumps(node)), tensors.unpack(tensors.pack(kept)))
    assert same(back, state)
    assert back["tied"] is back["again"]
    back["head"].zero_()
    assert torch.equal(back["tail"], whole[2:])


def test_names_that_collide_do_not_mix() -> None:
    state = {"a.b": torch.zeros(2), "a": {"b": torch.ones(3)}, 0: torch.ones(1), "0": torch.ones(4)}
    node, kept = tensors.flatten(state)
    assert len(kept) == 4
    assert same(tensors.restore(node, kept), state)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.float64])
tensors_of = st.builds(
    lambda dtype, shape: tensor(dtype, *shape), dtypes, st.lists(st.integers(0, 3), max_size=3)
)
nested = st.recursive(
    scalars | tensors_of,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text("ab.0~") | st.booleans(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(state=st.dictionaries(st.text("ab.", min_size=1), nested, max_size=4))
@settings(deadline=None)
def test_any_nested_state_comes_back(state: dict[str, Any]) -> None:
    node, kept = tensors.flatten(state)
    again = json.loads(json.dumps(node, sort_keys=True))
    assert same(tensors.restore(again, tensors.unpack(tensors.pack(kept))), state)


def test_an_ordered_dict_is_kept_as_a_dict() -> None:
    state = OrderedDict(b=1, a=torch.ones(1))
    node, kept = tensors.flatten(state)
    assert list(tensors.restore(node, kept)) == ["b", "a"]


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", 1j, torch.ones(2).to_sparse(), torch.ones(2, device="meta")],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_restored_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"state\.0\.x: .* checkpoint"):
        tensors.flatten({"state": {0: {"x": value}}})
