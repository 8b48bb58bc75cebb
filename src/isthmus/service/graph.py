"""Small networks as graphs that ONNX Runtime computes in one call.

A request's tensors are small: of its time, most goes from one operation to the next, and a core that
served something else meanwhile has none of that code at hand. A graph is one operation.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shape = Sequence[int | str]
"""Sizes; a text stands for one that a call decides."""
_OPSET, _FORMAT = 20, 9
_TYPES = {"float": np.float32, "int64": np.int64, "double": np.float64}


def can_compute() -> bool:
    """Whether ``isthmus[serve]`` is installed, which brings ONNX Runtime."""
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


class Graph:
    """A graph that grows node by node; each node is known by the name that ``node`` gives."""

    def __init__(self) -> None:
        from onnx import helper

        self._helper = helper
        self._inputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def input(self, name: str, shape: Shape, kind: str = "float") -> str:
        """What a call brings: "float" or "int64"."""
        self._inputs.append(self._value(name, kind, shape))
        return name

    def node(self, operator: str, *inputs: str | Tensor | Sequence[int], **settings: Any) -> str:
        """The first output of an operator of ONNX; tensors and whole numbers are its constants."""
        return self.split(operator, 1, *inputs, **settings)[0]

    def split(
        self, operator: str, outputs: int, *inputs: str | Tensor | Sequence[int], **settings: Any
    ) -> list[str]:
        """All outputs of an operator that has several."""
        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        made = [f"{operator}_{len(self._nodes)}_{n}" for n in range(outputs)]
        self._nodes.append(self._helper.make_node(operator, names, made, **settings))
        return made

    def compiled(self, output: str, shape: Shape, kind: str = "float") -> "Compiled":
        """The graph, ready to compute one of its nodes."""
        from onnx import numpy_helper

        constants = [numpy_helper.from_array(v, name) for name, v in self._constants.items()]
        outputs = [self._value(output, kind, shape)]
        made = self._helper.make_graph(self._nodes, "request", self._inputs, outputs, constants)
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(made, opset_imports=[opset], ir_version=_FORMAT)
        return Compiled(model.SerializeToString())

    def _constant(self, value: Tensor | Sequence[int]) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else np.array(value, np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = np.ascontiguousarray(array)
        return name

    def _value(self, name: str, kind: str, shape: Shape) -> Any:
        number = self._helper.np_dtype_to_tensor_dtype(np.dtype(_TYPES[kind]))
        return self._helper.make_tensor_value_info(name, number, shape)


class Compiled:
    """A graph of one output; threads may share it."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        # As of torch in a server: threads cost a small request more than they save.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        (found,) = self._session.run(None, inputs)
        return found


def arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    """Tensors as arrays over the same memory where that is in order."""
    return [np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors]


def product(*factors: Tensor) -> Tensor:
    """Matrices multiplied in double precision: what is folded together loses nothing by it."""
    found = factors[0].double()
    for factor in factors[1:]:
        found = torch.matmul(found, factor.double())
    return found.float()
