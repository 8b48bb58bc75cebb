"""Training states to keep, and what it means that two are the same."""

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.training.state import TrainingState

FILES = [f"{name}.safetensors" for name in ("model", "optimizer", "best")]
FILES += ["state.json", "manifest.json"]


def trained(epochs: int, seed: int = 0) -> TrainingState:
    """A small model after some steps; its best epoch is the first."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.1, amsgrad=True)
    state = TrainingState()
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        state.scores.append(1.0 / (epoch + 3))
        state.losses.append({"logloss": float(loss.detach()), "aux": 0.1})
        state.model = {k: v.clone() for k, v in model.state_dict().items()}
        state.optimizer = optimizer.state_dict()
        if epoch == 0:
            state.best = state.model
    return state


def same(a: Any, b: Any) -> bool:
    """Equal in type, value, order, dtype, shape, stride and every bit."""
    if isinstance(a, Tensor):
        if (type(a), a.dtype, a.shape, a.stride()) != (type(b), b.dtype, b.shape, b.stride()):
            return False
        buffers = [t.contiguous().reshape(-1).view(torch.uint8).tolist() for t in (a, b)]
        return buffers[0] == buffers[1]
    if isinstance(a, dict):
        return isinstance(b, dict) and len(a) == len(b) and same(list(a.items()), list(b.items()))
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return a == b


def same_state(a: TrainingState, b: TrainingState) -> bool:
    return same(vars(a), vars(b))
