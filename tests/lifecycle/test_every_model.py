"""Every ranker: a domain more changes no bit of another's scores, or the model refuses and says why."""

import pytest
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.contract import build, rows, scores
from isthmus.errors import ConfigError
from isthmus.lifecycle.axes import domain_axes, rows_of, taken, with_rows
from isthmus.testing import toy_schema
from tests.models.random_weights import randomise

RANKERS = [name for name in models.names() if issubclass(models.get(name), models.Ranker)]
READERS = {"aesm2", "hinet", "m3oe"}
CLUSTERED = {"adl"}  # rows of all domains share products, whose last bits depend on who is in them
MORE = toy_schema(4)


def settings(kind):
    """Defaults, narrow: what is asked is which tensors go where."""
    narrow = {"embedding_dim": 4, "hidden": (8, 6), "expert_hidden": (8, 6), "bottom_hidden": (8,)}
    narrow |= {"tower_hidden": (6,), "heads": 2}
    kept = {k: v for k, v in narrow.items() if k in kind.Config.model_fields}
    if kind.name in ("aread", "finalmlp"):
        kept = {"embedding_dim": 4}
    return kind.Config(**kept)


def joint(kind, seed=0):
    torch.manual_seed(seed)
    model = kind(settings(kind), toy_schema(3))
    randomise(model)
    for level in model.expert_masks():  # a mask of each domain's own
        level[1:] = torch.rand(level[1:].shape) < 0.7
    return model


def grown(kind, model, part):
    axes = domain_axes(kind, model.config, model.schema)
    child = kind(model.config, MORE)
    child.load_state_dict(with_rows(model.state_dict(), axes, 4, part))
    return child, axes


@pytest.mark.parametrize("name", [name for name in RANKERS if name not in READERS])
def test_a_domain_more_changes_no_bit_of_the_others(name):
    kind = models.get(name)
    model = joint(kind)
    axes = domain_axes(kind, model.config, model.schema)
    own = {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in rows_of(model.state_dict(), axes, 0).items()
    }
    child, _ = grown(kind, model, own)
    for n in (1, 7, 64, 257, 1000):
        batch = rows(model, n, seed=n)
        hidden = torch.arange(n) % 3 == 1  # rows of the domain that is to come
        before = Impressions(batch.features, batch.domain.masked_fill(hidden, 0), batch.label)
        after = Impressions(batch.features, batch.domain.masked_fill(hidden, 4), batch.label)
        old, new = scores(model, before), scores(child, after)
        if name in CLUSTERED:
            torch.testing.assert_close(old[~hidden], new[~hidden], rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(old[~hidden], new[~hidden]), f"{n} rows"
        others = batch[(~hidden).nonzero().squeeze(1)]
        assert torch.equal(scores(model, others), scores(child, others)), f"others of {n} rows"
        if n > 1:
            assert not torch.equal(old[hidden], new[hidden]), "the new domain has its own scores"


@pytest.mark.parametrize("name", [name for name in RANKERS if name not in READERS])
def test_a_domain_that_starts_as_another_scores_as_that_one(name):
    """Whatever a domain has of its own is among the rows that are copied."""
    kind = models.get(name)
    model = joint(kind)
    axes = domain_axes(kind, model.config, model.schema)
    for start in (0, 2):
        child, _ = grown(kind, model, rows_of(model.state_dict(), axes, start))
        batch = rows(model, 64)
        as_start, as_new = (
            Impressions(batch.features, torch.full_like(batch.domain, d), batch.label)
            for d in (start, 4)
        )
        expected = scores(model, as_start)
        torch.testing.assert_close(scores(child, as_new), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in RANKERS if name not in READERS])
def test_the_rows_of_one_domain_are_all_that_it_needs(name):
    """A model cut down to a domain scores that domain's rows as the whole does."""
    kind = models.get(name)
    model = joint(kind)
    axes = domain_axes(kind, model.config, model.schema)
    small = kind(model.config, toy_schema(1))
    small.load_state_dict(taken(model.state_dict(), axes, [0, 3]))
    batch = rows(model, 64)
    ids = [torch.full_like(batch.domain, d) for d in (3, 1)]
    whole = scores(model, Impressions(batch.features, ids[0], batch.label))
    cut = scores(small, Impressions(batch.features, ids[1], batch.label))
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(READERS))
def test_models_whose_domains_read_each_other_are_refused(name):
    kind = models.get(name)
    with pytest.raises(ConfigError, match="train it anew"):
        domain_axes(kind, kind.Config(), toy_schema(3))


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_model_is_refused_because_others_would_change(name, monkeypatch):
    """The refusal is no mere caution: a domain more does change the others' scores, or cannot be put."""
    kind = models.get(name)
    monkeypatch.setattr(kind, "reads_other_domains", False)
    torch.manual_seed(0)
    model = randomise(build(kind))
    if name == "aesm2":  # its gates are of all domains at once
        with pytest.raises(ConfigError, match="no row for each domain"):
            domain_axes(kind, model.config, model.schema)
        return
    if name == "hinet":  # which reads as many others as there are, up to three
        model = randomise(kind(kind.Config(others=1), toy_schema(3)))
    axes = domain_axes(kind, model.config, model.schema)
    child = kind(model.config, MORE)
    own = {k: torch.randn_like(v) for k, v in rows_of(model.state_dict(), axes, 1).items()}
    child.load_state_dict(with_rows(model.state_dict(), axes, 4, own))
    batch = rows(model, 64)
    assert not torch.equal(scores(model, batch), scores(child, batch))


def test_models_without_parts_of_a_domain_are_refused():
    kind = models.get("mlp")
    with pytest.raises(ConfigError, match="no parts of domains"):
        domain_axes(kind, kind.Config(domain_blind=True), toy_schema(3))
    kind = models.get("mmoe")
    clusters = kind.Config(domains="clusters", clusters=(("a", "b"), ("c",)))
    with pytest.raises(ConfigError, match=r"settings\.clusters"):
        domain_axes(kind, clusters, toy_schema(3))
