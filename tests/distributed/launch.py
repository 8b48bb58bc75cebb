"""Several processes of one test, started as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENT = 900  # seconds, on a machine that does much else


def torchrun(
    processes: int, *command: object, restarts: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Let so many processes run a script, or a module (``-m``, its name), with these arguments."""
    agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return python(*agent, f"--max-restarts={restarts}", *command, **environment)


def python(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """One process; with its text, and its code, whatever that is."""
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent.parent), "NO_COLOR": "1"}
    here["PYTHONFAULTHANDLER"] = "1"  # where a process was when a signal ended it
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **here, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENT,
        check=False,
    )


def trained(processes: int, folder: Path, tasks: dict[str, Any], *, restarts: int = 0) -> int:
    """Let so many processes train these runs, kept in ``folder``; the code that they end with."""
    folder.mkdir(exist_ok=True)
    file = folder.parent / f"{folder.name}.json"
    file.write_text(json.dumps(tasks))
    done = torchrun(processes, HERE / "worker.py", file, folder, restarts=restarts)
    print(done.stderr)  # for whoever reads of a failure
    return done.returncode
