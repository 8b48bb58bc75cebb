"""The release gate, for a pipeline."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from isthmus.cli.app import app, open_run

Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the result here.")]


@app.command()
def gate(
    candidate: Annotated[list[Path], typer.Argument(help="Directories of runs, one a seed.")],
    against: Annotated[list[Path], typer.Option(help="The incumbent's run; once a seed.")],
    margin: Annotated[
        float | None,
        typer.Option(help="Loss that is too much; 0.02 of AUC and 0.01 of rankings if not given."),
    ] = None,
    margins: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML of margins a domain, and exclusions.")
    ] = None,
    small: Annotated[
        int | None, typer.Option(help="Judge domains with fewer rows than this together.")
    ] = None,
    cannot_tell: Annotated[
        Literal["fail", "pass"] | None,
        typer.Option(
            help="Whether a domain with too little data stops the release: fail if not given."
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Rate of errors: 0.05 if not given.")] = None,
    split: Annotated[str, typer.Option(help="valid or test")] = "test",
    metric: Annotated[
        str | None, typer.Option(help="Of retrievers: ndcg@10 (the default), hr@5, mrr, ...")
    ] = None,
    among: Annotated[
        Literal["domain", "all", "sampled"],
        typer.Option(help="Of retrievers: the candidates that items are ranked among."),
    ] = "domain",
    junit: Out = None,
    markdown: Out = None,
    json: Out = None,
) -> None:
    """Exit with 0 if the candidate is not worse in any domain, 1 if it is, 2 if that cannot be told."""
    from isthmus.release import gate as judge
    from isthmus.release import read_rules
    from isthmus.report.gate_table import print_gate

    given = {"margin": margin, "small": small, "cannot_tell": cannot_tell, "alpha": alpha}
    rules = read_rules(margins, given)
    ours, theirs = ([open_run(path) for path in paths] for paths in (candidate, against))
    found = judge(ours, theirs, rules, split=split, metric=metric, among=among)
    name = f"{ours[0].name} against {theirs[0].name}"
    _write(found, name, junit=junit, markdown=markdown, json=json)
    print_gate(found, Console())
    raise typer.Exit(found.exit_code)


def _write(
    found: Any, name: str, *, junit: Path | None, markdown: Path | None, json: Path | None
) -> None:
    from isthmus.files import write_atomically
    from isthmus.report.gate_files import gate_to_json, gate_to_junit, gate_to_markdown

    for path, text in (
        (junit, lambda: gate_to_junit(found, name=name)),
        (markdown, lambda: gate_to_markdown(found, name=name)),
        (json, lambda: gate_to_json(found)),
    ):
        if path is not None:
            write_atomically(path, text().encode())
