"""A run becomes a stage: opened, checked, its model in memory."""

from dataclasses import dataclass
from pathlib import Path

import torch

from isthmus.errors import ConfigError, DataError, IntegrityError
from isthmus.experiment import load_model
from isthmus.files import canonical, digest_of
from isthmus.models import Ranker, Retriever
from isthmus.next_item import load_retriever
from isthmus.service.bundle import Bundle
from isthmus.store import Run


@dataclass(frozen=True, slots=True)
class Stage:
    """A loaded run. ``digest`` stands for all that is served of it, and not for its predictions."""

    run: Run
    model: Ranker | Retriever
    bundle: Bundle
    digest: str


def stage(path: Path) -> Stage:
    """Load a run.

    Raises:
        DataError, IntegrityError, MismatchError: it is not there, not finished, not packed, damaged,
            of another version, or has weights that are no numbers.
        ConfigError: it is an isolated ranker's, which cannot be loaded without its data.
    """
    run = Run.open(path)
    if not run.finished:
        raise DataError(f"run {run.name!r} is not finished; train it to the end first")
    bundle = Bundle.open(run)
    of_items = bundle.facts.kind == "retriever"
    if not of_items and run.config["scope"] == "isolated":
        raise ConfigError(
            f"run {run.name!r} is of one ranker a domain, with vocabularies that its data holds and "
            "the run does not; serve a joint run"
        )
    model = load_retriever(run) if of_items else load_model(run)
    _refuse_no_numbers(run, model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    files = run.manifest.files
    served = {n: files[n].sha256 for n in files if not n.startswith(("predictions/", "ranks/"))}
    served.pop("metrics.json", None)
    return Stage(run, model, bundle, digest_of(canonical([run.config, served])).sha256)


def _refuse_no_numbers(run: Run, model: Ranker | Retriever) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise IntegrityError(
                f"run {run.name!r} has weights that are no numbers, such as in {name}; it cannot "
                "score, train it again with a lower train.lr, or with train.clip"
            )
