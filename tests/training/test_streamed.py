"""Files written tensor by tensor hold the bytes of those written whole."""

import torch

from isthmus.training.streamed import give, write
from isthmus.training.tensors import pack


def test_the_bytes_are_those_of_the_whole(tmp_path):
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.bool, torch.int64, torch.bfloat16, torch.float64, torch.uint8)
    tensors = {f"{n}.ä": torch.randn(3, 5).to(dtype) for n, dtype in enumerate(dtypes)}
    tensors |= {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "turned": torch.randn(4, 3).T,
        "part": torch.randn(9, 2)[2:5],
        "a b/c": torch.randn(7),
        "trained": torch.nn.Parameter(torch.randn(2)),
    }
    for some in (tensors, {}, {"one": torch.arange(3, dtype=torch.int16)}):
        write(tmp_path / "file", some)
        assert (tmp_path / "file").read_bytes() == pack(some)


def test_nothing_is_given_of_whole_tensors():
    give({"one": torch.ones(3)})
