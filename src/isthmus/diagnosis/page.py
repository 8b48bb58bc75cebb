"""The page of all checks, from the registry and from what each says of its example."""

from isthmus.diagnosis.examples import EXAMPLES
from isthmus.diagnosis.registry import CHECKS, Check

GROUPS = {
    "1": "Leaks, and what the split claims",
    "2": "Ids",
    "3": "Scores, domain by domain",
    "4": "Seeds",
    "5": "Experts",
    "6": "Training",
    "7": "Sharing",
}
"""By the first digit of a code."""
INTRODUCTION = """# Diagnosis

    isthmus diagnose runs/NAME                                   one run
    isthmus diagnose runs/NAME-s0 runs/NAME-s1 runs/ISOLATED-s0  and what is seen beside others only

Every check has a code, a severity and a section here; checks that cannot say anything of a run say why
(`--all`). Runs that differ in their seed alone are looked at together; isolated runs and floors of the
same data are what the others are compared with. The prepared data is found by its digest under `--root`
(`prepared`). Exit code 0 where nothing is an error, 1 otherwise (`--fail-on warning`, `note` or `never`
moves the line), 2 where something is missing. `--json` and `--markdown` write for machines and pull
requests; `isthmus report` shows the findings of its run in every form of the report, `isthmus share` those of
the joint model, looked at beside the isolated ones.

* **error**: the figures of the run cannot be relied upon until it is mended.
* **warning**: some domain is probably served worse than it could be; look at it before a release.
* **note**: worth knowing when the figures are read.

Dozens of domains are dozens of chances for a false alarm. Statistical checks therefore ask two things of a
domain: that chance gives such a figure in one of a hundred healthy runs, over *all* domains together
(Bonferroni; users, not rows, count as independent), and that the figure is large enough to matter.
"""


def page() -> str:
    """Markdown: an overview, then a section a code."""
    lines = ["| code | severity | |", "|---|---|---|"]
    for code, one in sorted(CHECKS.items()):
        lines.append(f"| [{code}](#{code.lower()}) | {one.severity.value} | {one.title} |")
    parts = [INTRODUCTION, "\n".join(lines)]
    for digit, title in GROUPS.items():
        parts.append(f"## {title}")
        parts += [section(one) for code, one in sorted(CHECKS.items()) if code[4] == digit]
    return "\n\n".join(parts) + "\n"


def section(check: Check) -> str:
    """What one check looks at, says of its example, and advises."""
    fires, _ = EXAMPLES[check.code]()
    finding = check.run(fires)[0]
    return "\n\n".join(
        (
            f"### {check.code}: {check.title} {{#{check.code.lower()}}}",
            f"**{check.severity.value}.** Looks at {check.looks_at}.",
            f"    {finding.message}",
            f"*What to do:* {check.remedy}.",
        )
    )
