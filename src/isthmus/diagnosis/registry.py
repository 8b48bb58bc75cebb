"""Checks by their code, and what runs them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from isthmus.diagnosis.evidence import ABSENT, Evidence
from isthmus.diagnosis.types import RANK, Diagnosis, Finding, NotChecked, Severity
from isthmus.errors import ConfigError

PAGE = "docs/diagnosis.md"
Observed = Iterator[tuple[str, tuple[str, ...]]]
"""What a check yields: a message with figures, and the domains concerned."""


class NotApplicable(Exception):
    """A check cannot say anything of this evidence."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what it is called, looks at and advises; ``find`` looks.

    ``needs`` are the attributes of ``Evidence`` without which it says nothing.
    """

    code: str
    severity: Severity
    title: str
    looks_at: str
    remedy: str
    needs: tuple[str, ...]
    find: Callable[[Evidence], Observed]

    @property
    def page(self) -> str:
        return f"{PAGE}#{self.code.lower()}"

    def run(self, evidence: Evidence) -> tuple[Finding, ...]:
        """What it finds.

        Raises:
            NotApplicable: something that it needs is not there.
        """
        for name in self.needs:
            if getattr(evidence, name) is None:
                raise NotApplicable(evidence.absent.get(name, ABSENT[name]))
        return tuple(
            Finding(
                code=self.code,
                severity=self.severity,
                title=self.title,
                message=message,
                domains=domains,
                remedy=self.remedy,
                page=self.page,
            )
            for message, domains in self.find(evidence)
        )


CHECKS: dict[str, Check] = {}
"""All checks by code, filled by ``check``."""


def check(
    code: str, severity: Severity, title: str, *, looks_at: str, remedy: str, needs: str
) -> Callable[[Callable[[Evidence], Observed]], Callable[[Evidence], Observed]]:
    """Decorator: make a function a check; ``needs`` names attributes, with spaces between."""

    def add(find: Callable[[Evidence], Observed]) -> Callable[[Evidence], Observed]:
        assert code not in CHECKS, f"{code} is taken"
        CHECKS[code] = Check(code, severity, title, looks_at, remedy, tuple(needs.split()), find)
        return find

    return add


def diagnose(
    evidence: Evidence, run: str, *, seeds: tuple[str, ...] = (), only: Collection[str] = ()
) -> Diagnosis:
    """Make every check, or ``only`` those of these codes, on what is known of a run.

    Raises:
        ConfigError: no such code.
    """
    unknown = sorted(set(only) - CHECKS.keys())
    if unknown:
        raise ConfigError(f"no check {', '.join(unknown)}; there are: {', '.join(sorted(CHECKS))}")
    found: list[Finding] = []
    passed, silent = [], []
    for code in sorted(only or CHECKS):
        one = CHECKS[code]
        try:
            findings = one.run(evidence)
        except NotApplicable as reason:
            silent.append(NotChecked(code=code, title=one.title, reason=str(reason)))
            continue
        found += findings
        if not findings:
            passed.append(code)
    found.sort(key=lambda finding: (RANK.index(finding.severity), finding.code))
    return Diagnosis(
        run=run,
        seeds=seeds,
        findings=tuple(found),
        passed=tuple(passed),
        not_applicable=tuple(silent),
    )
