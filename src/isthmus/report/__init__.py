"""Reports from stored figures: for the terminal, as Markdown and JSON, as one HTML page, as images.

``isthmus.report.html.to_html`` and ``isthmus.report.pictures.save_pictures`` load the drawing
libraries and are therefore not imported here.
"""

from isthmus.report.data import CreatedFrom, Curves, Masks, ReportData
from isthmus.report.markdown import comparison_to_markdown, to_json, to_markdown
from isthmus.report.terminal import (
    print_comparison,
    print_domains,
    print_metrics,
    print_sharing,
    to_terminal,
)

__all__ = [
    "CreatedFrom",
    "Curves",
    "Masks",
    "ReportData",
    "comparison_to_markdown",
    "print_comparison",
    "print_domains",
    "print_metrics",
    "print_sharing",
    "to_json",
    "to_markdown",
    "to_terminal",
]
