"""``harness report``: write a run's report, at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from harness.cli.common import RunFolder, open_run, stdout

if TYPE_CHECKING:
    from reports.build import Report


def report(run: RunFolder) -> None:
    """Write summary.json, report.md, index.html, tables and plots of a run, also of one that is not finished."""
    store = open_run(run)
    from reports.build import build_report

    print_summary(build_report(store))


def print_summary(made: Report) -> None:
    """The summary table, the answer in words, and where the report lies."""
    from reports.summary import SUMMARY_COLUMNS, summary_rows

    table = Table(title=made.summary.run, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in SUMMARY_COLUMNS:
        left = name in ("method", "kind") or "best pair" in name
        table.add_column(narrow(name), justify="left" if left else "right", no_wrap=True)
    for row in summary_rows(made.summary):
        table.add_row(*map(narrow, row))
    stdout.print(table)
    for sentence in made.answer:
        stdout.print(sentence, soft_wrap=True, markup=False, highlight=False)
    stdout.print(f"report: {made.where}/index.html", soft_wrap=True, markup=False, highlight=False)


def narrow(text: str) -> str:
    """Intervals, second names and remarks on a line of their own, so that twelve columns fit a screen."""
    for mark in (" [", " + ", " (", " / ", ", as run"):
        text = text.replace(mark, "\n" + mark.strip(" ,"))
    return escape(text.replace("updates per pair", "updates\nper pair").replace("its test score", "its test\nscore"))
