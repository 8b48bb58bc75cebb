"""Any ranker as one graph of all domains, as torch.onnx writes it; the domain is an input.

Shape letters: B rows, L a history's length.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from isthmus.batch import Impressions
from isthmus.errors import ConfigError
from isthmus.models import Ranker
from isthmus.schema import Schema

FILE = "model.onnx"
OUTPUT = "probability"
_EXAMPLE = 3
"""Rows of the batch that the graph is traced on; any number but 0 and 1 leaves it free."""


def domain_input(schema: Schema) -> str:
    """The name of the domain's input: no feature has it."""
    name = "domain"
    while name in schema.columns:
        name += "_id"
    return name


class _ByName(nn.Module):
    """A ranker whose features are inputs of their own, and whose output is the probability."""

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, domain_B: Tensor, *features: Tensor) -> Tensor:
        columns = [ids if ids.dim() == 2 else ids[:, None] for ids in features]
        label_B = torch.zeros_like(domain_B, dtype=torch.float32)
        rows = Impressions(torch.cat(columns, 1), domain_B, label_B)
        probability_B: Tensor = self.ranker(rows).double().sigmoid()
        return probability_B


def write_whole(ranker: Ranker, directory: Path, opset: int, facts: Mapping[str, str]) -> str:
    """Write the graph, its weights in a file beside it; the graph's file.

    Raises:
        ConfigError: torch.onnx cannot write it, and why.
    """
    schema = ranker.schema
    example = [torch.ones(_EXAMPLE, dtype=torch.int64)]
    for feature in schema.features:
        shape = (_EXAMPLE, feature.length) if feature.kind == "history" else (_EXAMPLE,)
        example.append(torch.zeros(shape, dtype=torch.int64))
    names = [domain_input(schema), *schema.columns]
    written(_ByName(ranker), tuple(example), (names, OUTPUT), directory / FILE, (opset, facts))
    return FILE


def written(
    module: nn.Module,
    example: tuple[Tensor, ...],
    names: tuple[Sequence[str], str],
    path: Path,
    how: tuple[int, Mapping[str, str]],
) -> None:
    """Write a module as a graph of any number of rows, its weights in a file beside it.

    ``names`` of its inputs and of its output; ``how``: the opset, and what is kept as metadata.

    Raises:
        ConfigError: torch.onnx cannot write it, and why.
    """
    free = tuple({0: Dim.DYNAMIC} for _ in example)
    shapes = (free[0], free[1:]) if isinstance(module, _ByName) else free
    try:
        with torch.no_grad(), _quiet():
            made = torch.onnx.export(
                module.eval(),
                example,
                dynamo=True,
                opset_version=how[0],
                input_names=list(names[0]),
                output_names=[names[1]],
                dynamic_shapes=shapes,
                verbose=False,
            )
    except Exception as error:  # of many kinds, of torch.export and of torch.onnx
        raise ConfigError(_why(module, error)) from error
    assert made is not None
    made.model.metadata_props.update(how[1])
    made.save(path, external_data=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx says of itself, and of packages that it does not find."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _why(module: nn.Module, error: BaseException) -> str:
    """What kept torch from writing a graph, in a line."""
    (model,) = module.children()
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
    return (
        f"{type(model).__name__} cannot be written as an ONNX graph: what it computes depends on the "
        f"numbers in a batch in a way that torch.export does not follow ({said}); docs/export.md "
        "lists the models that can"
    )
