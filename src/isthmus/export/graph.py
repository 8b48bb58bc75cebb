"""ONNX graphs, node by node, whose large weights lie in a file that many of them read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import ConfigError

OLDEST = 18
"""The first opset in which all nodes are as they are written here: of onnxruntime 1.14 (2023)."""
_IR = 8  # the file format of that time: later runtimes read it as well
_PAGE = 4096  # where a tensor begins, so that it can be mapped into memory

Array = NDArray[Any]
Shape = Sequence[int | str]


def checked_opset(opset: int) -> int:
    """``opset``, if graphs can be written in it.

    Raises:
        ConfigError: it is older than the nodes, or newer than the installed onnx.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise ConfigError(
            f"--opset {opset}: expected {OLDEST} to {newest}, which the installed onnx "
            f"{onnx.__version__} knows; leave it out for {OLDEST}, which all runtimes since 2023 read"
        )
    return opset


class WeightsFile:
    """Tensors in one file, which is mapped into memory by every graph that names a part of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("xb")

    def add(self, name: str, values: Array) -> TensorProto:
        """Write a tensor, at the start of a page; what stands for it in graphs."""
        values = np.ascontiguousarray(values)
        self._file.seek(-(-self._file.tell() // _PAGE) * _PAGE)
        place = self._file.tell()
        self._file.write(values.tobytes())
        tensor = TensorProto(
            name=name,
            dims=values.shape,
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        where = {"location": self.path.name, "offset": place, "length": values.nbytes}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class Graph:
    """A graph that is being built: every method returns the name of a value in it.

    Names of inputs and outputs are the caller's; those of all else hold a colon, and so are others.
    """

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape) -> str:
        """An input of ids (int64); a dimension with a name is free."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, list(shape)))
        return name

    def output(self, name: str, value: str, dtype: int, shape: Shape) -> None:
        """Give ``value`` to the outside under a name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def weight(self, values: Array | TensorProto) -> str:
        """A constant: an array is kept in the graph's own file, a tensor where it lies already."""
        if not isinstance(values, TensorProto):
            name = f"weight:{len(self._weights)}"
            values = numpy_helper.from_array(np.ascontiguousarray(values), name)
        self._weights.setdefault(values.name, values)
        return values.name

    def ints(self, *values: int) -> str:
        """A short vector of whole numbers, such as axes or a shape; equal ones are kept once."""
        name = "ints:" + ",".join(map(str, values))
        return self.weight(numpy_helper.from_array(np.array(values, np.int64), name))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        made = [f"{kind}:{len(self._nodes)}.{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, made, **attributes))
        return made

    def model(self, name: str, facts: Mapping[str, str]) -> onnx.ModelProto:
        """The finished model, checked; ``facts`` are kept as its metadata."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._weights.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self._opset)], producer_name="isthmus"
        )
        model.ir_version = _IR
        helper.set_model_props(model, dict(facts))
        return model
