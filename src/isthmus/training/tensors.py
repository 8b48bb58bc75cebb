"""Nested state as safetensors and JSON: exact, and never pickle.

safetensors holds a flat dict of named tensors. An optimiser's state is nested, has integers as keys
and numbers beside its tensors; ``flatten`` takes it apart into a JSON tree and such a dict,
``restore`` puts it together again: same types, keys, order, dtypes, shapes, strides, and the same
sharing where one tensor stands in two places.
"""

from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

Json = Any  # a tree of dict, list, str, int, float, bool and None


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as the content of a safetensors file; the same tensors give the same bytes."""
    # a clone has its own storage: safetensors refuses tensors that share one
    return safetensors.torch.save(
        {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
    )


def unpack(content: bytes) -> dict[str, Tensor]:
    """Read the content of a safetensors file; ValueError if it is something else, such as a pickle."""
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, AssertionError, KeyError, RuntimeError) as error:
        raise ValueError(f"not a safetensors file ({error})") from None
    return {name: tensor.clone() for name, tensor in tensors.items()}


def same_bits(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same names in the same order, with equal dtypes, shapes and bits."""
    return list(a) == list(b) and all(_same(a[name], b[name]) for name in a)


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    if (a.dtype, a.shape, a.stride()) != (b.dtype, b.shape, b.stride()):
        return False
    return torch.equal(*(t.detach().reshape(-1).view(torch.uint8) for t in (a, b)))  # NaN too


def flatten(value: object) -> tuple[Json, dict[str, Tensor]]:
    """Take nested state apart into a JSON tree and the tensors that it names.

    ``value`` consists of dicts, lists, tuples, tensors, strings, numbers, bools and None; anything
    else is a TypeError, since it could not be restored. A tensor's name is its path.
    """
    tensors: dict[str, Tensor] = {}
    return _Flattener(tensors).node(value, ()), tensors


class _Flattener:
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.names: dict[tuple[object, ...], str] = {}  # of tensors met so far

    def node(self, value: object, path: tuple[str, ...]) -> Json:
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return {"float": value.hex()}  # every bit, and inf and nan
            case Tensor():
                return self._tensor(value, path)
            case list() | tuple():
                kind = "list" if isinstance(value, list) else "tuple"
                return {kind: [self.node(v, (*path, str(i))) for i, v in enumerate(value)]}
            case dict():
                return {
                    "dict": [
                        [self.node(key, path), self.node(v, (*path, str(key)))]
                        for key, v in value.items()
                    ]
                }
        raise TypeError(
            f"{'.'.join(path)}: a {type(value).__name__} cannot be kept in a checkpoint"
        )

    def _tensor(self, tensor: Tensor, path: tuple[str, ...]) -> Json:
        if tensor.layout != torch.strided or tensor.is_meta:
            raise TypeError(f"{'.'.join(path)}: only dense tensors can be kept in a checkpoint")
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        name = self.names.get(place) if tensor.numel() else None
        if name is None:
            name = self.names[place] = self._new_name(".".join(path))
            self.tensors[name] = tensor
        dense = torch.empty_like(tensor, device="meta").stride() == tensor.stride()
        if tensor.is_contiguous() or not dense:  # gaps and overlaps are not worth keeping
            return {"tensor": name}
        return {"strided": [name, list(tensor.stride())]}

    def _new_name(self, path: str) -> str:
        name, copies = path, 1
        while name in self.tensors:  # {"a.b": .., "a": {"b": ..}}
            copies += 1
            name = f"{path}~{copies}"
        return name


def restore(node: Json, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what ``flatten`` took apart; ValueError or LookupError if it is not of its making."""
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "float":
        return float.fromhex(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "strided":
        return _strided(tensors[content[0]], content[1])
    if kind == "list":
        return [restore(child, tensors) for child in content]
    if kind == "tuple":
        return tuple(restore(child, tensors) for child in content)
    if kind == "dict":
        return {restore(key, tensors): restore(child, tensors) for key, child in content}
    raise ValueError(f"{kind!r} is not a kind of node")


def _strided(tensor: Tensor, stride: list[int]) -> Tensor:
    if tensor.stride() != tuple(stride):
        strided = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype)
        # in place: whoever else has this tensor goes on sharing it
        tensor.set_(strided.copy_(tensor))  # type: ignore[call-overload]
    return tensor
