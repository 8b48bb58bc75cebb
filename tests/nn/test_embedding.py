"""Embeddings of a row: padding, shared tables, and sparse gradients."""

import torch

from isthmus.batch import Impressions
from isthmus.nn import EmbeddingTable, FeatureEmbedding, RowEmbedding
from isthmus.schema import Feature, Schema

SCHEMA = Schema(
    features=(
        Feature(name="recent", kind="history", size=6, table="item", role="user", length=3),
        Feature(name="user", size=5, role="user"),
        Feature(name="item", size=6, role="item"),
        Feature(name="disliked", kind="history", size=6, table="item", role="user", length=2),
        Feature(name="hour", kind="number", size=4),
    ),
    domains=("a", "b"),
    items=6,
)


def batch(features):
    features = torch.tensor(features)
    zeros = torch.zeros(len(features))
    return Impressions(features, zeros.long(), zeros)


def test_features_by_hand():
    torch.manual_seed(0)
    embed = FeatureEmbedding(SCHEMA, 4)
    item, user, hour = embed.table.weight.split([6, 5, 4])  # in the order of first mention
    out = embed(batch([[3, 5, 0, 2, 1, 0, 4, 3]]))[0]
    assert out.shape == (5, 4)
    torch.testing.assert_close(out[0], (item[3] + item[5]) / 2)
    torch.testing.assert_close(out[1], user[2])
    torch.testing.assert_close(out[2], item[1])
    torch.testing.assert_close(out[3], item[4])
    torch.testing.assert_close(out[4], hour[3])


def test_padding_is_never_averaged_in_w8():
    """Published: the pad's id was another feature's first row, and pads entered the mean."""
    embed = FeatureEmbedding(SCHEMA, 4)
    one, more, empty = embed(batch([[3, 0, 0, 2, 1, 0, 0, 3], [0, 3, 3, 2, 1, 0, 0, 3], [0] * 8]))
    torch.testing.assert_close(one[0], more[0])
    assert (empty[0] == 0).all()
    assert (one[3] == 0).all()


def test_padding_gets_no_gradient_w8():
    embed = FeatureEmbedding(SCHEMA, 4)
    embed(batch([[3, 0, 0, 2, 1, 4, 0, 3]]))[:, [0, 3]].sum().backward()
    gradient = embed.table.weight.grad.to_dense()
    assert (gradient[3] == 1).all()
    assert (gradient[4] == 1).all()
    assert (gradient[[0, 1, 2, 5]] == 0).all()
    assert (gradient[6:] == 0).all()


def test_the_gradient_is_that_of_a_dense_table_with_the_touched_rows_alone():
    torch.manual_seed(0)
    ours = EmbeddingTable(9, 4)
    dense = torch.nn.Parameter(ours.weight.detach().clone())
    ids, weight = torch.randint(0, 7, (5, 3)), torch.randn(5, 3, 4)
    (ours(ids) * weight).sum().backward()
    (dense[ids] * weight).sum().backward()
    assert ours.weight.grad.is_sparse
    assert set(ours.weight.grad.coalesce().indices()[0].tolist()) == set(ids.flatten().tolist())
    torch.testing.assert_close(ours.weight.grad.to_dense(), dense.grad)


def test_a_domain_blind_row_is_the_same_in_every_domain():
    rows = batch([[3, 5, 0, 2, 1, 0, 4, 3]] * 2)
    rows = Impressions(rows.features, torch.tensor([1, 2]), rows.label)
    for blind in (True, False):
        embed = RowEmbedding(SCHEMA, 4, domain=not blind)
        one, other = embed(rows)
        assert len(one) == embed.width
        assert torch.equal(one, other) == blind
