"""Every tracker, found by name: a module of this package that has a ``Tracker`` of its own is one.

A tracker of a user's own is named by its place, "module:Class". The run's own log is
written whatever trackers there are.
"""

import importlib
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from isthmus.errors import ConfigError
from isthmus.trackers.base import Setting, Tracked, Tracker

__all__ = ["Setting", "Tracked", "Tracker", "get", "names", "parsed"]
_NO_TRACKERS = {"base", "figures", "runs", "thread"}


def names() -> list[str]:
    """Names of the trackers that the library has, sorted."""
    return sorted({m.name for m in pkgutil.iter_modules(__path__)} - _NO_TRACKERS)


def get(name: str, where: str = "") -> type[Tracker]:
    """The tracker called ``name``, or the one at "module:Class", fit to begin at ``where``.

    Such a module is looked for among what is installed and then in the working directory.

    Raises:
        ConfigError: no such tracker, a class that is none, or a package that it needs is missing.
    """
    if ":" in name:
        kind = _own(name)
    elif name in names():
        module = importlib.import_module(f"{__name__}.{name}")
        kind = next(k for k in vars(module).values() if _is_tracker(k) and k is not Tracker)
    else:
        raise ConfigError(
            f"unknown tracker {name!r}; known: {', '.join(names())}; one of your own is named by its "
            'place, such as "my_module:MyTracker"'
        )
    kind.require(where)
    return kind


def parsed(texts: Sequence[str]) -> dict[str, str]:
    """Trackers of the command line, "NAME", "NAME:WHERE" or "MODULE:CLASS:WHERE", and where each is."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, where = text.partition(":")
        if name not in names() and where:
            own, _, where = where.partition(":")
            name = f"{name}:{own}"
        if name in found:
            raise ConfigError(f"--track {text!r}: {name!r} is there twice; a run has one of a kind")
        found[name] = where
    return found


def written(values: Mapping[str, str | bool]) -> dict[str, str]:
    """Trackers of a configuration's table ``track``: ``true`` is nowhere in particular, ``false`` none."""
    return {
        n: "" if where is True else str(where) for n, where in values.items() if where is not False
    }


def _own(place: str) -> type[Tracker]:
    name, _, attribute = place.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a script's own folder is on it, that of an installed command is not
        sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"tracker {place!r}: there is no module {error.name!r}") from None
    kind = getattr(module, attribute, None)
    if not _is_tracker(kind):
        raise ConfigError(
            f"tracker {place!r} is no tracker; expected a class derived from isthmus.trackers.Tracker"
        )
    return kind


def _is_tracker(kind: object) -> TypeGuard[type[Tracker]]:
    return isinstance(kind, type) and issubclass(kind, Tracker)
