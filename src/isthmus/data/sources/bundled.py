"""The real data that ships with the package: ``ci_small_cj_ctr``, 207,667 rows of 32 domains."""

from importlib.resources import as_file, files
from pathlib import Path

from isthmus.data.config import PrepareConfig
from isthmus.data.sources.base import source
from isthmus.data.sources.complete_journey import complete_journey

_FOLDER = "ci_small_cj_ctr"


@source
def bundled(out: Path) -> PrepareConfig:
    """A cut of ``complete_journey`` (400 households), for the demo, tests and continuous integration.

    Its provenance, licence and the conflict about both lie beside the file in the package, in
    ``data/bundled/ci_small_cj_ctr/PROVENANCE.md``.
    """
    with as_file(files("isthmus.data") / "bundled" / _FOLDER / "interactions.parquet") as table:
        return complete_journey(out, table=table, name=_FOLDER)


def provenance() -> str:
    """The provenance note of the bundled data."""
    note = files("isthmus.data") / "bundled" / _FOLDER / "PROVENANCE.md"
    return note.read_text(encoding="utf-8")
