"""AREAD's mask search written plainly: one candidate after the other, each a copy of the network.

Embeddings, bottom and bypass are frozen, batch norm is at its running statistics and belongs to the
linear layers: what the search is said to do, without stacking anything.
"""

import copy

import torch
from torch import nn

from tests.oracles.plain_aread import bce
from tests.oracles.plain_masks import edges, on_a_path, strongest


class FrozenExpert(nn.Module):
    """An expert whose batch norm is multiplied into linear layers."""

    def __init__(self, expert):
        super().__init__()
        self.linears = nn.ModuleList()
        for linear, norm in zip(expert.linears, expert.norms, strict=True):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            joint = nn.Linear(linear.in_features, linear.out_features, dtype=scale.dtype)
            joint.weight.data = (linear.weight * scale[:, None]).detach()
            joint.bias.data = (norm.bias - norm.running_mean * scale).detach()
            self.linears.append(joint)

    def forward(self, x, active):
        for linear in self.linears:
            x = torch.relu(linear(x))
        return x * active[:, None]


def candidate(plain, domain, mask):
    """A copy of the plain model with one domain's mask, and its trainable parameters."""
    copied = copy.deepcopy(plain).eval()
    copied.levels = nn.ModuleList(
        nn.ModuleList(FrozenExpert(expert) for expert in level) for level in copied.levels
    )
    set_mask(copied, domain, mask)
    copied.searched = True  # every candidate has a mask
    copied.requires_grad_(False)
    parts = [copied.levels, copied.gates, copied.group, copied.heads]
    for part in parts:
        part.requires_grad_(True)
    return copied, [p for part in parts for p in part.parameters()]


def set_mask(plain, domain, mask):
    for level, chosen in zip(plain.masks, mask, strict=True):
        level[domain] = chosen


def search(plain, domain, start, fit, score, config, *, keeps_first):
    """The masks that all candidates end with, and their log losses on the scoring batches.

    ``start``: [Z, S, T] a level; ``fit`` and ``score``: lists of batches, the same for all.
    """
    masks, losses = [], []
    for z in range(len(start[0])):
        mask = [level[z].clone() for level in start]
        model, parameters = candidate(plain, domain, mask)
        optimizer = torch.optim.Adam(parameters, config.lr, betas=(0.9, 0.99))
        for step, batch in enumerate(fit, start=1):
            optimizer.zero_grad()
            model.loss(batch.features, batch.domain, batch.label).backward()
            optimizer.step()
            if not (keeps_first and z == 0):
                mask = pruned(model, domain, mask, config.share_after(step))
                set_mask(model, domain, mask)
        masks.append(mask)
        losses.append(score_of(model, score))
    return masks, torch.stack(losses)


@torch.no_grad()
def pruned(model, domain, mask, share):
    """Of each level the strongest gates, relative to the number of experts below."""
    row = torch.tensor([domain])
    gate_input = torch.cat([model.domain(row), model.groups(row)], dim=1)
    weight = []
    for level, kept in enumerate(mask, start=1):
        columns = [
            model.row_gates(level, t, gate_input, row)[0] * kept.shape[0]
            for t in range(kept.shape[1])
        ]
        weight.append(torch.stack(columns, dim=1))
    loose = [torch.zeros_like(level) for level in mask]
    for level, s, t in strongest(mask, weight, share):
        loose[level][s, t] = True
    useful = on_a_path(loose) or edges(mask)
    result = [torch.zeros_like(level) for level in mask]
    for level, s, t in useful:
        result[level][s, t] = True
    return result


@torch.no_grad()
def score_of(model, batches):
    """Log loss of the mean probability over all rows of the batches."""
    total, rows = 0.0, 0
    for batch in batches:
        total = total + bce(model.probability(batch.features, batch.domain), batch.label).sum()
        rows += len(batch)
    return total / rows
