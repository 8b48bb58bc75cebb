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


def test_items_of_a_domain_follow_each_other():
    schema = Schema(features=(), domains=("a", "b", "c"), items=8, domain_items=(4, 0, 3))
    assert [range(8)[schema.items_of(d)] for d in (1, 2, 3)] == [range(1, 5), range(5, 5), range(5, 8)]  # fmt: skip
    with pytest.raises(ValueError, match="domain_items has 3 entries for 6 items"):
        Schema(features=(), domains=("a", "b", "c"), items=8, domain_items=(4, 0, 2))


def test_a_schema_without_items_is_written_as_before_there_were_any():
    schema = Schema(features=(), domains=("a",))
    assert "domain_items" not in schema.model_dump_json()
    with_items = Schema(features=(), domains=("a",), items=3, domain_items=(2,))
    assert Schema.model_validate_json(with_items.model_dump_json()) == with_items
