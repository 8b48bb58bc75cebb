"""The graphs of AREAD's domains against AREAD itself, with every part on and off, and what they hold."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from isthmus.export.runtime import by_name
from isthmus.inference import probabilities
from isthmus.schema import Feature, Schema
from tests.export.planted import SCHEMA, model, rows, session, written
from tests.models import aread_parts as parts

PARTS = {
    **parts.PARTS,
    "one bottom expert": {"bottom_experts": 1},
    "before the first search": {"searched": False},
}


@pytest.mark.parametrize("changes", PARTS.values(), ids=PARTS)
def test_the_same_probabilities_in_every_domain(changes, tmp_path):
    made = model(**changes)
    written(made, tmp_path)
    for domain in range(4):
        graph = session(tmp_path, domain)
        for number in (1, 3, 1000):
            batch = rows(number, domain)
            wanted = probabilities(made, batch)
            np.testing.assert_allclose(graph(batch), wanted, rtol=0, atol=1e-6)
        assert np.ptp(wanted) > 0.05


@pytest.mark.parametrize("roles", [("item", "item"), ("user", "context")], ids=" and ".join)
def test_features_of_one_side_alone(roles, tmp_path):
    features = tuple(Feature(name=f"f{n}", size=9, role=role) for n, role in enumerate(roles))
    schema = Schema(features=features, domains=("a", "b", "c"))
    made = model(schema)
    written(made, tmp_path, domains=[1])
    batch = rows(50, 1, schema)
    found = session(tmp_path, 1, schema)(batch)
    np.testing.assert_allclose(found, probabilities(made, batch), rtol=0, atol=1e-6)


def test_one_user_for_many_items(tmp_path):
    """Features of users and contexts may be one row."""
    made = model()
    written(made, tmp_path, domains=[1])
    batch = rows(40, 1)
    for feature in SCHEMA.features:
        if feature.role != "item":
            place = SCHEMA.columns[feature.name]
            batch.features[:, place] = batch.features[5, place]
    feeds = by_name(SCHEMA, batch.features.numpy())
    feeds = {
        f.name: feeds[f.name] if f.role == "item" else feeds[f.name][:1] for f in SCHEMA.features
    }
    found = onnxruntime.InferenceSession(str(tmp_path / "1.onnx")).run(None, feeds)[0]
    assert found.shape == (40,)
    np.testing.assert_allclose(found, probabilities(made, batch), rtol=0, atol=1e-6)


def test_no_rows_no_scores(tmp_path):
    """In a process of its own: a runtime that divides by the number of rows takes its process along."""
    written(model(), tmp_path, domains=[0])
    code = (
        "import numpy as np, onnxruntime\n"
        f"graph = onnxruntime.InferenceSession({str(tmp_path / '0.onnx')!r})\n"
        "none = {i.name: np.zeros([0, *i.shape[1:]], np.int64) for i in graph.get_inputs()}\n"
        "assert graph.run(None, none)[0].shape == (0,)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_opsets(opset, tmp_path):
    made = model()
    graph = written(made, tmp_path, domains=[1], opset=opset)[1]
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", opset)]
    onnx.checker.check_model(str(tmp_path / "1.onnx"), full_check=True)
    batch = rows(20, 1)
    wanted = probabilities(made, batch)
    np.testing.assert_allclose(session(tmp_path, 1)(batch), wanted, rtol=0, atol=1e-6)


def test_ids_that_no_vocabulary_has_are_refused(tmp_path):
    """And not read from the table that lies next to theirs."""
    written(model(), tmp_path, domains=[1])
    batch = rows(4, 1)
    batch.features[2, SCHEMA.columns["hour"]] = 5
    with pytest.raises(Exception, match="indices element out of data bounds"):
        session(tmp_path, 1)(batch)


def own(graph):
    """The weights that lie in the graph's own file, largest first: their shapes."""
    arrays = [numpy_helper.to_array(w) for w in graph.graph.initializer if not outside(w)]
    return sorted((a.shape for a in arrays if a.dtype == np.float32 and a.size > 1), reverse=True)


def outside(weight):
    return weight.data_location == TensorProto.EXTERNAL


def test_what_a_mask_leaves_out_is_not_in_the_file(tmp_path):
    """Worked by hand, for a domain of one chain of experts and for the unknown one with all.

    Embeddings are 4 numbers; items bring 4 features (16 numbers), the others 3 (12). Experts (3, 4,
    5), by default of layers (64, 32), (32, 16), (16, 8); the bottom's outputs are 6 numbers.
    """
    graphs = written(model(wide=False, domain_head=False, cross_layers=0), tmp_path)
    chain = [
        (1, 64, 32),  # the one expert of the first level: 6 -> 64 -> 32
        (1, 6, 64),
        (1, 1, 64),
        (1, 1, 32),
        (1, 32, 32),  # of the second: 32 -> 32 -> 16
        (1, 32, 16),
        (1, 1, 32),
        (1, 1, 16),
        (1, 16, 16),  # of the third: 16 -> 16 -> 8, and its head
        (1, 16, 8),
        (1, 1, 16),
        (1, 1, 8),
        (1, 8, 1),
        (16, 3),  # the bottom's gate for the one input that is read: from items, from the others
        (12, 3),
        (3,),
        (24,),  # the biases of the bottom's 3 experts: first layers of 8, second of 6
        (6,),
        (6,),
        (6,),
    ]
    assert own(graphs[2]) == sorted(chain, reverse=True)
    assert [node.op_type for node in graphs[2].graph.node].count("Gather") == 7  # of ids alone
    # all experts lie where all domains read them: gates and biases are what is left
    assert sum(np.prod(shape) for shape in own(graphs[0])) == 3 * 4 + 4 * 5 + 9 + 24 + 3 * 6


def test_tables_and_bottom_lie_on_disk_once(tmp_path):
    """All graphs name places of the same two files: of all experts, or of none of a level."""
    graphs = written(model(), tmp_path)
    places = []
    for graph in graphs.values():
        weights = filter(outside, graph.graph.initializer)
        places.append({(w.name, *(e.value for e in w.external_data)) for w in weights})
    assert all(own <= places[0] for own in places)
    for own in places:
        assert {p for p in places[0] if p[0].startswith(("table:", "bottom:"))} <= own
    assert {place[1] for place in places[0]} == {"tables.bin", "shared.bin"}
    numbers = 4 * sum(SCHEMA.tables.values())
    length = sum(int(p[3]) for p in places[0] if p[1] == "tables.bin")
    assert length == 4 * numbers
    assert {file.name for file in tmp_path.iterdir()} == {
        "tables.bin",
        "shared.bin",
        *(f"{domain}.onnx" for domain in range(4)),
    }


def test_a_runtime_is_all_it_takes(tmp_path):
    """Neither torch nor Isthmus is there."""
    made = model()
    written(made, tmp_path, tables="int8", domains=[1])
    batch = rows(30, 1)
    np.savez(tmp_path / "rows.npz", **by_name(SCHEMA, batch.features.numpy()))
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'isthmus', 'onnx', 'onnxscript'))\n"
        "import numpy as np, onnxruntime\n"
        "graph = onnxruntime.InferenceSession('1.onnx')\n"
        "np.save('found.npy', graph.run(['probability'], dict(np.load('rows.npz')))[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npy")
    assert np.abs(found - probabilities(made, batch)).max() < 0.1  # the tables are of 8 bits
    np.testing.assert_array_equal(found, session(tmp_path, 1)(batch))


def test_a_graph_says_what_it_is(tmp_path):
    written(model(), tmp_path, domains=[3])
    graph = onnxruntime.InferenceSession(str(tmp_path / "3.onnx"))
    assert graph.get_modelmeta().custom_metadata_map == {"domain": "3"}
    assert [i.name for i in graph.get_inputs()] == [f.name for f in SCHEMA.features]
