"""Rankers that are no networks: what a plain learner reaches that is fed well.

They are run as models are (``model = "lightgbm"``) and leave runs like theirs, but they are trained
in a way of their own and are no part of the registry of models. Their libraries are optional.
"""

from isthmus.errors import ConfigError
from isthmus.reference.trees import Trees, library

__all__ = ["Trees", "get", "library", "names"]

_known: dict[str, type[Trees]] = {Trees.name: Trees}


def names() -> list[str]:
    """Names of all references, sorted."""
    return sorted(_known)


def get(name: str) -> type[Trees]:
    """The reference known as ``name``."""
    if name not in _known:
        raise ConfigError(f"unknown reference {name!r}; known: {', '.join(names())}")
    return _known[name]
