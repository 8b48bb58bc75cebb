"""``isthmus diagnose``: gathers what is known of runs, and has it judged by ``isthmus.diagnosis``."""

from collections.abc import Sequence
from pathlib import Path

from isthmus.data.prepared import Prepared
from isthmus.diagnose.groups import Group, grouped
from isthmus.diagnose.rows import data_evidence
from isthmus.diagnose.runs import run_evidence
from isthmus.diagnosis import Data, Diagnosis
from isthmus.diagnosis import diagnose as judge
from isthmus.progress import Reporter, quiet
from isthmus.store import Run

__all__ = ["diagnose", "find_prepared"]

ROOT = Path("prepared")


def diagnose(
    runs: Sequence[Run], root: Path | str = ROOT, *, reporter: Reporter = quiet
) -> tuple[Diagnosis, ...]:
    """One diagnosis for each configuration among the runs: those that differ in their seed alone are
    one, of which the first seed is looked at closely.

    Isolated runs and floors of the same data are what the others are compared with, and are
    diagnosed as well. ``root``: where the prepared data lies, or directories of prepared data; runs
    whose data is not there are judged without it.

    Raises:
        DataError: a run is not finished.
    """
    groups = grouped(runs)
    known: dict[str, tuple[Prepared, Data] | None] = {}
    found = []
    with reporter.task("diagnose", len(groups)) as advance:
        for group in groups:
            digest = group.first.data.digest
            if digest not in known:
                prepared = find_prepared(Path(root), digest)
                known[digest] = (prepared, data_evidence(prepared)) if prepared else None
            found.append(_judged(group, groups, known[digest], Path(root)))
            advance(1)
    return tuple(found)


def _judged(
    group: Group, groups: Sequence[Group], data: tuple[Prepared, Data] | None, root: Path
) -> Diagnosis:
    evidence = run_evidence(group, groups, data, root)
    return judge(evidence, group.first.name, seeds=tuple(r.name for r in group.runs[1:]))


def find_prepared(root: Path, digest: str) -> Prepared | None:
    """The prepared data with this digest: ``root`` itself, or a directory in it."""
    places = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    for place in places:
        if (place / "manifest.json").is_file():
            prepared = Prepared.open(place, verify=False)
            if prepared.digest == digest:
                return prepared
    return None
