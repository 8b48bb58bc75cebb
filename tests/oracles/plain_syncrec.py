"""SyNCRec written plainly: users one by one, each domain's subsequence cut out, experts one by one.

It reads the weights of our model and nothing else of it; dropout and gate noise must be 0. Its
gradients are its own, by autograd through these loops.
"""

import math

import torch
import torch.nn.functional as F

EPS = 1e-5


def normalised(x, scale, shift):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + EPS) * scale + shift


def expert(model, k, x_LH):
    """Expert k on one sequence."""
    heads, pre_norm = model.config.heads, model.config.pre_norm
    for block in model.experts.blocks:
        n1, n2 = ((n.scale[k, 0], n.shift[k, 0]) for n in (block.norm_1, block.norm_2))
        if pre_norm:
            x_LH = x_LH + attention(block.attention, k, normalised(x_LH, *n1), heads)
            x_LH = x_LH + feed_forward(block, k, normalised(x_LH, *n2))
        else:
            x_LH = normalised(x_LH + attention(block.attention, k, x_LH, heads), *n1)
            x_LH = normalised(x_LH + feed_forward(block, k, x_LH), *n2)
    if pre_norm:
        x_LH = normalised(x_LH, model.experts.norm.scale[k, 0], model.experts.norm.shift[k, 0])
    return x_LH


def linear(module, k, x):
    return x @ module.weight[k] + module.bias[k].flatten()


def feed_forward(block, k, x):
    return linear(block.down, k, F.gelu(linear(block.up, k, x)))


def attention(module, k, x_LH, heads):
    length, width = x_LH.shape
    query, key, value = linear(module.project, k, x_LH).split(width, 1)
    size, outs = width // heads, []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        rows = []
        for t in range(length):
            score = key[: t + 1, own] @ query[t, own] / math.sqrt(size)
            rows.append(torch.softmax(score, 0) @ value[: t + 1, own])
        outs.append(torch.stack(rows))
    return linear(module.out, k, torch.cat(outs, 1))


def embedded(model, items, domains, start_H):
    """Start, then all items but the last: what predicts each of the items."""
    embed, rows = model.embed, []
    for t in range(len(items)):
        before = items[t - 1] if t else None
        x = start_H if t == 0 else model.items.weight[before] + embed.domain.weight[domains[t - 1]]
        x = x + embed.position.weight[t]
        rows.append(normalised(x, embed.norm.weight, embed.norm.bias))
    return torch.stack(rows)


def path(model, head, part, x_LH, cross):
    """One task on one sequence: experts that are not the task's own pass no gradient."""
    gate_LK = torch.softmax(linear(head.gate, part, x_LH), 1)
    mixed = torch.zeros_like(x_LH)
    for k in range(model.config.num_experts):
        out = expert(model, k, x_LH)
        own = (k < model.config.cross_experts) == cross
        if model.config.asymmetric and not own:
            out = out.detach()
        mixed = mixed + gate_LK[:, k : k + 1] * out
    tower = head.tower
    y = mixed + linear(tower.down, part, F.gelu(linear(tower.up, part, mixed)))
    return normalised(y, tower.scale[part], tower.shift[part])


def predictions(model, items, domains):
    """Single- and cross-domain predictions of every item of one user: [L, H] each."""
    cross = path(
        model,
        model.cross_head,
        0,
        embedded(model, items, domains, model.embed.start.weight[0]),
        cross=True,
    )
    single = [None] * len(items)
    for d in sorted(set(domains)):
        places = [t for t, other in enumerate(domains) if other == d]
        own = [items[t] for t in places]
        x = embedded(model, own, [d] * len(own), model.start.weight[d])
        for t, y in zip(places, path(model, model.single_head, d, x, cross=False), strict=True):
            single[t] = y
    return torch.stack(single), cross


def losses(model, users, gap, met):
    """Losses of users ``(items, domains)``, and the running gaps {domain: gap} after them."""
    c, item_domain = model.config, model.next_item.catalogue.domain_I
    rows = []  # user, domain, single and cross prediction, single and cross loss
    for u, (items, domains) in enumerate(users):
        singles, crosses = predictions(model, items, domains)
        for item, d, *ys in zip(items, domains, singles, crosses, strict=True):
            own = (item_domain == item_domain[item]).nonzero()[:, 0]
            place = own.tolist().index(item)
            ls = [-torch.log_softmax(model.items.weight[own] @ y, 0)[place] for y in ys]
            rows.append((u, d, *ys, *ls))
    gap = dict(gap)
    for d in sorted({r[1] for r in rows}):
        found = [r[4] - r[5] for r in rows if r[1] == d]
        found = sum(found) / len(found)
        if not c.correction_gradient:
            found = found.detach()
        gap[d] = c.momentum * gap.get(d, 0.0) + (1 - c.momentum) * found
        met = met | {d}
    weight = dict.fromkeys(met, 1.0)
    if c.correction:
        total = sum(torch.exp(torch.as_tensor(gap[d]) / c.temperature) for d in met)
        weight = {d: len(met) * torch.exp(gap[d] / c.temperature) / total for d in met}
    out = {
        "single": c.single_weight * sum(r[4] for r in rows) / len(rows),
        "cross": sum(weight[r[1]] * r[5] for r in rows) / len(rows),
    }
    if c.mim_weight:
        out["mim"] = c.mim_weight * sum(agreement(model, r, rows) for r in rows) / len(rows)
    return out, gap


def agreement(model, row, rows):
    user, domain, single, cross = row[:4]

    def rho(s):
        s = model.agree.weight @ s
        return (s / s.norm()) @ (cross / cross.norm()) / model.config.mim_temperature

    others = [rho(r[2]) for r in rows if r[1] == domain and r[0] != user]
    own = rho(single)
    return torch.logsumexp(torch.stack([own, *others]), 0) - own
