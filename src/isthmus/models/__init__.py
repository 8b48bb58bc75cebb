"""Every model, found by name.

A module in this package that registers a model is all it takes: the command line, the checks of
``isthmus.contract``, the model pages and the benchmark read the list from here. A model of a user's
own is named by its place, "module:Class", wherever a name is asked for.
"""

import importlib
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from isthmus.errors import ConfigError
from isthmus.models.base import Losses, Model, ModelConfig, Ranker, Retriever, _registered, register

__all__ = ["Losses", "Model", "ModelConfig", "Ranker", "Retriever", "get", "names", "register"]


@cache
def _load() -> dict[str, type[Model]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registered


def names() -> list[str]:
    """Names of all registered models, sorted: the library's, and what else has been imported."""
    return sorted(_load())


def get(name: str) -> type[Model]:
    """The model class registered as ``name``, or the one at "module:Class".

    Such a module is looked for among what is installed and then in the working directory.

    Raises:
        ConfigError: no such model or module; a class that is no model, or is not registered.
    """
    known = _load()
    if ":" in name:
        return _own(name)
    try:
        return known[name]
    except KeyError:
        raise ConfigError(
            f"unknown model {name!r}; known: {', '.join(names())}; one of your own is named by its "
            'place, such as "my_module:MyRanker"'
        ) from None


def _own(place: str) -> type[Model]:
    name, _, attribute = place.partition(":")
    module = _imported(name, f"model {place!r}")
    kind = getattr(module, attribute, None)
    if kind is None:
        there = [cls.__name__ for cls in _registered.values() if cls.__module__ == name]
        raise ConfigError(
            f"model {place!r}: {name} has no {attribute!r}; models that it registers: "
            f"{', '.join(there) or 'none'}"
        )
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise ConfigError(
            f"model {place!r} is no model; expected a class derived from isthmus.models.Ranker"
        )
    if kind not in _registered.values():
        raise ConfigError(
            f"model {place!r} is not registered; put "
            '@register("a_name", paper="https://...") from isthmus.models above the class'
        )
    return kind


def _imported(name: str, what: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # a script's own folder is on it, that of an installed command is not
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{what}: no module {error.name!r} is installed, or lies in {here}; "
                'expected "module:Class", as Python would import it'
            ) from None
        raise ConfigError(f"{what}: {name} cannot be imported: {error}") from error
    except ConfigError as error:  # registered twice
        raise ConfigError(f"{what}: {error}") from None
    except Exception as error:  # whatever the user's module does
        raise ConfigError(
            f"{what}: {name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
