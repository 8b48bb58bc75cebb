"""Retrievers as graphs from histories to queries."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from isthmus.batch import Histories
from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError
from isthmus.experiment import run
from isthmus.export import Exported, ExportError, Wanted, export, queries
from isthmus.next_item import load_retriever
from isthmus.nn.sequence import Tokens
from isthmus.store import Store
from isthmus.testing import toy_histories, toy_schema
from tests.data.events import config, events, written
from tests.test_cli import called

SMALL = {"embedding_dim": 8, "layers": 1}


@pytest.fixture(scope="session")
def sequences(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    return Prepared.open(
        prepare(config(written(events(), folder / "e.parquet")), folder / "p").path
    )


def retriever(sequences, folder, name="sasrec", **settings):
    asked = {"model": name, "settings": settings, "train": {"max_epochs": 1, "batch_size": 64}}
    return run(checked({"data": str(sequences.path), **asked}, "test"), Store(folder))


def asked(batch, number=None):
    return {name: getattr(batch, name)[:number].numpy() for name in ("items", "domains", "domain")}


def test_queries_and_items_score_as_the_run_does(sequences, tmp_path):
    kept = retriever(sequences, tmp_path / "runs", **SMALL)
    out = tmp_path / "out"
    done = called("export", kept.path, "--out", out, "--data", sequences.path)
    assert done.returncode == 0, done.stderr
    found = Exported.open(out).manifest
    assert (found.graph_kind, found.output) == ("queries", "query")
    assert set(found.files) == {"queries.onnx", "queries.onnx.data", "items.npy"}
    assert [(i.name, i.shape) for i in found.inputs] == [
        ("items", ("rows", 7)),
        ("domains", ("rows", 7)),
        ("domain", ("rows",)),
    ]
    model, batch = load_retriever(kept), sequences.histories("test")
    batch.items[0], batch.domains[0] = 0, 0  # a history of nothing
    graph, items = onnxruntime.InferenceSession(out / "queries.onnx"), np.load(out / "items.npy")
    with torch.no_grad():
        wanted = model.scores(batch).numpy()
    for number in (1, len(wanted)):
        scores = graph.run(None, asked(batch, number))[0] @ items.T
        np.testing.assert_allclose(scores, wanted[:number], rtol=0, atol=1e-5)
    assert (batch.items[:, 0] == 0).any()
    assert (batch.items[:, 0] > 0).any()


def test_what_is_for_rankers_is_refused(sequences, tmp_path):
    kept = retriever(sequences, tmp_path / "runs", **SMALL)
    for wanted in (Wanted(domains=(sequences.schema.domains[0],)), Wanted(tables="int8")):
        with pytest.raises(ConfigError, match="a retriever's"):
            export(kept, tmp_path / "out", sequences, wanted)


def test_retrievers_that_count_have_no_graph(sequences, tmp_path):
    kept = retriever(sequences, tmp_path / "runs", "popularity")
    with pytest.raises(ConfigError):
        export(kept, tmp_path / "out", sequences)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_queries_that_differ_are_not_exported(sequences, tmp_path, monkeypatch):
    kept = retriever(sequences, tmp_path / "runs", **SMALL)
    monkeypatch.setattr(queries, "TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="histories"):
        export(kept, tmp_path / "out", sequences)


@pytest.mark.parametrize("longest", [3, 8])
def test_unpacked_tokens_read_what_packed_ones_do(longest):
    """Token by token, in the order of users: what is read before it, of all domains and of its own."""
    batch = toy_histories(toy_schema(), 30)
    batch.items[0], batch.domains[0] = 0, 0

    class Read(nn.Module):
        def forward(self, items, domains, target, domain):
            tokens = Tokens.of(Histories(items, domains, target, domain), longest)
            read = [tokens.target, tokens.domain, tokens.user]
            for inputs in (tokens.cross, tokens.own):
                read += [inputs.item, inputs.domain, inputs.position]
            return torch.stack(read), tokens.last

    columns = (batch.items, batch.domains, batch.target, batch.domain)
    packed_XN, _ = Read()(*columns)
    unpacked_XP, last_B = torch.export.export(Read(), columns).module()(*columns)
    real_XN = unpacked_XP[:, unpacked_XP[2] >= 0]
    assert torch.equal(real_XN, packed_XN)
    assert torch.equal(unpacked_XP[2, last_B], torch.arange(30))
    assert torch.equal(unpacked_XP[0, last_B], batch.target)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["syncrec", "hstu", "bert4rec", "cgrec", "cl4srec", "gsasrec"])
def test_other_retrievers(name, sequences, tmp_path):
    """The manifest is written where scores of all items are the model's."""
    kept = retriever(sequences, tmp_path / "runs", name, **SMALL)
    assert export(kept, tmp_path / "out", sequences).manifest.graph_kind == "queries"
