"""Gradient agreement: whether a step that helps one domain helps another, while all are trained.

Shape letters: D domains, P dense parameters, T numbers of the embedding tables, E epochs.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor, nn

from isthmus.data.feed import Feed, generator
from isthmus.models.base import Model
from isthmus.optim import gradients
from isthmus.training.state import TrainingState

ROWS = 2048
"""Rows of a domain that its gradient is taken on, at most."""
_ALL = 2**16  # rows of all domains together, which bounds what hundreds of them cost
_DENSE = (
    2**18
)  # dense parameters that are compared, at most: a random choice of them stands for all
_SAMPLE = 2  # the purpose of a generator: which rows, which parameters
Floats = npt.NDArray[np.float64]


class Affinity:
    """Watches a training: pass it as ``on_epoch``. ``model`` is a twin that it loads each state into.

    A domain's gradient is that of ``model.losses`` on a sample of its training rows, the same one in
    all epochs, without dropout. What fewer than two domains use (a domain's own tower, embedding or
    row of a table) is left out: of that nothing is shared. Every other number is divided by its root
    mean square over the domains, as Adam's steps are by their history's: else the few numbers with
    large gradients, such as the last bias, speak for all.

    Cosines of gradients as a measure of conflict are PCGrad's (Yu et al., NeurIPS 2020, section
    2.2), inner products along a training as one of what rows give to each other TracIn's (Pruthi
    et al., NeurIPS 2020, section 3.2).

    Attributes:
        domains: ids of the domains with training rows, [D].
        products: inner products of the domains' gradients, [D, D], one an epoch.
    """

    def __init__(self, model: Model, feed: Feed) -> None:
        self.model, self.domains = model, feed.domains
        most = min(ROWS, max(_ALL // max(len(self.domains), 1), 32))
        rng = generator(feed.seed, 0, 0, _SAMPLE)
        self._batches = []
        for domain in self.domains:
            rows = feed.rows_of(domain)
            drawn = rows[torch.randperm(len(rows), generator=rng)[:most].sort().values]
            self._batches.append(feed.splits["train"][drawn])
        size = sum(p.numel() for p in model.parameters())
        self._chosen = torch.randperm(size, generator=rng)[:_DENSE].sort().values
        self._stands_for = size / max(len(self._chosen), 1)
        self.products: list[Floats] = []

    def __call__(self, state: TrainingState) -> None:
        """Take every domain's gradient at the end of an epoch."""
        self.model.load_state_dict(state.model)
        self.model.eval()
        parameters = dict(self.model.named_parameters())
        dense, sparse = [], []
        for batch in self._batches:
            found = gradients(parameters, self.model.losses(batch))
            dense.append(_dense(parameters, found)[self._chosen])
            sparse.append(_sparse(parameters, found))
        dense_DP = _whitened(torch.stack(dense).double().numpy())
        sparse_DT = _whitened_rows(vstack(sparse, format="csr"))
        of_tables: Floats = (sparse_DT @ sparse_DT.T).toarray()
        self.products.append(of_tables + self._stands_for * (dense_DP @ dense_DP.T))


def cosines(products: Floats, share_GD: Floats) -> Floats:
    """Cosines of the gradients of groups of domains: [G, G], NaN on the diagonal and without gradient.

    Args:
        products: inner products of the domains' gradients, [D, D].
        share_GD: what each domain weighs in a group, by rows; its gradient is their mean.
    """
    of_groups = share_GD @ products @ share_GD.T
    norm = np.sqrt(np.maximum(np.diag(of_groups), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = of_groups / np.outer(norm, norm)
    np.fill_diagonal(found, np.nan)
    return found


def _whitened(dense_DP: Floats) -> Floats:
    users = (dense_DP != 0).sum(0)
    scale = np.sqrt((dense_DP**2).sum(0) / np.maximum(users, 1))
    whitened: Floats = np.where(users > 1, dense_DP / np.where(scale > 0, scale, 1.0), 0.0)
    return whitened


def _whitened_rows(sparse_DT: csr_matrix) -> csr_matrix:
    """As ``_whitened``, of what is stored alone."""
    _, place, users = np.unique(sparse_DT.indices, return_inverse=True, return_counts=True)
    scale = np.sqrt(np.bincount(place, weights=sparse_DT.data**2) / users)[place]
    value = np.where((users[place] > 1) & (scale > 0), sparse_DT.data, 0.0)
    data = value / np.where(scale > 0, scale, 1.0)
    return csr_matrix((data, sparse_DT.indices, sparse_DT.indptr), shape=sparse_DT.shape)


def _dense(parameters: Mapping[str, nn.Parameter], found: Mapping[str, Tensor]) -> Tensor:
    """[P], all parameters one after another; zeros where there is no dense gradient."""
    zero = torch.zeros(())
    return torch.cat(
        [
            found[name].flatten()
            if name in found and not found[name].is_sparse
            else zero.expand(value.numel())
            for name, value in parameters.items()
        ]
    )


def _sparse(parameters: Mapping[str, nn.Parameter], found: Mapping[str, Tensor]) -> csr_matrix:
    """[1, T], the rows of the embedding tables that were met, in the places of all parameters."""
    columns, values, start = [np.zeros(0, np.int64)], [np.zeros(0)], 0
    for name, table in parameters.items():
        if name in found and found[name].is_sparse:
            rows, width = found[name].indices()[0], table.shape[1]
            columns.append((rows[:, None] * width + torch.arange(width)).flatten().numpy() + start)
            values.append(found[name].values().flatten().double().numpy())
        start += table.numel()
    value = np.concatenate(values)
    return csr_matrix((value, np.concatenate(columns), [0, len(value)]), shape=(1, start))
