"""AREAD written plainly, as the paper says it: one module an expert, loops everywhere, dense tables.

It shares no code with ``isthmus``: the oracle of its correctness, and the slow side of its speed
benchmark. Gates are computed row by row, as a softmax over all experts below which is then masked
and renormalised. Masks are lists with a [D, n_below, n_above] Boolean tensor a level.
"""

import itertools

import torch
from torch import nn


class PlainExpert(nn.Module):
    """Linear, batch norm, ReLU, dropout, layer after layer; rows of other domains do not exist."""

    def __init__(self, width, hidden, dropout):
        super().__init__()
        widths = [width, *hidden]
        self.linears = nn.ModuleList(
            nn.Linear(i, o, bias=False) for i, o in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(o) for o in hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = widths[-1]

    def forward(self, x, active):
        """Rows [B, I] and which of them are active [B] -> [B, O], zero for the others."""
        result = x.new_zeros(len(x), self.out)
        rows = active.nonzero()[:, 0]
        if len(rows) == 0:
            return result
        h = x[rows]
        for linear, norm in zip(self.linears, self.norms, strict=True):
            h = linear(h)
            alone = self.training and len(rows) == 1  # its own mean: torch refuses to say so
            h = 0 * h + norm.bias if alone else norm(h)
            h = self.dropout(torch.relu(h))
        return result.index_copy(0, rows, h)


class PlainEmbedding(nn.Module):
    """A dense table for each vocabulary; a history is the mean of its known entries."""

    def __init__(self, schema, dim):
        super().__init__()
        self.schema, self.dim = schema, dim
        self.names = list(schema.tables)
        self.tables = nn.ModuleList(nn.Embedding(size, dim) for size in schema.tables.values())

    def forward(self, features):
        parts, column = [], 0
        for feature in self.schema.features:
            table = self.tables[self.names.index(feature.table)]
            if feature.kind == "history":
                total = features.new_zeros(len(features), self.dim, dtype=table.weight.dtype)
                count = total.new_zeros(len(features), 1)
                for place in range(feature.length):
                    ids = features[:, column + place]
                    known = (ids > 0).to(total.dtype)[:, None]
                    total = total + known * table(ids)
                    count = count + known
                parts.append(total / torch.where(count > 0, count, torch.ones_like(count)))
            else:
                parts.append(table(features[:, column]))
            column += feature.length
        return torch.cat(parts, dim=1)


class PlainAREAD(nn.Module):
    """The whole model; built by ``PlainAREAD.like(ours)``, which copies weights and masks."""

    def __init__(self, config, schema):
        super().__init__()
        dim, rate, levels = config.embedding_dim, config.dropout, config.levels()
        domains = schema.num_domains + 1
        width = dim * (len(schema.features) + 1)
        self.sizes = [size for size, _ in levels]
        self.embedding, self.domain = PlainEmbedding(schema, dim), nn.Embedding(domains, dim)
        self.bottom = nn.ModuleList(
            PlainExpert(width, config.bottom_hidden, rate) for _ in range(config.bottom_experts)
        )
        self.bottom_gates = nn.ModuleList(
            nn.Linear(width, config.bottom_experts) for _ in range(self.sizes[0])
        )
        self.group = nn.Embedding(self.sizes[0], dim)
        self.levels, before = nn.ModuleList(), config.bottom_hidden[-1]
        for size, hidden in levels:
            self.levels.append(
                nn.ModuleList(PlainExpert(before, hidden, rate) for _ in range(size))
            )
            before = hidden[-1]
        self.gates = nn.ModuleList(
            nn.ModuleList(nn.Linear(2 * dim, below) for _ in range(above))
            for below, above in itertools.pairwise(self.sizes)
        )
        self.heads = nn.ModuleList(nn.Linear(before, 1, bias=False) for _ in range(self.sizes[-1]))
        self.cross_weight = nn.ParameterList(
            nn.Parameter(torch.zeros(width)) for _ in range(config.cross_layers)
        )
        self.cross_bias = nn.ParameterList(
            nn.Parameter(torch.zeros(width)) for _ in range(config.cross_layers)
        )
        self.cross_heads = nn.ModuleList(
            nn.Linear(width, 1, bias=False) for _ in range(self.sizes[-1] * bool(self.cross_weight))
        )
        self.wide = nn.Linear(width, 1, bias=False) if config.wide else None
        self.own = None
        if config.domain_head:
            self.own = nn.Embedding(domains, self.sizes[0] * config.bottom_hidden[-1])
        self.bias = nn.Parameter(torch.zeros(1))
        self.masks, self.searched = [], False

    def active(self, level, domain):
        """Which rows use each expert of a level: a list of [B] Booleans."""
        rows = range(self.sizes[level])
        if not self.masks:
            return [torch.ones(len(domain), dtype=torch.bool) for _ in rows]
        if level == 0:
            return [self.masks[0][domain, t].any(1) for t in rows]
        return [self.masks[level - 1][domain, :, t].any(1) for t in rows]

    def inputs(self, features, domain):
        """First-level inputs, a list of [B, O], and the row's embedding [B, I]."""
        row = torch.cat([self.embedding(features), self.domain(domain)], dim=1)
        everyone = torch.ones(len(row), dtype=torch.bool)
        outputs = [expert(row, everyone) for expert in self.bottom]
        mixed = []
        for gate in self.bottom_gates:
            share = torch.softmax(gate(row), dim=1)
            mixed.append(sum(share[:, [e]] * output for e, output in enumerate(outputs)))
        return mixed, row

    def bypass(self, row, mixed, domain):
        """What reaches each head beside the hierarchy: a list of [B]."""
        logit = self.bias.expand(len(row))
        if self.own is not None:
            logit = logit + (self.own(domain) * torch.cat(mixed, dim=1)).sum(1)
        if self.wide is not None:
            logit = logit + self.wide(row)[:, 0]
        if not len(self.cross_weight):
            return [logit for _ in self.heads]
        x = row
        for weight, bias in zip(self.cross_weight, self.cross_bias, strict=True):
            x = row * (x * weight).sum(1, keepdim=True) + bias + x
        return [logit + head(x)[:, 0] for head in self.cross_heads]

    def groups(self, domain):
        """Mean embedding of the first-level experts in use: [B, K]."""
        total = self.domain.weight.new_zeros(len(domain), self.domain.embedding_dim)
        if not self.searched:
            return total
        count = total.new_zeros(len(domain), 1)
        for t, used in enumerate(self.active(0, domain)):
            total = total + used[:, None] * self.group.weight[t]
            count = count + used[:, None]
        return total / count

    def row_gates(self, level, target, gate_input, domain):
        """A target's gates over the experts below, row by row: [B, n_below]."""
        gate = torch.softmax(self.gates[level - 1][target](gate_input), dim=1)
        kept = gate * self.masks[level - 1][domain, :, target]
        return kept / (kept.sum(1, keepdim=True) + 1e-12)

    def head_logits(self, features, domain):
        """Logit of every head, a list of [B], and which rows use it, a list of [B] Booleans."""
        below, row = self.inputs(features, domain)
        beside = self.bypass(row, below, domain)
        gate_input = torch.cat([self.domain(domain), self.groups(domain)], dim=1)
        for level, experts in enumerate(self.levels):
            used, outputs = self.active(level, domain), []
            for t, expert in enumerate(experts):
                if level == 0:
                    x = below[t]
                else:
                    gate = self.row_gates(level, t, gate_input, domain)
                    x = sum(gate[:, [s]] * output for s, output in enumerate(below))
                outputs.append(expert(x, used[t]))
            below = outputs
        logits = [
            head(output)[:, 0] + beside[t]
            for t, (head, output) in enumerate(zip(self.heads, below, strict=True))
        ]
        return logits, used

    def probability(self, features, domain):
        """Mean of the used heads' probabilities: [B]."""
        logits, used = self.head_logits(features, domain)
        total = sum(torch.sigmoid(z) * u for z, u in zip(logits, used, strict=True))
        return total / sum(u.to(total.dtype) for u in used)

    def loss(self, features, domain, label):
        """Before the first search BCE of the mean probability, afterwards bagging."""
        if not self.searched:
            return bce(self.probability(features, domain), label).mean()
        logits, used = self.head_logits(features, domain)
        # log(1 + e^z) - y z is -log p of the label, also where the sigmoid of an unused head is 1
        each = [nn.functional.softplus(z) - label * z for z in logits]
        total = sum(loss * u for loss, u in zip(each, used, strict=True))
        return (total / sum(u.to(total.dtype) for u in used)).mean()


def bce(p, y):
    """Binary cross entropy of probabilities, row by row."""
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p))


def like(ours):
    """A plain AREAD with the settings, weights, running statistics and masks of ours."""
    plain = PlainAREAD(ours.config, ours.schema)
    plain.to(next(ours.parameters()).dtype)
    with torch.no_grad():
        for plain_value, our_value in pairs(plain, ours):
            plain_value.copy_(our_value)
    plain.masks = [level.clone() for level in ours.hierarchy.mask]
    plain.searched = bool(ours.hierarchy.searched)
    return plain.train(ours.training)


def pairs(plain, ours):
    """Every parameter and running statistic of the plain model, beside its value in ours."""
    return [(mine, theirs) for mine, theirs, _ in _pairs(plain, ours)]


def gradient_pairs(plain, ours):
    """Every parameter of the plain model, with the gradient that ours has for it."""
    for mine, _, read in _pairs(plain, ours):
        if mine.requires_grad:
            yield mine, read(_dense_gradient)


def _dense_gradient(parameter):
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad.to_dense()


def _pairs(plain, ours):
    """Triples: a tensor of the plain model, its value in ours, and a reader of ours' gradient."""

    def pair(mine, whole, part=lambda value: value):
        return mine, part(whole.detach()), lambda gradient: part(gradient(whole))

    start = 0
    for table in plain.embedding.tables:
        rows = slice(start, start := start + table.num_embeddings)
        yield pair(table.weight, ours.embed.features.table.weight, lambda v, r=rows: v[r])
    yield pair(plain.domain.weight, ours.embed.domain.weight)
    banks = [(plain.bottom, ours.bottom)]
    banks += zip(plain.levels, ours.hierarchy.levels, strict=True)
    for experts, bank in banks:
        for e, expert in enumerate(experts):
            layers = zip(expert.linears, expert.norms, bank.layers, strict=True)
            for linear, norm, layer in layers:
                yield pair(linear.weight, layer.weight, lambda v, e=e: v[e].T)
                yield pair(norm.weight, layer.scale, lambda v, e=e: v[e, 0])
                yield pair(norm.bias, layer.shift, lambda v, e=e: v[e, 0])
                yield pair(norm.running_mean, layer.mean, lambda v, e=e: v[e, 0])
                yield pair(norm.running_var, layer.var, lambda v, e=e: v[e, 0])
    number = len(plain.bottom)
    for s, gate in enumerate(plain.bottom_gates):
        rows = slice(s * number, (s + 1) * number)
        yield pair(gate.weight, ours.bottom_gate.weight, lambda v, r=rows: v[r])
        yield pair(gate.bias, ours.bottom_gate.bias, lambda v, r=rows: v[r])
    yield pair(plain.group.weight, ours.hierarchy.group)
    for level, gates in enumerate(plain.gates):
        for t, gate in enumerate(gates):
            yield pair(gate.weight, ours.hierarchy.gate_weight[level], lambda v, t=t: v[:, :, t].T)
            yield pair(gate.bias, ours.hierarchy.gate_bias[level], lambda v, t=t: v[:, t])
    for t, head in enumerate(plain.heads):
        yield pair(head.weight, ours.head, lambda v, t=t: v[t : t + 1])
    for t, head in enumerate(plain.cross_heads):
        yield pair(head.weight, ours.cross_head.weight, lambda v, t=t: v[t : t + 1])
    for layer, (weight, bias) in enumerate(zip(plain.cross_weight, plain.cross_bias, strict=True)):
        yield pair(weight, ours.cross.weight, lambda v, n=layer: v[n])
        yield pair(bias, ours.cross.bias, lambda v, n=layer: v[n])
    if plain.wide is not None:
        yield pair(plain.wide.weight, ours.wide.weight)
    if plain.own is not None:
        yield pair(plain.own.weight, ours.domain_head)
    yield pair(plain.bias, ours.bias)
