"""GRU4Rec: a recurrent network over a history."""

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.models.base import register
from isthmus.models.next_item_losses import NextItemConfig
from isthmus.models.sequential import SequentialRetriever
from isthmus.nn.sequence import SequenceEmbedding, Tokens
from isthmus.nn.transformer import dropout
from isthmus.schema import Schema


class GRU4RecConfig(NextItemConfig):
    """``domain_blind``: items are read without their domains."""

    layers: PositiveInt = 1
    domain_blind: bool = False


@register("gru4rec", paper="https://arxiv.org/abs/1511.06939")
class GRU4Rec(SequentialRetriever):
    """Recurrent neural networks for sequences (Hidasi et al., ICLR 2016): embedding, GRU, item scores.

    Other than in the paper: one row is a user's history and not a place in a stream of sessions;
    the loss is a softmax over the target domain's items, not a ranking loss on the batch's; items
    that are read and items that are scored have one table; an item's domain is embedded too, and
    the embedding is normalised.
    """

    Config = GRU4RecConfig
    config: GRU4RecConfig

    def __init__(self, config: GRU4RecConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width = config.embedding_dim
        domains = 0 if config.domain_blind else schema.num_domains + 1
        self.embed = SequenceEmbedding(domains, 0, width, dropout=config.dropout)
        self.gru = nn.GRU(width, width, config.layers, batch_first=True)
        self.out = nn.Linear(width, width)

    def states(self, tokens: Tokens) -> Tensor:
        # B histories, T tokens of the longest
        x_NH = self.embed(self.items, tokens.cross)
        rows, longest = max(1, len(tokens.last)), tokens.slots
        place_N = tokens.user * longest + tokens.cross.position
        x_BTH = x_NH.new_zeros(rows * longest, x_NH.shape[1]).index_copy(0, place_N, x_NH)
        state_BTH, _ = self.gru(x_BTH.unflatten(0, (rows, longest)))  # nobody reads the padding
        state_NH = state_BTH.flatten(0, 1).index_select(0, place_N)
        out_NH: Tensor = self.out(dropout(state_NH, self.config.dropout, self.training))
        return out_NH
