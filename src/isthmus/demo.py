"""The demo: the bundled real data, AREAD, and what sharing gained or lost for each domain.

Beside it a retriever of the same purchases, so that both can be served together.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from isthmus import config
from isthmus.data import sources
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.experiment import run
from isthmus.progress import Reporter, quiet
from isthmus.report.data import ReportData
from isthmus.service import pack
from isthmus.sharing import share
from isthmus.store import Store

RUN = """\
# The demo's run. Change it and try again: isthmus share demo/run.toml
data = "prepared"
model = "aread"
seed = 0

[train]
lr = 1e-3
batch_size = 1024
max_epochs = 5

[settings.search]
every = 200
batch_size = 256
"""
RETRIEVER = """\
# What the demo's server retrieves with. Change it and try again: isthmus train demo/retriever.toml
data = "bought"
model = "syncrec"
seed = 0

[train]
lr = 3e-3
batch_size = 64
max_epochs = 4

[settings]
embedding_dim = 32
layers = 1
"""


def demo(out: Path, *, overrides: Iterable[str] = (), reporter: Reporter = quiet) -> ReportData:
    """Prepare, train and compare under ``out``; what is there already is not done again.

    ``out/retriever`` and ``out/ranker`` are links to the runs to serve; ``overrides`` are the
    ranker's.
    """
    store = Store(out / "runs")
    prepared = _prepared("bundled", out / "prepared", reporter)
    ranker = config.read(_written(out / "run.toml", RUN), overrides)
    data = share(ranker, store, reporter=reporter)
    bought = _prepared("bundled_bought", out / "bought", reporter)
    retriever = config.read(_written(out / "retriever.toml", RETRIEVER))
    for name, what, of in (("ranker", ranker, prepared), ("retriever", retriever, bought)):
        kept = run(what, store, reporter=reporter)
        pack(kept, of)
        _link(out / name, kept.path)
    return data


def _prepared(source: str, path: Path, reporter: Reporter) -> Prepared:
    if (path / "manifest.json").exists():
        return Prepared.open(path)
    return prepare(sources.get(source)(path.with_name(f"{path.name}-raw")), path, reporter=reporter)


def _written(path: Path, text: str) -> Path:
    """A file that the reader may have changed since."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    return path


def _link(link: Path, target: Path) -> None:
    """A relative link; an older one of that name is replaced."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(os.path.relpath(target, link.parent))
    new.replace(link)
