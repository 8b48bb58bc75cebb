"""Training one retriever a domain on the domain's own events, each chosen on its own validation rows."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from isthmus.data.feed import Feed, generator, thinned
from isthmus.data.prepared import Prepared
from isthmus.data.sequences import Windows
from isthmus.evaluation import metric_of_ranks
from isthmus.inference import ranks
from isthmus.models import Model, Retriever, get
from isthmus.models.isolated_retrievers import DomainRetriever, IsolatedRetrievers
from isthmus.progress import Reporter, quiet
from isthmus.schema import Schema
from isthmus.training import checkpoint
from isthmus.training.fit import fit
from isthmus.training.isolated import IsolatedJob, is_trained, trained_apart
from isthmus.training.state import TrainingState


def train_isolated_retrievers(
    job: IsolatedJob, *, workers: int = 2, reporter: Reporter = quiet
) -> tuple[IsolatedRetrievers, TrainingState]:
    """Train every domain's model; a domain that was finished before is not trained again.

    Returns the models as one, and the state of a run whose only epoch they are, without a score.
    """
    schema, rows, _ = _rows(job.data, job.model)
    sizes = torch.bincount(rows.domain, minlength=schema.num_domains + 1).tolist()
    domains = sorted((d for d, size in enumerate(sizes) if d and size), key=lambda d: -sizes[d])
    model = IsolatedRetrievers(job.settings, schema, _kind(job.model), sorted(domains))
    held = {domain: sizes[domain] for domain in domains}
    for domain, best in trained_apart(job, _train_domain, held, workers, reporter):
        part = model.parts[str(domain)]
        assert isinstance(part, DomainRetriever)
        part.retriever.load_state_dict(best)
    model.eval()
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    return model, TrainingState(losses=[{}], model=whole, best=whole)


def _train_domain(job: IsolatedJob, domain: int) -> int:
    place = job.place(domain)
    if is_trained(place):
        return domain
    schema, train, valid = _rows(job.data, job.model)
    torch.manual_seed(generator(job.seed, domain).initial_seed())
    part = DomainRetriever(job.settings, schema, _kind(job.model), domain)
    own = train.take((train.domain == domain).nonzero().squeeze(1))
    own = thinned(own, _most(job, own), job.seed)
    held = valid.take((valid.domain == domain).nonzero().squeeze(1))
    held = held if len(held) else own
    own, held = _in_own_ids(part, own), _in_own_ids(part, held)
    feed = Feed(own, batch_size=job.train.batch_size, seed=job.seed, valid=held)
    score = partial(_score, rows=held, metric=job.train.metric)
    checkpoint.save(fit(part.retriever, feed, score, job.train), place)
    return domain


def _in_own_ids(part: DomainRetriever, rows: Windows) -> Windows:
    """As ``DomainRetriever.own``, of rows whose histories hold the domain's events alone."""
    there = rows.item_domains == part.domain
    return replace(
        rows,
        items=(rows.items - part.before).masked_fill(~there, 0),
        item_domains=there.long(),
        target=(rows.target - part.before).masked_fill(rows.target == 0, 0),
        domain=torch.ones_like(rows.domain),
    )


def _most(job: IsolatedJob, own: Windows) -> int | None:
    """Of the rows that training is limited to, a domain's share."""
    if job.train.max_rows is None:
        return None
    _, train, _ = _rows(job.data, job.model)
    return max(1, round(job.train.max_rows * len(own) / len(train)))


def _score(model: Model, rows: Windows, metric: str) -> float:
    """The metric on rows of the domain, among its items."""
    assert isinstance(model, Retriever)
    count = np.arange(len(rows))
    table = {
        "row": count,
        "user": count,
        "domain": rows.domain.numpy(),
        "item": rows.target.numpy(),
        "repeat": np.zeros_like(count),
    }
    domain_of_item = np.minimum(np.arange(model.schema.items), 1)
    found = metric_of_ranks(ranks(model, rows, table, domain_of_item), metric)
    assert found is not None
    return found


@cache
def _rows(data: Path, model: str) -> tuple[Schema, Windows, Windows]:
    """Read once a process; the caller of all processes has verified the files.

    Histories are of the own domain alone. A user's only event of a domain is trained on as well: at
    a user's first visit all that a domain's own model can say is what it learnt from such.
    """
    prepared = Prepared.open(data, verify=False)
    length = prepared.schema.max_history
    stride = 1 if _kind(model).predicts == "last" else length
    train = prepared.windows("train", stride=stride, own=True)
    known = (train.target > 0).nonzero().squeeze(1)
    return prepared.schema, train.take(known), prepared.windows("valid", own=True)


def _kind(name: str) -> type[Retriever]:
    kind = get(name)
    assert issubclass(kind, Retriever)
    return kind
