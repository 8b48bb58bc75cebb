"""HAMUR and M3oE for one row after the other, as their papers say it, in evaluation mode.

Only weights are taken from the models: no layer of ``isthmus`` runs here but the row's embedding.
"""

import torch


def normalised(x, norm):
    """Batch norm by its running statistics."""
    out = (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
    return out if norm.weight is None else out * norm.weight + norm.bias


def mlp(module, x):
    for linear, norm in zip(module.linears, module.norms, strict=True):
        x = torch.relu(normalised(linear.weight @ x, norm))
    return x


def hamur(model, batch):
    logits = []
    for x, part in zip(model.embed(batch), model.part(batch).tolist(), strict=True):
        flat = model.hyper_out.weight @ mlp(model.hyper, x) + model.hyper_out.bias
        core = flat.reshape(model.config.rank, model.config.rank)
        h = x
        without = len(model.config.hidden) - len(model.cells)
        for number in range(len(model.config.hidden)):
            linear, norm = model.mlp.linears[number], model.mlp.norms[number]
            h = torch.relu(normalised(linear.weight @ h, norm))
            if number >= without:
                cell = model.cells[number - without]
                down = cell.down.left @ core @ cell.down.right  # [M, R]: this row's own weights
                up = cell.up.left @ core @ cell.up.right
                change = torch.sigmoid(h @ down + cell.bias) @ up
                change = normalised(change, cell.norm)
                h = h + change * cell.scale.weight[part] + cell.shift.weight[part]
        logits.append(model.out.weight[0] @ h + model.out.bias[0])
    return torch.stack(logits)


def layer_norm(x):
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)


def normed_linear(module, x):
    x = layer_norm(module.linear.weight @ x + module.linear.bias)
    return torch.relu(x * module.norm.weight + module.norm.bias)


def domain_expert(x, weights, biases):
    for weight, bias in zip(weights, biases, strict=True):
        x = torch.relu(layer_norm(x @ weight + bias))
    return x


def own_expert(model, x, part):
    layers = model.own.layers
    return domain_expert(x, [m.weight[part] for m in layers], [m.bias[part] for m in layers])


def others(model, x):
    layers = model.own.layers
    parts = range(1, len(layers[0].weight))
    if model.config.others == "all":
        return sum(own_expert(model, x, part) for part in parts) / len(parts)
    weights = [sum(m.weight[part] for part in parts) / len(parts) for m in layers]
    biases = [sum(m.bias[part] for part in parts) / len(parts) for m in layers]
    return domain_expert(x, weights, biases)


def shared_expert(model, x, expert):
    for layer in model.experts.layers:
        x = x @ layer.weight[expert]
        x = (x - layer.mean[expert, 0]) / torch.sqrt(layer.var[expert, 0] + 1e-5)
        x = torch.relu(x * layer.scale[expert, 0] + layer.shift[expert, 0])
    return x


def m3oe(model, batch):
    logits = []
    for x, part in zip(model.embed(batch), model.part(batch).tolist(), strict=True):
        star = x @ (model.star.part_weight[part] * model.star.weight)
        star = star + model.star.part_bias[part] + model.star.bias
        h = normed_linear(model.bottom, star) + normed_linear(model.skip, x)
        gate = torch.softmax(h @ model.gate.weight[part] + model.gate.bias[part], dim=0)
        shared = sum(g * shared_expert(model, h, e) for e, g in enumerate(gate))
        weight, balance = torch.sigmoid(model.fusion)
        domain = balance * own_expert(model, h, part) + (1 - balance) * others(model, h)
        h = shared + weight * domain
        for number, layer in enumerate(model.tower.layers):
            h = (torch.relu(h) if number else h) @ layer.weight[part] + layer.bias[part]
        logits.append(h[0])
    return torch.stack(logits)
