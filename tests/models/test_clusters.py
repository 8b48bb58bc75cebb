"""What every ranker with parts a domain has to honour where clusters of domains share them."""

import pytest
import torch
from sklearn.metrics import roc_auc_score as auc

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.errors import ConfigError
from isthmus.models.parts import PartsRanker
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit

SCHEMA = toy_schema(num_domains=4)
CLUSTERS = (("a", "c", "d"), ("b",))
with_parts = [name for name in models.names() if issubclass(models.get(name), PartsRanker)]
every_model = pytest.mark.parametrize("name", with_parts)


def build(name, **settings):
    torch.manual_seed(0)
    cls = models.get(name)
    return cls(cls.Config.model_validate(settings), SCHEMA)


def clustered(name):
    return build(name, domains="clusters", clusters=CLUSTERS)


def test_there_are_such_models():
    assert "mmoe" in with_parts


@every_model
def test_clusters_share_their_parts(name):
    model, apart = clustered(name), build(name)
    assert model.num_parts == 1 + len(CLUSTERS)
    assert model.part_D.tolist() == [0, 1, 2, 1, 1]
    fewer, more = (sum(p.numel() for p in m.parameters()) for m in (model, apart))
    assert fewer < more


@every_model
def test_it_trains_with_clusters(name):
    """Every part learns, the file of clusters decides nothing that is stored, scores come back."""
    model = clustered(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train, held = toy_impressions(SCHEMA, 2048, 0), toy_impressions(SCHEMA, 1024, 1)
    feed = Feed(train, batch_size=64, seed=0, valid=held, unknown_share=0.1)

    def score(m):
        return auc(held.label.numpy(), m(held).numpy())

    state = fit(model, feed, score, TrainConfig(lr=1e-2, max_epochs=3, patience=99))
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert not still, f"never trained: {still}"
    assert max(state.scores) > 0.6, state.scores
    copy = clustered(name)
    copy.load_state_dict(state.best)
    with torch.inference_mode():
        assert torch.equal(copy.eval()(held), model(held))


@pytest.mark.parametrize(
    ("clusters", "told"),
    [
        ((), "lack 'a'"),
        ((("a", "b", "c"),), "lack 'd'"),
        ((("a", "b", "c", "d", "e"),), "name unknown 'e'"),
        ((("a", "b"), ("b", "c", "d")), "repeat 'b'"),
    ],
)
def test_clusters_that_do_not_fit_the_domains_are_refused(clusters, told):
    with pytest.raises(ConfigError, match=told):
        build("mmoe", domains="clusters", clusters=clusters)
