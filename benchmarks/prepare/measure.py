"""What a command and all its children take: seconds, CPU seconds, memory, and disk in a folder.

Read from /proc a few times a second, for a child that its parent never waits for (a JVM) is in no
other count. The peak of memory is the kernel's own mark where one process held the most, and
otherwise what all held together when they were looked at.
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
    peak_memory: int = 0
    code: int = 0
    cpu: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        return sum(self.cpu.values())

    def look(self, session: int, folder: Path) -> None:
        """Note how things stand now."""
        numbers = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
        memory = [self._look_at(Path("/proc") / number, session) for number in numbers]
        together, alone = sum(now for now, _ in memory), max(mark for _, mark in memory)
        self.peak_memory = max(self.peak_memory, together, alone)
        self.peak_disk = max(self.peak_disk, disk(folder))

    def _look_at(self, process: Path, session: int) -> tuple[int, int]:
        """The bytes that a process of the session holds, and the most that it has held."""
        try:
            # after the name, which may hold anything: state, parent, group, session, ...
            stat = (process / "stat").read_text().rpartition(") ")[2].split()
            if int(stat[3]) != session:
                return 0, 0
            status = (process / "status").read_text()
        except (OSError, UnicodeDecodeError):
            return 0, 0  # it has ended
        self.cpu[int(process.name)] = (int(stat[11]) + int(stat[12])) / _TICKS
        return _kilobytes(status, "VmRSS:"), _kilobytes(status, "VmHWM:")


def _kilobytes(status: str, name: str) -> int:
    found = status.partition(name)[2].split()
    return int(found[0]) * 1024 if found else 0


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
