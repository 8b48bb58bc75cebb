"""The sections of the page, in their order: each is a template of its own, and the contents list it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from isthmus.report.data import ReportData


@dataclass(frozen=True, slots=True)
class Section:
    """``key`` is its anchor, and names its template; ``title`` is how the contents call it.

    ``shown`` says whether the page of these figures has it: a section that is always there says
    itself what is absent.
    """

    key: str
    title: str
    shown: Callable[[ReportData], bool] = lambda _: True

    @property
    def template(self) -> str:
        """The file in ``page/`` that draws it."""
        return f"section_{self.key.replace('-', '_')}.html.j2"


SECTIONS: Final = (
    Section("gains", "Gains"),
    Section("domains", "Domains"),
    Section("guard", "Guard", shown=lambda data: data.guard is not None),
    Section("models", "Models"),
    Section("calibration", "Calibration"),
    Section("training", "Training"),
    Section("masks", "Masks"),
    Section("transfer", "Transfer", lambda data: data.transfer is not None),
    Section("cost", "Cost"),
    Section("findings", "Findings", lambda data: bool(data.findings)),
    Section("made-from", "Made from"),
)


def sections(data: ReportData) -> list[Section]:
    """Those that a report of these figures has."""
    return [section for section in SECTIONS if section.shown(data)]
