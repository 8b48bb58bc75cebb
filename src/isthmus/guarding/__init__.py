"""Guarding: one artefact in which a domain that sharing hurts is served by what is better for it.

``guard`` decides on some rows, builds on the training rows, and shows what changed on other rows.
"""

from isthmus.guarding.config import GuardConfig
from isthmus.guarding.guard import FILE, Outcome, guard, stored_table
from isthmus.guarding.inputs import isolated_run, opened_data, refuse

__all__ = [
    "FILE",
    "GuardConfig",
    "Outcome",
    "guard",
    "isolated_run",
    "opened_data",
    "refuse",
    "stored_table",
]
