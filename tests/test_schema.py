"""Names and sizes: what follows from them."""

import pytest

from isthmus.schema import Feature, Schema
from isthmus.testing import toy_schema


def test_columns_are_side_by_side_in_the_order_of_the_features():
    schema = toy_schema()
    found = {name: list(range(schema.num_columns))[own] for name, own in schema.columns.items()}
    assert found == {"user": [0], "item": [1], "hour": [2], "recent": [3, 4, 5]}


def test_a_table_has_one_size():
    one, other = Feature(name="a", size=3, table="t"), Feature(name="b", size=4, table="t")
    with pytest.raises(ValueError, match="'b' has size 4, but its table 't' has 3"):
        Schema(features=(one, other), domains=("x",))
