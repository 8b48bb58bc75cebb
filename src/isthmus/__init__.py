"""One recommender for dozens of domains, and proof that no domain pays for it.

The public names are loaded when they are first used: ``import isthmus`` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from isthmus import models
    from isthmus.config import RunConfig
    from isthmus.data import sources
    from isthmus.data.config import PrepareConfig
    from isthmus.data.prepare import prepare
    from isthmus.data.prepared import Prepared
    from isthmus.errors import IsthmusError
    from isthmus.evaluation import GateRules, Predictions, compare, evaluate
    from isthmus.experiment import load_model, predict, run
    from isthmus.release import gate
    from isthmus.sharing import share
    from isthmus.store import Run, Store

_PLACES = {
    "GateRules": "evaluation",
    "IsthmusError": "errors",
    "PrepareConfig": "data.config",
    "Prepared": "data.prepared",
    "Predictions": "evaluation",
    "Run": "store",
    "RunConfig": "config",
    "Store": "store",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "gate": "release",
    "load_model": "experiment",
    "predict": "experiment",
    "prepare": "data.prepare",
    "run": "experiment",
    "share": "sharing",
}
_MODULES = {"models": "models", "sources": "data.sources"}

__all__ = [
    "GateRules",
    "IsthmusError",
    "Predictions",
    "PrepareConfig",
    "Prepared",
    "Run",
    "RunConfig",
    "Store",
    "compare",
    "evaluate",
    "gate",
    "load_model",
    "models",
    "predict",
    "prepare",
    "run",
    "share",
    "sources",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"isthmus.{_MODULES[name]}")
    if name in _PLACES:
        return getattr(import_module(f"isthmus.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
