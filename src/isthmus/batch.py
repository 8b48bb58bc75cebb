"""The two kinds of batch: impressions for ranking, histories for next-item prediction."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from isthmus.device import moved, on_host


class _Columns:
    """Row-aligned tensors: every field has the same first dimension."""

    __slots__ = ()
    domain: Tensor

    def __len__(self) -> int:
        return len(self.domain)

    def __getitem__(self, rows: Tensor | slice) -> Self:
        columns = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        if isinstance(rows, slice):
            return type(self)(*(column[rows] for column in columns))
        return type(self)(*(column.index_select(0, rows) for column in columns))

    def to(self, device: torch.device | str) -> Self:
        """On a device, by copies that the host does not wait for."""
        return type(self)(*(moved(getattr(self, f.name), device) for f in fields(self)))  # type: ignore[arg-type]

    def on_host(self) -> Self:
        """As the host knows it: no wait for a device, if it was brought there by ``to``."""
        return type(self)(*(on_host(getattr(self, f.name)) for f in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Impressions(_Columns):
    """One row for each impression.

    Shapes:
        features: [B, C] int64, the columns of the schema's features, in their order.
        domain: [B] int64, 0 where the domain is unknown.
        label: [B] float32, 0 or 1.
    """

    features: Tensor
    domain: Tensor
    label: Tensor


@dataclass(frozen=True, slots=True)
class Histories(_Columns):
    """One row for each user history, padded with 0 on the left.

    Shapes:
        items: [B, L] int64.
        domains: [B, L] int64, the domain of each item (0 where padded).
        target: [B] int64, the next item.
        domain: [B] int64, the next item's domain.
    """

    items: Tensor
    domains: Tensor
    target: Tensor
    domain: Tensor
