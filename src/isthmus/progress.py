"""Progress bars: whoever works reports steps to a ``Reporter``; who watches decides how it looks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Shows work in progress."""

    def task(self, label: str, total: float | None) -> AbstractContextManager[Advance]:
        """A context in which the yielded function says how many more of ``total`` are done."""
        ...

    def note(self, text: str) -> None:
        """Say one line beside the bars."""
        ...


class _Quiet:
    @contextmanager
    def task(self, label: str, total: float | None) -> Iterator[Advance]:
        yield lambda _: None

    def note(self, text: str) -> None:
        pass


quiet: Reporter = _Quiet()
"""A reporter that shows nothing."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(
            f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="progress.data.speed"
        )


class ConsoleReporter:
    """Bars on standard error, with rate and remaining time; plain lines where it is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._open = 0

    @contextmanager
    def task(self, label: str, total: float | None) -> Iterator[Advance]:
        if not self._open:
            self._progress.start()
        self._open += 1
        number = self._progress.add_task(label, total=total)
        try:
            yield lambda steps: self._progress.advance(number, steps)
        finally:
            self._open -= 1
            if self.console.is_terminal:
                self._progress.remove_task(number)
            if not self._open:
                self._progress.stop()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)
