"""Tables of 16 and 8 bits, number by number."""

import numpy as np
import onnxruntime
import pytest

from isthmus.errors import ConfigError
from isthmus.export.runtime import by_name
from isthmus.export.stored import with_stored_tables
from isthmus.export.tables import stored
from isthmus.inference import probabilities
from tests.export.planted import SCHEMA, model, rows, session, written


def table(number=40, width=6, seed=0):
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(number, width)) * 10.0 ** draw.integers(-6, 4, (number, 1))
    found[3] = 0
    return found.astype(np.float32)


def test_int8_against_loops():
    """A row's largest number is 127 of its steps; every other one the nearest number of steps."""
    rows_RK = table()
    found = stored(rows_RK, "int8")
    assert found.values.dtype == np.int8
    assert found.scale.dtype == np.float32
    for row, levels, scale in zip(rows_RK, found.values, found.scale[:, 0], strict=True):
        step = np.float32(max(abs(float(x)) for x in row)) / np.float32(127)
        assert scale == step
        for number, level in zip(row, levels, strict=True):
            nearest = round(float(number) / float(step)) if step else 0
            assert abs(int(level) - nearest) <= (
                0 if abs(number / (step or 1) % 1 - 0.5) > 1e-3 else 1
            )
            assert abs(level * step - number) <= step * 0.5001
    assert np.abs(found.values).max(1)[np.arange(40) != 3].min() == 127
    np.testing.assert_array_equal(found.restored()[3], 0)
    assert found.nbytes == 40 * 6 + 40 * 4


def test_a_row_and_its_negative_are_stored_alike():
    rows_RK = table()
    np.testing.assert_array_equal(stored(-rows_RK, "int8").values, -stored(rows_RK, "int8").values)


def test_float16_is_the_nearest_half():
    rows_RK = table()
    found = stored(rows_RK, "float16")
    assert found.nbytes == 40 * 6 * 2
    np.testing.assert_array_equal(found.restored(), rows_RK.astype(np.float16).astype(np.float32))


def test_float16_ends_somewhere():
    with pytest.raises(ConfigError, match="beyond float16"):
        stored(np.float32([[1, 70_000]]), "float16")


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_graphs_restore_what_is_stored(precision, tmp_path):
    """A graph scores as the model does whose tables are restored by NumPy."""
    made = model()
    weight = made.embed.features.table.weight
    written(made, tmp_path, tables=precision)
    restored = stored(weight.detach().numpy().copy(), precision).restored()
    for domain in range(4):
        batch = rows(200, domain)
        trained = probabilities(made, batch)
        found = session(tmp_path, domain)(batch)
        before = weight.detach().clone()
        weight.data[:] = weight.new_tensor(restored)
        np.testing.assert_allclose(found, probabilities(made, batch), rtol=0, atol=1e-6)
        weight.data[:] = before
        assert np.abs(found - trained).max() > 1e-6


def test_the_model_itself_stays_as_it_is():
    made = model()
    before = made.embed.features.table.weight.detach().clone()
    with_stored_tables(made, "int8")
    assert bool((made.embed.features.table.weight == before).all())


@pytest.mark.parametrize(("precision", "each"), [("float32", 16), ("float16", 8), ("int8", 8)])
def test_bytes_on_disk(precision, each, tmp_path):
    """Four numbers a row; of int8 a byte each and four for the row's step."""
    graphs = written(model(), tmp_path, tables=precision, domains=[0])
    named = [w for w in graphs[0].graph.initializer if w.name.startswith(("table:", "scale:"))]
    lengths = [int(e.value) for w in named for e in w.external_data if e.key == "length"]
    assert sum(lengths) == each * sum(SCHEMA.tables.values())
    assert onnxruntime.InferenceSession(str(tmp_path / "0.onnx")).run(
        None, by_name(SCHEMA, rows(2, 0).features.numpy())
    )[0].shape == (2,)
