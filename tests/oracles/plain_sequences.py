"""Sequence retrievers written plainly: one user, one token and one expert at a time.

They read the weights of our models and nothing else of them; evaluation mode only. A user is
``(items, domains)``, the last of which is to be predicted and is never read.
"""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from tests.oracles import plain_experts
from tests.oracles.plain_syncrec import expert, normalised


def layer_norm(module, x):
    return normalised(x, module.weight, module.bias)


def inputs(model, items, domains, start=None, positions=True):
    """What each token reads: the start, then items up to the last but one. A list."""
    embed, rows = model.embed, []
    for t in range(len(items)):
        x = embed.start.weight[0] if start is None else start
        if t:
            x = model.items.weight[items[t - 1]] + embed.domain.weight[domains[t - 1]]
        rows.append(layer_norm(embed.norm, x + embed.position.weight[t] if positions else x))
    return torch.stack(rows)


def encoded(model, encoder, x_LH):
    return expert(SimpleNamespace(config=model.config, experts=encoder), 0, x_LH)


def sasrec(model, items, domains):
    """States of all tokens, [L, H]."""
    return encoded(model, model.encoder, inputs(model, items, domains))


def gru4rec(model, items, domains):
    gru, state, out = model.gru, torch.zeros(model.config.embedding_dim, dtype=torch.float64), []
    for x in inputs(model, items, domains, positions=False):
        read = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
        kept = (gru.weight_hh_l0 @ state + gru.bias_hh_l0).chunk(3)
        reset, update = ((a + b).sigmoid() for a, b in zip(read[:2], kept[:2], strict=True))
        new = torch.tanh(read[2] + reset * kept[2])
        state = (1 - update) * new + update * state
        out.append(plain_experts.linear(model.out, state))
    return torch.stack(out)


def hstu(model, items, domains):
    x_LH, longest = inputs(model, items, domains), model.schema.max_history + 1
    for unit in model.units:
        rows = [
            F.silu(plain_experts.linear(unit.project, layer_norm(unit.norm_in, x))) for x in x_LH
        ]
        gate, value, query, key = torch.stack(rows).chunk(4, 1)
        size = x_LH.shape[1] // unit.heads
        out = []
        for t in range(len(items)):
            mixed = torch.zeros_like(x_LH[0])
            for h in range(unit.heads):
                own = slice(h * size, (h + 1) * size)
                for s in range(t + 1):
                    score = query[t, own] @ key[s, own] + unit.distance[t - s]
                    mixed[own] += F.silu(score) / longest * value[s, own]
            gated = layer_norm(unit.norm_out, mixed) * gate[t]
            out.append(x_LH[t] + plain_experts.linear(unit.out, gated))
        x_LH = torch.stack(out)
    y_LH = layer_norm(model.norm, x_LH)
    return torch.stack([y / y.norm() / model.config.cosine_temperature for y in y_LH])


def own_head(model, d, x):
    tower = model.tower
    y = plain_experts.own_linear(tower.down, d, F.gelu(plain_experts.own_linear(tower.up, d, x)))
    return plain_experts.own_linear(model.out, d, normalised(x + y, tower.scale[d], tower.shift[d]))


def mmoe_seq(model, items, domains):
    out = []
    for x, d in zip(sasrec(model, items, domains), domains, strict=True):
        gate = plain_experts.own_linear(model.gate, d, x)
        mixed = plain_experts.mixture(gate, plain_experts.shared_experts(model.experts, x))
        out.append(own_head(model, d, mixed))
    return torch.stack(out)


def ple_seq(model, items, domains):
    out = []
    for x, d in zip(sasrec(model, items, domains), domains, strict=True):
        own = shared = x
        for number, level in enumerate(model.levels, 1):
            outputs = plain_experts.own_experts(level.specific, d, own)
            outputs += plain_experts.shared_experts(level.shared, shared)
            next_own = plain_experts.mixture(plain_experts.own_linear(level.gate, d, own), outputs)
            if number < len(model.levels):
                to_own = plain_experts.own_linear(level.shared_gate_own, d, shared)
                to_shared = plain_experts.linear(level.shared_gate, shared)
                shared = plain_experts.mixture([*to_own, *to_shared], outputs)
            own = next_own
        out.append(own_head(model, d, own))
    return torch.stack(out)


def c2dsr(model, items, domains):
    cross, out = encoded(model, model.cross, inputs(model, items, domains)), []
    for t, d in enumerate(domains):
        places = [s for s in range(t + 1) if domains[s] == d]
        own = inputs(model, [items[s] for s in places], [d] * len(places), model.start.weight[d])
        reading = encoded(model, model.own, own)[-1]
        out.append(plain_experts.own_linear(model.out, d, cross[t] + reading))
    return torch.stack(out)


def bert4rec(model, items, domains):
    """The state of the last token alone, hidden behind the mask, from all others: [1, H]."""
    embed, rows = model.embed, []
    mask = len(model.items.weight) - 1
    for t, (item, d) in enumerate(zip(items, domains, strict=True)):
        last = t == len(items) - 1
        x = model.items.weight[mask if last else item] + embed.domain.weight[0 if last else d]
        rows.append(layer_norm(embed.norm, x + embed.position.weight[t]))
    x_LH, heads = torch.stack(rows), model.config.heads
    for block in model.encoder.blocks:
        n1, n2 = ((n.scale[0, 0], n.shift[0, 0]) for n in (block.norm_1, block.norm_2))
        project, out = block.attention.project, block.attention.out
        q, k, v = (normalised(x_LH, *n1) @ project.weight[0] + project.bias[0]).chunk(3, 1)
        size, mixed = x_LH.shape[1] // heads, []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            mixed.append(torch.softmax(q[:, own] @ k[:, own].T / size**0.5, 1) @ v[:, own])
        x_LH = x_LH + torch.cat(mixed, 1) @ out.weight[0] + out.bias[0]
        up = F.gelu(normalised(x_LH, *n2) @ block.up.weight[0] + block.up.bias[0])
        x_LH = x_LH + up @ block.down.weight[0] + block.down.bias[0]
    norm = model.encoder.norm
    return normalised(x_LH, norm.scale[0, 0], norm.shift[0, 0])[-1:]
