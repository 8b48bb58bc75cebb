"""The sharing report that lies beside a served run, where there is one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from isthmus.report.data import ReportData
from isthmus.store import Run

_NAME = "report.json"


@dataclass(frozen=True, slots=True)
class Beside:
    """Verdicts of a sharing report by domain, and its page."""

    verdicts: dict[str, str] = field(default_factory=dict)
    page: Path | None = None


def report_beside(runs: Iterable[Path]) -> Beside:
    """What the sharing report of one of the runs says.

    It is looked for where ``isthmus share`` and ``isthmus demo`` write it: in the run's directory, its
    store, and the directory around that; it must name the run.
    """
    for path in runs:
        name = Run.open(path, check=False).name
        for data, file in _reports(path.resolve()):
            named = data.created_from.provenance.get("runs", "").split(", ")
            if data.sharing is not None and name in named:
                verdicts = {row.domain: row.verdict.value for row in data.sharing.rows}
                page = file.with_suffix(".html")
                return Beside(verdicts, page if page.is_file() else None)
    return Beside()


def _reports(run: Path) -> Iterator[tuple[ReportData, Path]]:
    for folder in (run, *run.parents[:2]):
        file = folder / _NAME
        try:
            yield ReportData.model_validate_json(file.read_bytes()), file
        except (OSError, ValidationError):  # none, or one of another version
            continue
