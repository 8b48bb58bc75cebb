"""A prepared data set as though it held nothing of some domains."""

from collections.abc import Iterable
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.prepared import Prepared
from isthmus.data.sequences import Sequences
from isthmus.errors import DataError


class Without(Prepared):
    """The same data without some domains: in no split a row of theirs. Ids stay what they are.

    Of events their items are unknown: they train nothing, stand in no history, and are misses where
    they are to be ranked.

    Raises:
        DataError: there is no such domain, or none would be left.
    """

    def __init__(self, whole: Prepared, domains: Iterable[str]) -> None:
        super().__init__(whole.path, whole.manifest, whole.digest)
        places = {name: number for number, name in enumerate(self.schema.domains, 1)}
        self.left_out = tuple(sorted(set(domains)))
        strange = sorted(set(self.left_out) - set(places))
        if strange:
            known = ", ".join(map(repr, self.schema.domains[:5]))
            raise DataError(
                f"without: no domain {strange[0]!r} in {self.path}; expected names among its "
                f"{len(places)} domains, such as {known}"
            )
        if len(self.left_out) == len(places):
            raise DataError("without: names all domains; expected at least one to be left")
        self._ids = [places[name] for name in self.left_out]

    @cached_property
    def sequences(self) -> Sequences:
        return super().sequences.without(self._ids)

    def left(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pc.invert(pc.is_in(rows["domain"], pa.array(self._ids, pa.int32()))))


def most_rows(prepared: Prepared, most: int | None) -> int | None:
    """Of a limit on all training rows, what falls to the domains that are not left out.

    So the other domains have as many rows as they would have beside them.
    """
    if most is None or not isinstance(prepared, Without):
        return most
    train = prepared.manifest.splits["train"]
    gone = sum(train[name].rows for name in prepared.left_out if name in train)
    return max(1, round(most * (1 - gone / sum(count.rows for count in train.values()))))
