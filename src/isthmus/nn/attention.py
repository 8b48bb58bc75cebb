"""Self-attention over a row's features.

Shape letters: B rows, F features, I width of a feature, H heads, K width of a head.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureAttention(nn.Module):
    """One interacting layer of AutoInt (Song et al., CIKM 2019, eq. 5-8): [B, F, I] -> [B, F, H * K].

    ReLU(the heads side by side + W_res e). Scores are inner products as they are: the paper does
    not divide them by sqrt(K), and projects no output.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, heads * head_width
        # Query, key, value and residual weights, one product for all four.
        self.project = nn.Linear(width, 4 * self.width, bias=False)

    def forward(self, x_BFI: Tensor) -> Tensor:
        query, key, value, residual_BFO = self.project(x_BFI).chunk(4, dim=-1)
        mixed_BHFK = F.scaled_dot_product_attention(
            self._by_head(query), self._by_head(key), self._by_head(value), scale=1.0
        )
        return (mixed_BHFK.transpose(1, 2).flatten(2) + residual_BFO).relu()

    def _by_head(self, x_BFO: Tensor) -> Tensor:
        return x_BFO.unflatten(2, (self.heads, -1)).transpose(1, 2)
