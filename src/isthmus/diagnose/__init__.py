"""``isthmus diagnose``: gathers what is known of runs, and has it judged by ``isthmus.diagnosis``."""

from collections.abc import Collection, Sequence
from pathlib import Path

from isthmus.data.prepared import Prepared
from isthmus.diagnose.groups import grouped
from isthmus.diagnose.rows import data_evidence
from isthmus.diagnose.runs import run_evidence
from isthmus.diagnosis import Data, Diagnosis
from isthmus.diagnosis import diagnose as judge
from isthmus.evaluation import SharingTable
from isthmus.progress import Reporter, quiet
from isthmus.store import Run

__all__ = ["diagnose", "find_prepared"]

ROOT = Path("prepared")


def diagnose(
    runs: Sequence[Run],
    root: Path | str = ROOT,
    *,
    beside: Sequence[Run] = (),
    verdicts: SharingTable | None = None,
    only: Collection[str] = (),
    reporter: Reporter = quiet,
) -> tuple[Diagnosis, ...]:
    """One diagnosis for each configuration among the runs: those that differ in their seed alone are
    one, of which the first seed is looked at closely.

    Isolated runs and floors of the same data are what the others are compared with, and are
    diagnosed as well; those given as ``beside`` are not. ``verdicts``: the sharing table of the first
    configuration, where it is made already. ``only``: the checks of these codes alone. ``root``:
    prepared data, or a directory of such; runs whose data is not there are judged without it.

    Raises:
        DataError: a run is not finished.
        ConfigError: no check has such a code.
    """
    groups = grouped([*runs, *beside])
    wanted = groups[: len(grouped(runs))]
    known: dict[tuple[str, tuple[str, ...]], tuple[Prepared, Data] | None] = {}
    found = []
    with reporter.task("diagnose", len(wanted)) as advance:
        for group in wanted:
            schema, digest = group.first.schema, group.first.data.digest
            which = digest, schema.domains
            if which not in known:
                prepared = find_prepared(Path(root), digest)
                under = prepared.under(schema) if prepared else None
                known[which] = (under, data_evidence(under)) if under else None
            made = verdicts if group is wanted[0] else None
            evidence = run_evidence(group, groups, known[which], Path(root), verdicts=made)
            seeds = tuple(run.name for run in group.runs[1:])
            found.append(judge(evidence, group.first.name, seeds=seeds, only=only))
            advance(1)
    return tuple(found)


def find_prepared(root: Path, digest: str) -> Prepared | None:
    """The prepared data with this digest: ``root`` itself, or a directory in it."""
    places = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    for place in places:
        if (place / "manifest.json").is_file():
            prepared = Prepared.open(place, verify=False)
            if prepared.digest == digest:
                return prepared
    return None
