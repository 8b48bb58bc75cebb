"""The TOML of a preparation: what contradicts itself is refused with the key that does."""

from pathlib import Path

import pytest

from isthmus.data.config import PrepareConfig, read_config
from isthmus.errors import ConfigError

GOOD = """
name = "shop"
files = "raw/*.parquet"
max_rejected = 0.05

[columns]
user = "u"
item = "i"
domain = "d"
label = "y"
time = "t"

[split]
by = "time"

[[features]]
name = "item_id"
column = "i"

[[features]]
name = "history"
kind = "history"
of = "item_id"
window = 86400
"""


def read(tmp_path: Path, text: str) -> PrepareConfig:
    file = tmp_path / "shop.toml"
    file.write_text(text)
    return read_config(file)


def test_a_good_file(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert found.files == (str(tmp_path / "raw/*.parquet"),)
    assert found.features[1].length == 5
    assert found.table_of(found.features[1]) == "item_id"
    assert PrepareConfig.model_validate_json(found.model_dump_json()) == found


def test_a_history_of_any_label(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD.replace('of = "item_id"', 'of = "item_id"\npositives = "any"'))
    assert found.features[1].positives is None
    assert PrepareConfig.model_validate_json(found.model_dump_json()) == found


def test_split_values_may_be_numbers(tmp_path: Path) -> None:
    text = GOOD.replace('by = "time"', 'by = "column"\ncolumn = "tag"\nvalues = [0, 1, 2]')
    assert read(tmp_path, text).split.values == ("0", "1", "2")


BAD = {
    "unknown key": ('name = "shop"', 'name = "shop"\nnmae = 1', "unknown key 'nmae'"),
    "missing key": ('user = "u"', "", r"columns\.user: Field required"),
    "no TOML": ("[columns]", "[columns", "not valid TOML"),
    "fractions": ('by = "time"', "fractions = [0.5, 0.1, 0.1]", "must be non-negative, sum to 1"),
    "no split column": ('by = "time"', 'by = "column"', "give `column` with by"),
    "two values": (
        'by = "time"', 'by = "column"\ncolumn = "c"\nvalues = [1, 1, 2]', "three different"
    ),
    "no time": ('time = "t"', "", "split by time needs columns.time"),
    "twice": ('name = "history"', 'name = "item_id"', "feature named more than once: 'item_id'"),
    "reserved": ('name = "item_id"', 'name = "user"', "'user'.*name the feature otherwise"),
    "unknown of": ('of = "item_id"', 'of = "price"', "of = 'price' is no id feature here"),
    "bins of an id": ('column = "i"', "bins = 3", "bins and edges belong to a number"),
    "of and column": ('of = "item_id"', 'of = "item_id"\ncolumn = "l"', "not both"),
    "window of a ready list": ('of = "item_id"', "", "a ready-made history has no window"),
    "table of a collected": ('of = "item_id"', 'of = "item_id"\ntable = "x"', "do not give one"),
    "unknown table": ('column = "i"', 'column = "i"\ntable = "x"', "table = 'x' must be an id"),
    "edges": ('column = "i"', 'kind = "number"\nedges = [2, 1]', "edges must rise"),
    "unknown engine": ("[columns]", 'engine = "polars"\n[columns]', "engine: Input should be"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, case: str) -> None:
    old, new, message = BAD[case]
    assert old in GOOD
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert "shop.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        read_config(tmp_path / "no.toml")
