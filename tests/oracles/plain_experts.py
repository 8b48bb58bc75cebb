"""Expert-based rankers written plainly from their papers' equations: one row at a time, no routing.

They read the weights of our models and nothing else of them; evaluation mode only. A row is
``(ids, d)``: a list of its feature ids and its domain. All vectors are 1-d tensors.
"""

import torch

EPS = 1e-5


def embedding(embed, schema, ids, d):
    """Every feature's vector (a history's mean over known entries) and the domain's: a list."""
    starts, rows = {}, 0
    for feature in schema.features:
        if feature.table not in starts:
            starts[feature.table] = rows
            rows += feature.size
    table, vectors, column = embed.features.table.weight, [], 0
    for feature in schema.features:
        own = ids[column : column + feature.length]
        column += feature.length
        if feature.kind == "history":
            known = [table[starts[feature.table] + i] for i in own if i > 0]
            vectors.append(sum(known) / len(known) if known else torch.zeros_like(table[0]))
        else:
            vectors.append(table[starts[feature.table] + own[0]])
    return [*vectors, embed.domain.weight[d]]


def normalised(x, mean, var, scale, shift):
    return (x - mean) / torch.sqrt(var + EPS) * scale + shift


def mlp(module, x):
    for linear, norm in zip(module.linears, module.norms, strict=True):
        h = linear.weight @ x
        h = normalised(h, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        x = torch.relu(h)
    return x


def linear(module, x):
    return module.weight @ x + module.bias


def own_linear(module, p, x):
    """``DomainLinear`` of part p."""
    return x @ module.weight[p] + module.bias[p]


def tower(module, p, x):
    for number, layer in enumerate(module.layers):
        x = own_linear(layer, p, torch.relu(x) if number else x)
    return x[0]


def shared_experts(module, x):
    """Output of each of E experts: a list."""
    outputs = []
    for e in range(len(module.layers[0].weight)):
        h = x
        for layer in module.layers:
            h = h @ layer.weight[e]
            h = normalised(h, *(t[e, 0] for t in (layer.mean, layer.var, layer.scale, layer.shift)))
            h = torch.relu(h)
        outputs.append(h)
    return outputs


def own_experts(module, p, x):
    """Output of each of part p's experts: a list."""
    outputs = []
    for e in range(module.experts):
        h = x
        for number, norm in enumerate(module.norms):
            width = norm.num_features // module.experts
            own = slice(e * width, (e + 1) * width)
            if number == 0:
                h = h @ module.first.weight[p][:, own] + module.first.bias[p][own]
            else:
                layer = module.rest[number - 1]
                h = h @ layer.weight[e, p] + layer.bias[e, p]
            stats = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
            h = torch.relu(normalised(h, *(t[own] for t in stats)))
        outputs.append(h)
    return outputs


def softmax(values):
    exps = [torch.exp(v) for v in values]
    return [e / sum(exps) for e in exps]


def mixture(logits, outputs):
    return sum(w * o for w, o in zip(softmax(list(logits)), outputs, strict=True))


def shared_bottom(model, ids, d, p):
    x = torch.cat(embedding(model.embed, model.schema, ids, d))
    return tower(model.tower, p, mlp(model.bottom, x))


def ple(model, ids, d, p):
    """Eq. 3 to 7, the shared gate restricted to the shared experts and task p's own."""
    own = shared = torch.cat(embedding(model.embed, model.schema, ids, d))
    for number, level in enumerate(model.levels, 1):
        outputs = own_experts(level.specific, p, own) + shared_experts(level.shared, shared)
        next_own = mixture(own_linear(level.gate, p, own), outputs)
        if number < len(model.levels):
            to_own = own_linear(level.shared_gate_own, p, shared)
            shared = mixture([*to_own, *linear(level.shared_gate, shared)], outputs)
        own = next_own
    return tower(model.tower, p, own)


def hinet(model, ids, d, p, others):
    """Scenario layer: shared SEI, own SEI, attention over other scenarios' SEIs; task layer; tower."""
    x = torch.cat(embedding(model.embed, model.schema, ids, d))

    def sei(m):
        return mixture(own_linear(model.specific_gate, m, x), own_experts(model.specific, m, x))

    joined = [mixture(linear(model.shared_gate, x), shared_experts(model.shared, x)), sei(p)]
    weights = attention(model, p)
    if others:
        read = sorted(weights, key=lambda m: -weights[m])[:others]
        joined.append(sum(weights[m] * sei(m) for m in read) / sum(weights[m] for m in read))
    h = torch.cat(joined)
    h = mixture(linear(model.task_gate, h), shared_experts(model.task, h))
    return linear(model.out, mlp(model.tower, h))[0]


def attention(model, p):
    """Weight of every other scenario for scenario p, by its number."""
    if not model.others:
        return {}
    logits = linear(model.attend, model.scenario.weight[p])
    others = [m for m in range(1, model.num_parts) if m != p]
    return dict(zip(others, softmax([logits[m] for m in others]), strict=True))


def kl(p, q):
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def aesm2(model, ids, d, p):
    """The logit, the selected experts of each layer, and the two auxiliary sums."""
    config, parts = model.config, model.num_parts
    x = torch.cat(embedding(model.embed, model.schema, ids, d))
    one_hot = torch.tensor([float(m == p) for m in range(parts)], dtype=x.dtype)
    uniform = torch.full_like(one_hot, 1 / parts)
    specific_sum, shared_sum, chosen = 0.0, 0.0, []
    for layer in model.layers:
        flat = linear(layer.gate, torch.cat([x, model.scenario.weight[p]]))
        gates = [flat[m * config.num_experts : (m + 1) * config.num_experts] for m in range(parts)]
        share = [softmax([gate[e] for gate in gates]) for e in range(config.num_experts)]
        to_one_hot = [kl(one_hot, q) for q in share]
        to_uniform = [kl(uniform, q) for q in share]
        by_specific = sorted(range(config.num_experts), key=lambda e: to_one_hot[e])
        by_shared = sorted(range(config.num_experts), key=lambda e: to_uniform[e])
        specific, shared = by_specific[: config.specific], by_shared[: config.shared]
        specific_sum += sum(to_one_hot[e] for e in specific) / config.specific
        shared_sum += sum(to_uniform[e] for e in shared) / config.shared
        used = sorted({*specific, *shared})
        outputs = shared_experts(layer.experts, x)
        x = mixture([gates[p][e] for e in used], [outputs[e] for e in used])
        chosen.append(used)
    return linear(model.out, mlp(model.tower, x))[0], chosen, specific_sum, shared_sum


def sar_net(model, ids, d, p):
    """For the toy schema: user, item, hour, and a history of three in the item's table."""
    user, item, hour, _, domain = embedding(model.embed, model.schema, ids, d)
    start = model.schema.features[0].size  # the item's table follows the user's
    entries = [model.embed.features.table.weight[start + i] for i in ids[3:6] if i > 0]
    interest = torch.zeros_like(item)
    if entries:
        unit = model.attention[0]
        to_item = softmax([activation(unit.item, item, e) for e in entries])
        to_scenario = softmax([activation(unit.scenario, domain, e) for e in entries])
        weights = [a * b for a, b in zip(to_item, to_scenario, strict=True)]
        interest = sum(w * e for w, e in zip(weights, entries, strict=True)) / sum(weights)
    x = torch.cat([user, item, hour, domain, interest]) * model.scale[p] + model.shift[p]
    outputs = own_experts(model.specific, p, x) + shared_experts(model.shared, x)
    mixed = mixture(own_linear(model.gate, p, x), outputs)
    return linear(model.out, mlp(model.tower, mixed))[0]


def activation(unit, query, entry):
    first, _, second = unit
    pair = torch.cat([query, entry, query - entry, query * entry])
    return (second.weight @ torch.relu(linear(first, pair)))[0]
