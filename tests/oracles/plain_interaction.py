"""The feature-interaction rankers, row by row and feature by feature: the papers' equations in plain
NumPy, float64, with the weights of a given model.
"""

import numpy as np


def array(tensor):
    return tensor.detach().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    exp = np.exp(x - x.max())
    return exp / exp.sum()


def linear(layer, x):
    bias = 0 if layer.bias is None else array(layer.bias)
    return array(layer.weight) @ x + bias


def fields(schema, embed, row, domain):
    """A row's vectors, a feature at a time: [F] vectors, the domain's last (where there is one)."""
    table, starts, rows = array(embed.features.table.weight), {}, 0
    for name, size in schema.tables.items():
        starts[name] = rows
        rows += size
    vectors, column = [], 0
    for feature in schema.features:
        ids = [int(i) for i in row[column : column + feature.length]]
        column += feature.length
        if feature.kind == "history":
            ids = [i for i in ids if i > 0]
        met = [table[starts[feature.table] + i] for i in ids]
        vectors.append(sum(met, np.zeros(table.shape[1])) / max(1, len(met)))
    if embed.domain is not None:
        vectors.append(array(embed.domain.weight)[int(domain)])
    return vectors


def mlp(network, x):
    """Linear, batch norm by its running statistics, ReLU."""
    for layer, norm in zip(network.linears, network.norms, strict=True):
        spread = np.sqrt(array(norm.running_var) + norm.eps)
        x = (linear(layer, x) - array(norm.running_mean)) / spread
        x = np.maximum(x * array(norm.weight) + array(norm.bias), 0)
    return x


def deepfm(model, row, domain):
    weights = fields(model.schema, model.weight, row, domain)
    vectors = fields(model.schema, model.embed, row, domain)
    pairs = sum(vectors[i] @ vectors[j] for j in range(len(vectors)) for i in range(j))
    deep = linear(model.out, mlp(model.mlp, np.concatenate(vectors)))[0]
    return sum(w[0] for w in weights) + pairs + deep


def dcn(model, row, domain):
    first = x = np.concatenate(fields(model.schema, model.embed, row, domain))
    for w, b in zip(array(model.cross.weight), array(model.cross.bias), strict=True):
        x = np.outer(first, x) @ w + b + x
    return linear(model.out, np.concatenate([x, mlp(model.mlp, first)]))[0]


def dcnv2(model, row, domain):
    config = model.config
    first = x = np.concatenate(fields(model.schema, model.embed, row, domain))
    for layer in model.cross.layers:
        if config.variant == "full":
            x = first * linear(layer, x) + x
        else:
            x = expert_mixture(layer, first, x, config)
    if config.structure == "stacked":
        return linear(model.out, mlp(model.mlp, x))[0]
    return linear(model.out, np.concatenate([x, mlp(model.mlp, first)]))[0]


def expert_mixture(layer, first, x, config):
    scores = linear(layer.gate, x)
    gates = softmax(scores) if config.gate == "softmax" else sigmoid(scores)
    down, up = array(layer.down.weight), array(layer.up.weight)
    mixed = np.zeros_like(x)
    for number in range(config.experts):
        part = slice(number * config.rank, (number + 1) * config.rank)
        low = np.tanh(down[part] @ x)
        low = np.tanh(array(layer.core)[number].T @ low)
        mixed += gates[number] * (first * (up[:, part] @ low + array(layer.bias)))
    return mixed + x


def autoint(model, row, domain):
    vectors = fields(model.schema, model.embed, row, domain)
    e = vectors
    for layer in model.attention:
        e = interacting_layer(layer, e, model.config)
    logit = linear(model.out, np.concatenate(e))[0]
    if model.config.deep:
        logit += linear(model.mlp_out, mlp(model.mlp, np.concatenate(vectors)))[0]
    return logit


def interacting_layer(layer, e, config):
    query, key, value, residual = np.split(array(layer.project.weight), 4)
    out = []
    for mine in e:
        heads = []
        for head in range(config.heads):
            part = slice(head * config.head_width, (head + 1) * config.head_width)
            scores = [(query[part] @ mine) @ (key[part] @ other) for other in e]
            share = softmax(np.array(scores))
            heads.append(sum(s * (value[part] @ o) for s, o in zip(share, e, strict=True)))
        out.append(np.maximum(np.concatenate(heads) + residual @ mine, 0))
    return out


def finalmlp(model, row, domain):
    vectors = fields(model.schema, model.embed, row, domain)
    x = np.concatenate(vectors)
    gates = (model.gate, model.gate_2)
    weights = [
        feature_gate(gate, context, model.schema, vectors)
        for gate, context in zip(gates, model.config.gates, strict=True)
    ]
    one, other = mlp(model.mlp, weights[0] * x), mlp(model.mlp_2, weights[1] * x)
    fuse = model.fuse
    logit = linear(fuse.linear, one)[0] + linear(fuse.linear_other, other)[0]
    for head, weight in enumerate(array(fuse.weight)):
        rows, columns = weight.shape
        for i in range(rows):
            for j in range(columns):
                logit += one[head * rows + i] * weight[i, j] * other[head * columns + j]
    return logit


def feature_gate(gate, context, schema, vectors):
    if context == "domain":
        read = [vectors[-1]]
    else:
        known = vectors[: len(schema.features)]
        read = [
            v
            for feature, v in zip(schema.features, known, strict=True)
            if (feature.role, feature.kind) == (context, "id")
        ]
    given = np.concatenate(read) if read else array(gate.context)[0]
    hidden, _, out = gate.mlp
    return 2 * sigmoid(linear(out, np.maximum(linear(hidden, given), 0)))
