"""Domains put into as many groups as the budget can tell apart.

Shape letters: G groups, D domains with training rows.
"""

from collections.abc import Mapping

import numpy as np

from isthmus.clustering import Clusters, group
from isthmus.errors import ConfigError
from isthmus.evaluation.left_out import FEWEST, fewest_runs, most_groups
from isthmus.evaluation.predictions import Floats

Asked = int | Clusters | None
"""How many groups, or the groups themselves, or as many as can be told apart."""
Groups = dict[str, tuple[str, ...]]


def number_of_groups(asked: Asked, domains: int, budget: int | None) -> int:
    """How many groups there are to be; ``budget`` is ``None`` where nothing is left out.

    Raises:
        ConfigError: too few or too many for the domains, or a budget too small for any.
    """
    if domains < 3:
        raise ConfigError(
            f"a transfer map is of three domains or more; found {domains} with training rows"
        )
    if budget is not None and budget < FEWEST:
        raise ConfigError(
            f"--budget {budget}: expected at least {FEWEST} runs, to tell three groups apart; "
            "--ways gradients needs none"
        )
    if isinstance(asked, Clusters):
        return len(asked.clusters)
    if asked is None:
        return domains if budget is None else min(domains, most_groups(budget))
    if not 3 <= asked <= domains:
        raise ConfigError(f"--groups {asked}: expected a number from 3 to the {domains} domains")
    if budget is not None and asked > most_groups(budget):
        raise ConfigError(
            f"--groups {asked}: {budget} runs can tell {most_groups(budget)} groups apart; expected "
            f"as many, or --budget {fewest_runs(asked)}"
        )
    return asked


def given(clusters: Clusters, sizes: Mapping[str, int]) -> Groups:
    """The groups of a file; domains without training rows are left out.

    Raises:
        ConfigError: a domain is in no group, or fewer than three groups have training rows.
    """
    members = [tuple(name for name in names if name in sizes) for names in clusters.clusters]
    missing = sorted(set(sizes) - {name for names in members for name in names})
    if missing:
        raise ConfigError(
            f"--groups: {missing[0]!r} is in no group; expected each domain in one of them"
        )
    members = [names for names in members if names]
    if len(members) < 3:
        raise ConfigError(f"--groups: found {len(members)} groups; expected at least 3")
    return named(members, sizes)


def alike(cosine_DD: Floats, sizes: Mapping[str, int], count: int, seed: int) -> Groups:
    """Groups of domains whose gradients point alike at the same others: K-Means, as clusters are.

    Where a cosine is unknown, gradients are taken for unrelated.
    """
    names = list(sizes)
    if count == len(names):
        return {name: (name,) for name in names}
    distance_DD = 1 - np.nan_to_num(cosine_DD)
    np.fill_diagonal(distance_DD, 0.0)
    part_D, _ = group(distance_DD, count, seed=seed)
    parts = dict.fromkeys(part_D.tolist())  # in the order of the domains
    members = [tuple(n for n, p in zip(names, part_D, strict=True) if p == part) for part in parts]
    return named(members, sizes)


def named(members: list[tuple[str, ...]], sizes: Mapping[str, int]) -> Groups:
    """Each group by its largest domain, and how many more it has."""
    groups = {}
    for names in members:
        largest = max(names, key=lambda name: sizes[name])
        groups[f"{largest} +{len(names) - 1}" if len(names) > 1 else largest] = names
    return groups


def shares(groups: Groups, sizes: Mapping[str, int]) -> Floats:
    """What each domain weighs in its group, by training rows: [G, D], each row sums to 1."""
    names = {name: place for place, name in enumerate(sizes)}
    share_GD = np.zeros((len(groups), len(sizes)))
    for place, members in enumerate(groups.values()):
        for name in members:
            share_GD[place, names[name]] = sizes[name]
    weights: Floats = share_GD / share_GD.sum(1, keepdims=True)
    return weights
