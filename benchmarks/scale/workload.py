"""A day's traffic that one machine cannot take, and how it is spread over ids.

Shape letters: N draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    """Ids of a feature, id 0 the most frequent: that is how ``isthmus prepare`` gives them out.

    Attributes:
        lookups: of this table, for each row.
        exponent: an id's frequency falls as its rank to this power. Not 1.
    """

    name: str
    rows: int
    lookups: int
    exponent: float

    def draw(self, number: int, draw: np.random.Generator) -> Ids:
        """Ids as so many lookups meet them, [N]: the inverse of the power law's distribution."""
        power = 1 - self.exponent
        ends = (self.rows + 1) ** power - 1
        ranks = (ends * draw.random(number) + 1) ** (1 / power)
        return np.minimum(ranks.astype(np.int64), self.rows) - 1  # the last one by rounding


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be served by one model, in a day.

    Attributes:
        tables: of embeddings, in the order in which they lie in the fused one.
        dim: embedding width.
        dense: parameters beside the tables.
        batch: rows of a step, over all processes.
    """

    rows_a_day: int
    domains: int
    tables: tuple[Table, ...]
    dim: int = 32
    dense: int = 700_000
    batch: int = 65_536

    @property
    def table_rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def lookups(self) -> int:
        """Embeddings that a row reads."""
        return sum(table.lookups for table in self.tables)


INTERNET = Workload(
    rows_a_day=10**9,
    domains=300,
    tables=(
        Table("users", 10**8, 1, 0.6),
        Table("items, and the last five", 10**7, 6, 0.8),
        Table("six other features", 10**6, 6, 1.05),
    ),
)
"""10^9 rows a day of 10^8 users and 10^7 items in 300 domains. The exponents of users and items are
those of Epinions (the steepest real set here); Complete Journey's are .36 and .48."""
