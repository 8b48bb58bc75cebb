"""A model over batches -> a table; no metric is known here."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus import distributed
from isthmus.batch import Impressions
from isthmus.data.sequences import Windows
from isthmus.data.stream import Stream
from isthmus.errors import DataError
from isthmus.evaluation.ranks import PROTOCOLS, Ranks, samples
from isthmus.models.base import Ranker, Retriever
from isthmus.nn import EmbeddingTable

BATCH = 4096  # rows a step: the fastest of 1,024 to 16,384 on two cores


CELLS = 2**23  # scores of items at a time: 64 MiB of float64


@torch.inference_mode()
def probabilities(
    model: Ranker, rows: Impressions | Stream, *, batch_size: int = BATCH
) -> np.ndarray:
    """P(label = 1) of every row: [N] float64. The model is put into evaluation mode.

    Logits become probabilities in float64: in float32 confident rows would be tied at 0 or 1.
    """
    model.eval()
    device = next(model.parameters()).device

    def some(first: int, end: int) -> np.ndarray:
        logits = [
            model(rows[start : min(start + batch_size, end)].to(device)).double().cpu()
            for start in range(first, end, batch_size)
        ]
        return torch.cat(logits or [torch.empty(0, dtype=torch.float64)]).sigmoid().numpy()

    return _shared_out(model, len(rows), some)


@torch.inference_mode()
def ranks(
    model: Retriever, rows: Windows, table: Mapping[str, np.ndarray], item_domains: np.ndarray
) -> Ranks:
    """Where each row's item stands among the candidates. The model is put into evaluation mode.

    Args:
        rows: N histories.
        table: columns ``row, domain, user, item, repeat`` of the same rows, [N].
        item_domains: the domain of each item id, [I]: 0 for id 0, and never falling.

    Raises:
        DataError: a score is NaN or infinitely high; it names the first row.
    """
    model.eval()
    device = next((t.device for t in (*model.parameters(), *model.buffers())), "cpu")
    drawn = samples(table["row"], table["item"], len(item_domains))
    step = max(1, CELLS // len(item_domains))

    def some(first: int, end: int) -> np.ndarray:
        parts = [np.empty((0, len(PROTOCOLS), 3), np.int64)]
        for start in range(first, end, step):
            part = slice(start, min(start + step, end))
            score_BI = model.scores(rows[part].to(device)).cpu().numpy()
            _refuse_nan(score_BI, table["row"][part])
            items = _Items(score_BI, table["item"][part])
            by_domain = items.in_domains(table["domain"][part], item_domains)
            parts.append(np.stack([by_domain, items.of_all(), items.among(drawn[part])], 1))
        return np.concatenate(parts)

    places = _shared_out(model, len(rows), some)
    found: dict[str, Any] = {
        name: {protocol: places[:, p, k] for p, protocol in enumerate(PROTOCOLS)}
        for k, name in enumerate(("above", "tied", "of"))
    }
    columns: dict[str, Any] = {
        name: table[name] for name in ("row", "domain", "user", "item", "repeat")
    }
    return Ranks(**columns, **found, domains=model.schema.domains)


def _shared_out(model: nn.Module, rows: int, some: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """What ``some`` finds of each row from a first to an end, each process of its part of them."""
    part = distributed.part(rows)
    first, end, _ = part.rows.indices(rows)
    tables = (m.answer for m in model.modules() if isinstance(m, EmbeddingTable))
    found = distributed.each(lambda: some(first, end), then=next(tables, lambda: None))
    return np.concatenate(found) if part.divided else found[0]


class _Items:
    """Scores of all items for B rows, and each row's own item: 0 where it is cold.

    Each method gives the candidates above it, level with it, and all, [B, 3].
    """

    def __init__(self, score_BI: np.ndarray, item_B: np.ndarray) -> None:
        self.score_BI, self.item_B = score_BI, item_B
        self.own_B1 = score_BI[np.arange(len(item_B)), item_B][:, None]

    def in_domains(self, domain_B: np.ndarray, item_domains: np.ndarray) -> np.ndarray:
        """Among the items of each row's domain, whose ids are a slice."""
        places_B3 = np.zeros((len(domain_B), 3), np.int64)
        for domain in np.unique(domain_B[domain_B > 0]):
            rows = np.flatnonzero(domain_B == domain)
            low, high = np.searchsorted(item_domains, [domain, domain + 1])
            places_B3[rows] = self._count(self.score_BI[rows, low:high], rows)
        return places_B3

    def of_all(self) -> np.ndarray:
        """Among all known items."""
        return self._count(self.score_BI[:, 1:], np.arange(len(self.item_B)))

    def among(self, drawn_BM: np.ndarray) -> np.ndarray:
        """Among these and the item itself; 0 is none."""
        score_BM = np.take_along_axis(self.score_BI, drawn_BM, 1)
        real_BM, known_B = drawn_BM > 0, self.item_B > 0
        above, level = score_BM > self.own_B1, score_BM == self.own_B1
        counts = [(cells & real_BM).sum(1) * known_B for cells in (above, level)]
        return np.stack([*counts, real_BM.sum(1) + known_B], 1)

    def _count(self, score: np.ndarray, rows: np.ndarray) -> np.ndarray:
        own, known = self.own_B1[rows], self.item_B[rows] > 0
        above, level = (
            cells.view(np.uint8).sum(1, dtype=np.int64) for cells in (score > own, score == own)
        )
        of = np.full(len(rows), score.shape[1])
        return np.stack([above * known, (level - 1) * known, of], 1)


def _refuse_nan(score_BI: np.ndarray, row_B: np.ndarray) -> None:
    """Minus infinity is a score: that of an item which a model never gives."""
    highest_B = score_BI[:, 1:].max(1, initial=-np.inf)
    bad_B = np.isnan(highest_B) | np.isposinf(highest_B)
    if bad_B.any():
        raise DataError(
            f"{int(bad_B.sum()):,} of {len(bad_B):,} rows have scores that are no numbers, the first "
            f"is row {row_B[np.argmax(bad_B)]}: they cannot be ranked; lower train.lr, or set "
            "train.clip"
        )
