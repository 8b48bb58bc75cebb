"""The command that looks for what is wrong with runs."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from isthmus.cli.app import app, open_run
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def diagnose(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs.")],
    root: Annotated[Path, typer.Option(help="Where prepared data lies.")] = Path("prepared"),
    only: Annotated[list[str] | None, typer.Option(help="One check, by its code.")] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Also what is not applicable, and why.")
    ] = False,
    fail_on: Annotated[
        Literal["note", "warning", "error", "never"],
        typer.Option(help="Exit with 1 if a finding is as grave as this."),
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """Look for leaks, unknown ids, bad calibration, dead experts and more; docs/diagnosis.md.

    Give runs of several seeds, isolated runs or floors beside a run, and they are compared.
    """
    from isthmus.diagnose import diagnose as look
    from isthmus.diagnosis import Severity
    from isthmus.report.findings import diagnosis_to_markdown, print_diagnosis

    if as_json and markdown:
        raise ConfigError("--json and --markdown: choose one")
    found = look(
        [open_run(path) for path in runs], root, only=only or (), reporter=ConsoleReporter()
    )
    if as_json:
        plain = [one.model_dump(mode="json") for one in found]
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    for one in () if as_json else found:
        if markdown:
            typer.echo(diagnosis_to_markdown(one, whole=whole))
        else:
            print_diagnosis(one, Console(), whole=whole)
    if fail_on != "never" and any(one.fails(Severity(fail_on)) for one in found):
        raise typer.Exit(1)
