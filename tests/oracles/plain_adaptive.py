"""STAR, AdaSparse, EPNet, PEPNet and ADL for one row at a time, from the papers' equations.

Each takes a trained model of ours for its weights and shares none of its code. Everything is in
evaluation mode: running statistics, no dropout.
"""

import torch

EPS = 1e-5  # of batch normalisation


def score(model, batch):
    """Logits of all rows, one row after the other: [B]."""
    plain = {
        "star": star,
        "adasparse": adasparse,
        "epnet": epnet,
        "epnet_s": epnet_s,
        "pepnet": pepnet,
        "adl": adl,
    }[model.name]
    rows = zip(batch.features, batch.domain.tolist(), strict=True)
    with torch.no_grad():
        return torch.stack([plain(model, ids, domain) for ids, domain in rows])


def star(model, ids, domain):
    """CIKM 2021: z' = (g g_p) (z - E_p) / sqrt(Var_p + eps) + (b + b_p); W_p * W, b_p + b; s_m + s_a."""
    part, norm = int(model.part_D[domain]), model.norm
    e = features(model.embed.features, model.schema, ids).flatten()
    z = (e - norm.mean[part]) / torch.sqrt(norm.var[part] + EPS)
    z = norm.scale * norm.part_scale[part] * z + norm.shift + norm.part_shift[part]
    for number, layer in enumerate(model.layers):
        z = star_layer(layer, part, torch.relu(z) if number else z)
    hidden, _, out = model.auxiliary
    auxiliary = linear(hidden, torch.cat([e, model.embed.domain.weight[domain]]))
    return z[0] + linear(out, torch.relu(auxiliary))[0]


def star_layer(layer, part, z):
    result = []
    for o in range(len(layer.bias)):
        weight = [layer.weight[i, o] * layer.part_weight[part, i, o] for i in range(len(z))]
        bias = layer.bias[o] + layer.part_bias[part, o]
        result.append(sum(w * x for w, x in zip(weight, z, strict=True)) + bias)
    return torch.stack(result)


def adasparse(model, ids, domain):
    """CIKM 2022: h <- W (pi(h, domain) * h) + b, pi = S_eps(beta sigmoid(alpha v)) or its parts."""
    config = model.config
    grown = min(float(model.taken) / config.anneal_steps, 1)
    alpha = config.alpha_start + (config.alpha_end - config.alpha_start) * grown
    d = model.embed.domain.weight[domain]
    h = torch.cat([features(model.embed.features, model.schema, ids).flatten(), d])
    for number, (layer, pruner) in enumerate(zip(model.layers, model.pruners, strict=True)):
        v = linear(pruner.linear, torch.cat([h, d]))
        pi = torch.stack([factor(config, alpha, x) for x in v])
        h = linear(layer, pi * h)
        if number < len(model.norms):
            h = torch.relu(batch_norm(model.norms[number], h))
    return h[0]


def factor(config, alpha, v):
    """One neuron's weighting factor (binarisation, scaling, fusion)."""
    if config.form == "scaling":
        return config.beta * torch.sigmoid(v)
    soft = torch.sigmoid(alpha * v)
    if config.form == "binarisation":
        return torch.tensor(1.0 if soft > config.threshold else 0.0, dtype=v.dtype)
    return config.beta * soft if config.beta * soft > config.threshold else 0 * soft


def epnet(model, ids, domain):
    """KDD 2023: O_ep = 2 sigmoid(MLP([e_dom; e])) * e, then the part's own tower."""
    part = int(model.part_D[domain])
    e = features(model.embed.features, model.schema, ids).flatten()
    h = domain_gate(model.embed.gate, e, domain)
    for number, layer in enumerate(model.tower.layers):
        h = part_layer(layer, part, torch.relu(h) if number else h)
    return h[0]


def epnet_s(model, ids, domain):
    e = features(model.embed.features, model.schema, ids).flatten()
    h = domain_gate(model.embed.gate, e, domain)
    for layer, norm in zip(model.mlp.linears, model.mlp.norms, strict=True):
        h = torch.relu(batch_norm(norm, linear(layer, h)))
    return linear(model.out, h)[0]


def pepnet(model, ids, domain):
    """KDD 2023: towers on O_ep, every hidden layer times 2 sigmoid(MLP([E_u; E_i; O_ep]))."""
    part = int(model.part_D[domain])
    e = features(model.features, model.schema, ids)
    o_ep = domain_gate(model.embedding_gate, e.flatten(), domain)
    names = [feature.name for feature in model.schema.features]
    prior = torch.cat([e[names.index("user")], e[names.index("item")]])
    h = o_ep
    for layer, gate in zip(model.layers, model.gates, strict=False):
        h = torch.relu(part_layer(layer, part, h)) * gate_nu(gate, torch.cat([prior, o_ep]))
    return part_layer(model.layers[-1], part, h)[0]


def adl(model, ids, domain):
    """SIGIR 2023: the nearest centre's network, W_s * W_k and b_s + b_k at every layer."""
    e = features(model.embed.features, model.schema, ids).flatten()
    h = torch.cat([e, model.embed.domain.weight[domain]])
    cosine = [float(h @ c / (h.norm() * c.norm())) for c in model.centres.centre]
    nearest = cosine.index(max(cosine))
    for number, layer in enumerate(model.layers):
        h = star_layer(layer, nearest, h)
        if number < len(model.norms):
            h = torch.relu(batch_norm(model.norms[number], h))
    return h[0]


def domain_gate(gate, e, domain):
    return gate_nu(gate.gate, torch.cat([gate.domain.weight[domain], e])) * e


def gate_nu(gate, x):
    return 2 / (1 + torch.exp(-linear(gate.out, torch.relu(linear(gate.hidden, x)))))


def part_layer(layer, part, x):
    return torch.stack(
        [x @ layer.weight[part, :, o] + layer.bias[part, o] for o in range(layer.bias.shape[1])]
    )


def linear(layer, x):
    out = torch.stack([(weight * x).sum() for weight in layer.weight])
    return out if layer.bias is None else out + layer.bias


def batch_norm(norm, x):
    z = (x - norm.running_mean) / torch.sqrt(norm.running_var + EPS)
    return z * norm.weight + norm.bias


def features(embedding, schema, ids):
    """A row's embeddings [F, K]; a history is the mean of its known entries."""
    table, first, start, column, result = embedding.table.weight, {}, 0, 0, []
    for feature in schema.features:
        if feature.table not in first:
            first[feature.table], start = start, start + feature.size
        own = ids[column : column + feature.length].tolist()
        column += feature.length
        if feature.kind == "history":
            own = [i for i in own if i > 0]
        vectors = [table[first[feature.table] + i] for i in own]
        result.append(sum(vectors) / len(vectors) if vectors else torch.zeros_like(table[0]))
    return torch.stack(result)


def centres(start, rows, *, iterations, momentum, temperature):
    """One batch of ADL's routing on lists of vectors: the new running centres."""
    units = [row / row.norm() for row in rows]
    now = list(start)
    for _ in range(iterations):
        sums = [torch.zeros_like(rows[0]) for _ in now]
        for unit in units:
            weights = [torch.exp(unit @ c / temperature) for c in now]
            for k, weight in enumerate(weights):
                sums[k] = sums[k] + weight / sum(weights) * unit
        now = [s / s.norm() for s in sums]
    moved = [momentum * old + (1 - momentum) * new for old, new in zip(start, now, strict=True)]
    return torch.stack([c / c.norm() for c in moved])
