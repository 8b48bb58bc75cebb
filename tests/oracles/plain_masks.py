"""Masks as sets of edges and walks over a graph: slow, obvious, and independent of ``isthmus``.

A plain mask is a set of edges (level, source, target) beside its shapes [(sources, targets), ..].
"""


def edges(mask):
    """The kept edges of one mask (Boolean tensors [S, T] a level)."""
    return {(n, *map(int, e)) for n, level in enumerate(mask) for e in level.nonzero().tolist()}


def shapes(mask):
    """Sources and targets of each level."""
    return [tuple(level.shape[-2:]) for level in mask]


def on_a_path(mask):
    """Edges on some walk from the first level to the last, by following every walk there is."""
    kept, last = edges(mask), len(mask)
    useful = set()

    def walk(level, place, path):
        if level == last:
            useful.update(path)
            return
        for edge in kept:
            if edge[:2] == (level, place):
                walk(level + 1, edge[2], [*path, edge])

    for first in range(shapes(mask)[0][0]):
        walk(0, first, [])
    return useful


def strongest(mask, weight, share):
    """Of each level's kept edges those among the ``share`` with the largest weight, then repaired."""
    chosen = set()
    for number, (level, values) in enumerate(zip(mask, weight, strict=True)):
        here = [(number, s, t) for s, t in level.nonzero().tolist()]
        here.sort(key=lambda e, v=values: -float(v[e[1], e[2]]))
        chosen.update(here[: max(1, round(share * level.numel()))])
    return chosen


def jaccard(one, other):
    """Shared edges over all edges of two masks."""
    a, b = edges(one), edges(other)
    return len(a & b) / len(a | b) if a | b else 0.0
