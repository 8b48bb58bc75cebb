"""The command line: one short function a command. It names no model, and grows with none."""

import os
import sys

from rich.console import Console

# Before torch is loaded: threads that wait by spinning make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# isort: off
# in the order of the help
from isthmus.cli import data, runs, transfer, gate, guard, diagnosis, serving, benchmarks, events
from isthmus.cli import serve, export, domains, catalogue

# isort: on
from isthmus.cli.app import app
from isthmus.errors import IsthmusError

__all__ = [
    "app",
    "benchmarks",
    "catalogue",
    "data",
    "diagnosis",
    "domains",
    "events",
    "export",
    "gate",
    "guard",
    "main",
    "runs",
    "serve",
    "serving",
    "transfer",
]
_STOPPED = 130


def main() -> None:
    """Run a command; what a user can mend is one line on standard error and exit code 2."""
    try:
        app()
    except IsthmusError as error:
        rank = os.environ.get("RANK", "0")  # of several processes that torchrun started
        who = "isthmus" if rank == "0" else f"isthmus, process {rank}"
        Console(stderr=True, soft_wrap=True).print(f"{who}: {error}", style="red", markup=False)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _STOPPED:  # Ctrl-C, of which typer makes this code and no word
            Console(stderr=True).print("isthmus: stopped; the same command goes on where it was")
        raise
