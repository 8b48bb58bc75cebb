"""Which tensors of a model have a row for each domain, and how such rows are added, put and cut out.

A model's state is its parameters and buffers, and their sizes follow from its settings and the
schema: a tensor that is one longer under a schema with one more domain has a row for each domain id.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isthmus.errors import ConfigError
from isthmus.models import ModelConfig, Ranker
from isthmus.models.grown import grown
from isthmus.schema import Schema

State = dict[str, Tensor]
Axes = dict[str, int]
"""The dimension, by name of a state's tensor, that counts domain ids; tensors without one left out."""


def domain_axes(kind: type[Ranker], config: ModelConfig, schema: Schema) -> Axes:
    """Which dimension of which tensor counts the domain ids (0, the unknown domain, included).

    Raises:
        ConfigError: parts of this model cannot be added or changed one domain at a time.
    """
    if kind.reads_other_domains:
        raise ConfigError(
            f"{kind.name!r} scores a row with parts of other domains too, so no domain can be changed "
            "without changing the scores of all; train it anew over the new domains"
        )
    if getattr(config, "domains", "each") == "clusters":
        raise ConfigError(
            f"this {kind.name!r} has a part for each of its settings.clusters and none for a domain; "
            "name the clusters anew and train, or train with settings.domains = 'each'"
        )
    ids = schema.num_domains + 1
    now, more = (grown(kind, config, schema, added).state_dict() for added in (0, 1))
    axes = {}
    for name, tensor in now.items():
        shape, then = tensor.shape, more[name].shape if name in more else torch.Size()
        if shape == then:
            continue
        longer = _longer(shape, then)
        if longer is None or shape[longer] != ids:
            raise ConfigError(
                f"{kind.name!r} has {name!r} of shape {tuple(shape)} under {ids - 1} domains, which "
                "is no row for each domain; train it anew over the new domains"
            )
        axes[name] = longer
    if not axes:
        raise ConfigError(
            f"this {kind.name!r} has no parts of domains: a new domain's rows are scored as all others"
        )
    return axes


def _longer(one: torch.Size, other: torch.Size) -> int | None:
    """The one dimension by which ``other`` is one longer; None if they differ otherwise."""
    if len(one) != len(other):
        return None
    differing = [n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if len(differing) != 1 or other[differing[0]] != one[differing[0]] + 1:
        return None
    return differing[0]


def taken(state: Mapping[str, Tensor], axes: Axes, ids: Sequence[int]) -> State:
    """The state with the rows of these domain ids alone, in this order; all else as it is."""
    index = torch.tensor(list(ids))
    return {
        name: tensor.index_select(axes[name], index) if name in axes else tensor
        for name, tensor in state.items()
    }


def rows_of(state: Mapping[str, Tensor], axes: Axes, domain: int) -> State:
    """What one domain id has of its own: a tensor without the domains' dimension each."""
    return {name: state[name].select(axis, domain).clone() for name, axis in axes.items()}


def with_rows(state: Mapping[str, Tensor], axes: Axes, domain: int, rows: State) -> State:
    """A copy of the state in which a domain id has these rows.

    ``domain`` may be the first id that there is none of: the state is one longer then.
    """
    changed = dict(state)
    for name, axis in axes.items():
        tensor, new = state[name], rows[name].unsqueeze(axis)
        before, after = tensor.narrow(axis, 0, domain), tensor.shape[axis] - domain - 1
        kept = [tensor.narrow(axis, domain + 1, after)] if after > 0 else []
        changed[name] = torch.cat([before, new, *kept], axis)
    return changed


def mean_rows(parts: Sequence[State], weights: Sequence[float]) -> State:
    """The weighted mean of several domains' rows; of masks and counts, those of the heaviest."""
    heaviest = parts[max(range(len(parts)), key=weights.__getitem__)]
    mean = {}
    for name, kept in heaviest.items():
        if not kept.is_floating_point():
            mean[name] = kept
            continue
        total = torch.stack(
            [w * part[name].double() for w, part in zip(weights, parts, strict=True)]
        )
        mean[name] = (total.sum(0) / sum(weights)).to(kept.dtype)
    return mean
