"""What a diagnosis says: findings with a code, and the checks that could not be made."""

from enum import StrEnum

from isthmus.schema import Frozen


class Severity(StrEnum):
    """How much a finding matters; the order is that of ``RANK``."""

    error = "error"
    """The figures of this run cannot be relied upon until it is mended."""
    warning = "warning"
    """Some domain is probably served worse than it could be: look at it before a release."""
    note = "note"
    """Worth knowing when the figures are read; nothing need be done."""


RANK = tuple(Severity)
"""Severities, the gravest first."""


class Finding(Frozen):
    """What one check found in one run.

    ``domains`` are those concerned (none: all, or the run as a whole), ``message`` has the figures,
    ``remedy`` says what to do, and ``page`` where the check is explained.
    """

    code: str
    severity: Severity
    title: str
    message: str
    domains: tuple[str, ...] = ()
    remedy: str
    page: str


class NotChecked(Frozen):
    """A check that says nothing of this run, and why."""

    code: str
    title: str
    reason: str


class Diagnosis(Frozen):
    """All that the checks say of a run: findings by severity, then code.

    ``seeds`` are the runs that differ from it in their seed alone and were looked at with it.
    ``passed`` are the codes of checks that were made and found nothing.
    """

    run: str
    seeds: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    not_applicable: tuple[NotChecked, ...] = ()

    def counts(self) -> dict[Severity, int]:
        """Findings of each severity."""
        return {level: sum(f.severity is level for f in self.findings) for level in RANK}

    def fails(self, least: Severity) -> bool:
        """Whether a finding is at least so grave."""
        return any(RANK.index(f.severity) <= RANK.index(least) for f in self.findings)
