"""The second stage: probabilities of candidates for one user.

Shape letters: C columns of ``Impressions.features``, N candidates, J columns of item features.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.batch import Impressions
from isthmus.inference import probabilities
from isthmus.models import Ranker
from isthmus.models.aread import AREAD
from isthmus.service.bundle import Ints
from isthmus.service.folded import Folded


class Scorer(Protocol):
    """Probabilities [N] of candidates that have all but item features and the domain in common."""

    def __call__(self, shared_C: Ints, items_NJ: Ints, domain_N: Ints) -> NDArray[np.float64]: ...


def scorer(model: Ranker, item_columns: Ints) -> Scorer:
    """The quickest way to the model's own probabilities, to 1e-6."""
    if type(model) is AREAD and Folded.fits(model):
        return Folded(model)
    return Plain(model, item_columns)


class Plain:
    """Any ranker, as it is evaluated: every candidate a whole row."""

    def __init__(self, model: Ranker, item_columns: Ints) -> None:
        self._model, self._columns = model, torch.from_numpy(item_columns)

    def __call__(self, shared_C: Ints, items_NJ: Ints, domain_N: Ints) -> NDArray[np.float64]:
        features = torch.from_numpy(shared_C).repeat(len(items_NJ), 1)
        features[:, self._columns] = torch.from_numpy(items_NJ)
        rows = Impressions(features, torch.from_numpy(domain_N), torch.zeros(len(domain_N)))
        return probabilities(self._model, rows)
