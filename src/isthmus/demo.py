"""The demo: the bundled real data, AREAD, and what sharing gained or lost for each domain."""

from collections.abc import Iterable
from pathlib import Path

from isthmus import config
from isthmus.data import sources
from isthmus.data.prepare import prepare
from isthmus.progress import Reporter, quiet
from isthmus.report.data import ReportData
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


def demo(out: Path, *, overrides: Iterable[str] = (), reporter: Reporter = quiet) -> ReportData:
    """Prepare, train and compare under ``out``; what is there already is not done again."""
    prepared = out / "prepared"
    if not (prepared / "manifest.json").exists():
        prepare(sources.get("bundled")(out / "raw"), prepared, reporter=reporter)
    run = out / "run.toml"
    if not run.exists():
        run.write_text(RUN, encoding="utf-8")
    return share(config.read(run, overrides), Store(out / "runs"), reporter=reporter)
