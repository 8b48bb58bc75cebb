"""Every model of the library, found by name.

A module in this package that registers a model is all it takes: the command line,
the contract test, the model pages and the benchmark read the list from here.
"""

import importlib
import pkgutil
from functools import cache

from isthmus.errors import ConfigError
from isthmus.models.base import Losses, Model, ModelConfig, Ranker, Retriever, _registered, register

__all__ = ["Losses", "Model", "ModelConfig", "Ranker", "Retriever", "get", "names", "register"]


@cache
def _load() -> dict[str, type[Model]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registered


def names() -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(_load())


def get(name: str) -> type[Model]:
    """The model class registered as ``name``."""
    try:
        return _load()[name]
    except KeyError:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(names())}") from None
