"""Training one model a domain, in parallel processes, each chosen on its own validation rows."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.data.feed import Feed, generator, thinned
from isthmus.data.prepared import Prepared
from isthmus.errors import IntegrityError
from isthmus.evaluation.metrics import logloss
from isthmus.evaluation.ranking import Ranked
from isthmus.files import remove
from isthmus.inference import probabilities
from isthmus.models import ModelConfig, Ranker, get
from isthmus.models.base import Model
from isthmus.models.isolated import DomainRanker, Isolated, vocabulary
from isthmus.progress import Reporter, quiet
from isthmus.schema import Schema
from isthmus.training import checkpoint
from isthmus.training.fit import TrainConfig, fit
from isthmus.training.state import TrainingState


@dataclass(frozen=True)
class IsolatedJob:
    """All that a worker process needs to train the models of some domains."""

    data: Path
    model: str
    settings: ModelConfig
    train: TrainConfig
    seed: int
    checkpoints: Path

    def kind(self) -> type[Ranker]:
        """The class of every domain's model."""
        kind = get(self.model)
        assert issubclass(kind, Ranker)
        return kind

    def place(self, domain: int) -> Path:
        """Where the checkpoint of a domain's model lies."""
        return self.checkpoints / f"domain-{domain:04d}"


def train_isolated(
    job: IsolatedJob, *, workers: int = 2, reporter: Reporter = quiet
) -> tuple[Isolated, TrainingState]:
    """Train every domain's model; a domain that was finished before is not trained again.

    Returns the models as one, and the state of a run whose only epoch they are: its score is the
    row-weighted mean of the validation AUCs.
    """
    schema, rows, valid = _rows(job.data, job.train.max_rows, job.seed)
    model = Isolated.of_rows(job.settings, schema, job.kind(), rows)
    domains = sorted(map(int, model.parts), key=lambda d: -int((rows.domain == d).sum()))
    sizes = {domain: int((rows.domain == domain).sum()) for domain in domains}
    for domain, best in trained_apart(job, _train_domain, sizes, workers, reporter):
        part = model.parts[str(domain)]
        assert isinstance(part, DomainRanker)
        part.ranker.load_state_dict(best)
    model.eval()
    held = {domain: _of(valid, domain) for domain in domains}
    scores = {d: auc for d in domains if (auc := _auc(model, held[d])) is not None}
    weights = [len(held[d]) for d in scores]
    score = float(np.average(list(scores.values()), weights=weights)) if scores else 0.0
    best = {name: value.clone() for name, value in model.state_dict().items()}
    return model, TrainingState(scores=[score], losses=[{}], model=best, best=best)


def trained_apart(
    job: IsolatedJob,
    train: Callable[[IsolatedJob, int], int],
    sizes: Mapping[int, int],
    workers: int,
    reporter: Reporter,
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Each domain of ``sizes`` (its training rows) with its best weights, as soon as it is trained."""
    with reporter.task("isolated models: training rows", sum(sizes.values())) as advance:
        for domain in in_processes(partial(train, job), list(sizes), workers):
            state = checkpoint.latest(job.place(domain))
            assert state is not None
            yield domain, state.best
            advance(sizes[domain])


def in_processes(train: Callable[[int], int], domains: list[int], workers: int) -> Iterable[int]:
    """The domains, each as soon as its model is there; those that stand first are begun first."""
    workers = min(workers, len(domains))
    if workers <= 1:
        yield from map(train, domains)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share torch's thread pool
    with context.Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(train, domains)


def _train_domain(job: IsolatedJob, domain: int) -> int:
    place = job.place(domain)
    if is_trained(place):
        return domain
    schema, train, valid = _rows(job.data, job.train.max_rows, job.seed)
    rows, held = _of(train, domain), _of(valid, domain)
    torch.manual_seed(generator(job.seed, domain).initial_seed())
    part = DomainRanker(job.settings, schema, job.kind(), vocabulary(schema, rows))
    own, held = part.own(rows), part.own(held if len(held) else rows)
    feed = Feed(own, batch_size=job.train.batch_size, seed=job.seed, valid=held)
    checkpoint.save(fit(part.ranker, feed, partial(domain_score, rows=held), job.train), place)
    return domain


def is_trained(place: Path) -> bool:
    """Whether a domain's model is there; a damaged one is thrown away, and trained again."""
    try:
        return checkpoint.latest(place) is not None
    except IntegrityError:
        remove(place)
        return False


@cache
def _rows(data: Path, most: int | None, seed: int) -> tuple[Schema, Impressions, Impressions]:
    """Read once a process; the caller of all processes has verified the files."""
    prepared = Prepared.open(data, verify=False)
    train = thinned(prepared.impressions("train"), most, seed)
    return prepared.schema, train, prepared.impressions("valid")


def _of(rows: Impressions, domain: int) -> Impressions:
    return rows[(rows.domain == domain).nonzero().squeeze(1)]


def domain_score(model: Model, rows: Impressions) -> float:
    """Validation AUC; the negative log loss in a domain whose validation rows have one class."""
    assert isinstance(model, Ranker)
    auc = _auc(model, rows)
    label = rows.label.numpy().astype(np.int8)
    return auc if auc is not None else -logloss(label, probabilities(model, rows))


def _auc(model: Ranker, rows: Impressions) -> float | None:
    if rows.label.unique().numel() < 2:
        return None
    label = rows.label.numpy().astype(np.int8)
    return Ranked.of(label, probabilities(model, rows)).auc
