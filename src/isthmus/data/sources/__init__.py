"""Every raw data set that Isthmus can read, found by name.

A module in this package with a function under ``@source`` is all it takes. A source writes one
canonical Parquet file and returns the configuration with which ``prepare`` goes on.
"""

import importlib
import pkgutil
from functools import cache

from isthmus.data.sources.base import Source, _registered, source
from isthmus.errors import ConfigError

__all__ = ["SOURCES", "Source", "get", "names", "source"]


@cache
def _load() -> dict[str, Source]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registered.items()))


def names() -> list[str]:
    """Names of all registered sources, sorted."""
    return list(SOURCES)


def get(name: str) -> Source:
    """The source registered as ``name``.

    Raises:
        ConfigError: there is none of that name; the message lists what there is.
    """
    try:
        return SOURCES[name]
    except KeyError:
        raise ConfigError(f"unknown source {name!r}; known: {', '.join(names())}") from None


SOURCES: dict[str, Source] = _load()
"""Source functions by name."""
