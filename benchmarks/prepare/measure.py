"""What a command and all its children take: seconds, CPU seconds, memory, and disk in a folder.

Read from /proc a few times a second, for a child that its parent never waits for (a JVM) is in no
other count. Peaks of memory are the kernel's own marks: exact for one process, and for several the
sum of their marks, which is never too low.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.25


@dataclass
class Used:
    """What was taken: seconds, and bytes at the peaks."""

    seconds: float = 0.0
    peak_disk: int = 0
    code: int = 0
    cpu: dict[int, float] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        return sum(self.cpu.values())

    @property
    def peak_memory(self) -> int:
        return sum(self.memory.values())

    def look(self, session: int, folder: Path) -> None:
        """Note how things stand now."""
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                self._look_at(process, session)
        self.peak_disk = max(self.peak_disk, disk(folder))

    def _look_at(self, process: Path, session: int) -> None:
        try:
            # after the name, which may hold anything: state, parent, group, session, ...
            stat = (process / "stat").read_text().rpartition(") ")[2].split()
            if int(stat[3]) != session:
                return
            marks = (process / "status").read_text().partition("VmHWM:")[2].split()
        except (OSError, UnicodeDecodeError):
            return  # it has ended
        number = int(process.name)
        self.cpu[number] = (int(stat[11]) + int(stat[12])) / _TICKS
        if marks:
            self.memory[number] = max(self.memory.get(number, 0), int(marks[0]) * 1024)


def disk(folder: Path) -> int:
    """Bytes that a folder holds on the disk."""
    total = 0
    for place, _, names in os.walk(folder):  # it passes over folders that are removed meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH116, PTH118
    return total


def measured(command: list[str], folder: Path) -> Used:
    """Run it in a session of its own; ``folder`` is where it writes."""
    used, start = Used(), time.perf_counter()
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            used.look(process.pid, folder)
            time.sleep(_EVERY)
    used.seconds, used.code = time.perf_counter() - start, process.returncode
    if used.code:
        print(f"{' '.join(command)}: exit {used.code}", file=sys.stderr)
    return used
