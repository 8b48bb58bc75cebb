"""Histories as one packed stream of tokens, and the embedding of what a token may look at.

A token is a target: an item that is to be predicted. It has two contexts: all items before it
(cross-domain), and those before it of its own domain (single-domain). Both are the same tokens with
different inputs and masks, so the single-domain sequences of all domains go through in one pass.

Shape letters: B histories, L their length, N tokens, R rows of the packed stream, S slots of a row,
P = R * S slots, H width.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from isthmus.batch import Histories
from isthmus.device import moved
from isthmus.nn.embedding import EmbeddingTable, own_rows
from isthmus.nn.transformer import dropout


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a token reads: the item before it, [N] each; item 0 is the start of a sequence."""

    item: Tensor
    domain: Tensor
    position: Tensor  # of the token within its sequence, from 0

    def to(self, device: torch.device) -> "Inputs":
        """On a device, by copies that the host does not wait for."""
        return Inputs(*(moved(getattr(self, f.name), device) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The targets of a batch of histories, user by user and old to new.

    ``cross`` reads the user's previous item, ``own`` the previous one of the token's own domain.
    Users lie side by side in R rows of S slots; ``place`` says where, ``last`` [B] which token is
    each history's next item, ``user`` [N] whose a token is.
    """

    target: Tensor
    domain: Tensor
    user: Tensor
    cross: Inputs
    own: Inputs
    place: Tensor
    last: Tensor
    rows: int
    slots: int

    @classmethod
    def of(cls, batch: Histories, longest: int) -> "Tokens":
        """Tokens of the newest ``longest`` items and of the next item; padding (id 0) leaves none.

        How users are packed into rows is the host's to decide, so it makes the tokens of a batch on
        a GPU as well, of what it knows the batch to be.
        """
        if torch.compiler.is_exporting():
            return _unpacked(cls, batch, longest)
        if batch.domain.device.type != "cpu":
            return cls.of(batch.on_host(), longest).to(batch.domain.device)
        items_BT = torch.cat([batch.items[:, -longest:], batch.target[:, None]], dim=1)
        domains_BT = torch.cat([batch.domains[:, -longest:], batch.domain[:, None]], dim=1)
        is_token_BT = items_BT > 0
        is_token_BT[:, -1] = True  # the next item, known or not
        size_B = is_token_BT.sum(1)
        user = is_token_BT.nonzero()[:, 0]
        target, domain = items_BT[is_token_BT], domains_BT[is_token_BT]
        end_B = size_B.cumsum(0)
        everyone = torch.arange(len(user), device=user.device)
        order = torch.argsort(
            domain + user * (int(domain.max()) + 1 if len(domain) else 1), stable=True
        )
        place, rows, slots = _packed(size_B)
        return cls(
            target=target,
            domain=domain,
            user=user,
            cross=_previous(everyone, target, domain, user),
            own=_previous(order, target, domain, user, by_domain=True),
            place=place,
            last=end_B - 1,
            rows=rows,
            slots=slots,
        )

    def to(self, device: torch.device) -> "Tokens":
        """On a device, by copies that the host does not wait for."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        there = {name: moved(c, device) for name, c in columns.items() if isinstance(c, Tensor)}
        inputs = {"cross": self.cross.to(device), "own": self.own.to(device)}
        return Tokens(**{**columns, **there, **inputs})

    def spread(self, x_NH: Tensor) -> Tensor:
        """Tokens at their places in the packed rows, zeros in between: [P, H]."""
        empty_PH = x_NH.new_zeros(self.rows * self.slots, x_NH.shape[1])
        return empty_PH.index_copy(0, self.place, x_NH)

    def mask(self, dtype: torch.dtype, *, own: bool = False, ahead: bool = False) -> Tensor:
        """What is added to attention scores, [R, 1, S, S]: 0 for a user's tokens up to one's own.

        With ``own`` only those of the same domain, with ``ahead`` later ones too. Empty slots see
        one another, so that none is NaN.
        """
        user_RS = self._slotted(self.user)
        seen_RSS = user_RS[:, :, None] == user_RS[:, None]
        if not ahead:
            seen_RSS = seen_RSS.tril()
        if own:
            domain_RS = self._slotted(self.domain)
            seen_RSS &= domain_RS[:, :, None] == domain_RS[:, None]
        mask_RSS = torch.zeros(seen_RSS.shape, dtype=dtype, device=seen_RSS.device)
        return mask_RSS.masked_fill_(~seen_RSS, float("-inf"))[:, None]

    def _slotted(self, ids_N: Tensor) -> Tensor:
        empty_P = ids_N.new_full((self.rows * self.slots,), -1)
        return empty_P.index_copy(0, self.place, ids_N).view(self.rows, self.slots)


def _unpacked(kind: type[Tokens], batch: Histories, longest: int) -> Tokens:
    """A row of T slots for each history, padding included: what a graph that is written to a file
    computes cannot depend on lengths. Padding stands on the left, and is seen by padding alone."""
    items_BT = torch.cat([batch.items[:, -longest:], batch.target[:, None]], dim=1)
    domains_BT = torch.cat([batch.domains[:, -longest:], batch.domain[:, None]], dim=1)
    rows, slots = items_BT.shape
    is_token_BT = torch.cat([items_BT[:, :-1] > 0, torch.ones_like(items_BT[:, -1:]) > 0], dim=1)
    row_B1 = torch.arange(rows, device=items_BT.device)[:, None]
    follows_BT = torch.cat([torch.zeros_like(is_token_BT[:, :1]), is_token_BT[:, :-1]], dim=1)
    cross = (
        items_BT.roll(1, 1).where(follows_BT, 0),
        domains_BT.roll(1, 1).where(follows_BT, domains_BT),
        (is_token_BT.cumsum(1) - 1).clamp(min=0),
    )
    alike_BTT = (domains_BT[:, :, None] == domains_BT[:, None]) & is_token_BT[:, None]
    alike_BTT &= torch.ones(slots, slots, dtype=torch.bool, device=items_BT.device).tril(-1)
    number_BT = alike_BTT.sum(2)
    place_T = torch.arange(1, slots + 1, device=items_BT.device)
    newest_BT = ((alike_BTT * place_T).amax(2) - 1).clamp(min=0)
    own = (items_BT.gather(1, newest_BT).where(number_BT > 0, 0), domains_BT, number_BT)
    return kind(
        target=items_BT.flatten(),
        domain=domains_BT.flatten(),
        user=row_B1.where(is_token_BT, -1).flatten(),
        cross=Inputs(*(x.flatten() for x in cross)),
        own=Inputs(*(x.flatten() for x in own)),
        place=torch.arange(rows * slots, device=items_BT.device),
        last=row_B1[:, 0] * slots + slots - 1,
        rows=rows,
        slots=slots,
    )


def _previous(
    order: Tensor, target: Tensor, domain: Tensor, user: Tensor, *, by_domain: bool = False
) -> Inputs:
    """Inputs from the token before in ``order``, in which each sequence's tokens are neighbours."""
    if not len(order):
        return Inputs(target, domain, target)
    item, from_domain, whose = target[order], domain[order], user[order]
    starts = torch.ones_like(whose, dtype=torch.bool)
    starts[1:] = whose[1:] != whose[:-1]
    if by_domain:
        starts[1:] |= from_domain[1:] != from_domain[:-1]
    count = torch.arange(len(order), device=order.device)
    first = count.where(starts, 0).cummax(0).values
    found = (item.roll(1).masked_fill(starts, 0), from_domain.roll(1), count - first)
    found = (found[0], found[1].where(~starts, from_domain), found[2])
    return Inputs(*(torch.empty_like(x).index_copy(0, order, x) for x in found))


def _packed(size_B: Tensor) -> tuple[Tensor, int, int]:
    """Places of all tokens in rows as long as the longest user, best-fit decreasing; R and S."""
    sizes = size_B.tolist()
    if not sizes:
        return size_B, 1, 1  # one empty slot, for layers that want some
    slots = max(sizes)
    free: list[list[int]] = [[] for _ in range(slots + 1)]  # rows, by how many slots they have left
    start, rows = [0] * len(sizes), 0
    for user in sorted(range(len(sizes)), key=lambda u: -sizes[u]):
        size = sizes[user]
        left = next((f for f in range(size, slots + 1) if free[f]), None)
        if left is None:
            row, left, rows = rows, slots, rows + 1
        else:
            row = free[left].pop()
        start[user] = row * slots + slots - left
        free[left - size].append(row)
    begin_B = size_B.cumsum(0) - size_B
    shift_B = torch.tensor(start, device=size_B.device, dtype=torch.int64) - begin_B
    count = torch.arange(sum(sizes), device=size_B.device)
    return count + shift_B.repeat_interleave(size_B), rows, slots


class SequenceEmbedding(nn.Module):
    """LayerNorm(item + domain + position) of what each token reads, [N, H], with dropout.

    A sequence starts with a learned vector: the cross-domain one, or that of the token's domain.
    ``domains`` counts the ids, the unknown domain included; 0 leaves the domain out, as ``longest``
    0 leaves positions out, and without ``starts`` no sequence has one. The item table is the
    caller's, who also scores with it.
    """

    def __init__(
        self, domains: int, longest: int, width: int, *, dropout: float, starts: bool = True
    ) -> None:
        super().__init__()
        self.domain = nn.Embedding(domains, width) if domains else None
        self.position = nn.Embedding(longest + 1, width) if longest else None
        self.start = nn.Embedding(1, width) if starts else None
        for table in filter(None, (self.domain, self.position, self.start)):
            nn.init.normal_(table.weight, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(self, items: nn.Module, inputs: Inputs, start_NH: Tensor | None = None) -> Tensor:
        known_NH = items(inputs.item)
        if self.domain is not None:
            known_NH = known_NH + self.domain(inputs.domain)
        if self.start is not None:
            first_NH = self.start.weight if start_NH is None else start_NH
            known_NH = torch.where((inputs.item == 0)[:, None], first_NH, known_NH)
        if self.position is not None:
            known_NH = known_NH + self.position(inputs.position)
        return dropout(self.norm(known_NH), self.dropout, self.training)


def item_table(items: int, width: int, *, sparse: bool) -> nn.Embedding | EmbeddingTable:
    """Item vectors; row 0 (padding) is zero, and nothing ever trains it.

    ``sparse`` ones get the row-wise optimiser: worth it where a step meets few of the items (a
    sampled loss); a full softmax has a gradient for every item, which sparse rows would only copy.
    """
    if sparse:
        table: nn.Embedding | EmbeddingTable = EmbeddingTable(items, width, std=0.02)
    else:
        table = nn.Embedding(items, width)
        nn.init.normal_(table.weight, std=0.02)
    own, first = own_rows(table.weight.detach())
    own[: int(first == 0)] = 0
    return table
