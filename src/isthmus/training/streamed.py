"""safetensors files written a block of rows at a time, and so of tables that no process holds whole."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
import torch.distributed as dist
from torch import Tensor

from isthmus.distributed import is_sharded, peers
from isthmus.nn.embedding import own_rows, share_of
from isthmus.training.tensors import pack


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file with the bytes of ``pack``, which would have all of them in memory twice.

    Sharded tensors come from their owners, who ``give`` them meanwhile: no more than the rows of one
    tensor and process are in memory beside what was there.
    """
    with path.open("wb") as file:
        order = _header(file, tensors)
        for name in order:
            for rows in _blocks(tensors[name]):
                file.write(rows.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def give(tensors: Mapping[str, Tensor]) -> None:
    """Send the own rows of sharded tensors to the first process, which writes them."""
    for name in _order(tensors):
        if is_sharded(tensors[name]):
            dist.send(own_rows(tensors[name])[0].contiguous(), 0)


def _header(file: BinaryIO, tensors: Mapping[str, Tensor]) -> list[str]:
    order, start, entries = _order(tensors), 0, {}
    for name, dtype in order.items():
        stop = start + tensors[name].numel() * tensors[name].element_size()
        shape = list(tensors[name].shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return list(order)


def _order(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names in the order of safetensors, with what it calls their dtypes: as it has them without rows."""
    content = pack({name: torch.empty(0, dtype=t.dtype) for name, t in tensors.items()})
    entries = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {name: entry["dtype"] for name, entry in entries.items()}


def _blocks(tensor: Tensor) -> Iterator[Tensor]:
    own, first = own_rows(tensor)
    yield own.detach().cpu()
    if not is_sharded(tensor):
        return
    assert first == 0, "the first process writes, which has the first rows"
    for rank in range(1, peers().size):
        rows = own.new_empty(len(share_of(len(tensor), rank, peers().size)), *tensor.shape[1:])
        dist.recv(rows, rank)
        yield rows
