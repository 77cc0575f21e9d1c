"""One call that makes a whole report."""

from dataclasses import dataclass

from harness.run.blobs import Blobs
from harness.run.store import RunStore
from reports.analysis import analyse
from reports.html import write_pages
from reports.plots import write_plots
from reports.schema import Summary
from reports.summary import write_summary
from reports.tables import write_tables
from reports.text import answer


@dataclass(frozen=True)
class Report:
    """A report that has been written.

    Attributes:
        where: Its place.
        files: Names of its files.
        summary: What ``summary.json`` holds.
        answer: The answer in plain sentences.
    """

    where: str
    files: list[str]
    summary: Summary
    answer: list[str]


def build_report(store: RunStore, into: Blobs | None = None) -> Report:
    """Report a run, finished or not, from its stored JSON and plain arrays alone.

    Args:
        store: The run.
        into: Where to write; ``report`` below the run by default.

    Raises:
        HarnessError: No run there, or a file of it is damaged.
    """
    into = into or store.under("report")
    analysis = analyse(store)
    write_summary(analysis.summary, into)
    tables = write_tables(analysis, into)
    plots = write_plots(analysis, into)
    pages = write_pages(analysis, into, plots)
    files = ["summary.json", *tables, *(file for files in plots.values() for file in files), *pages]
    return Report(into.where, files, analysis.summary, answer(analysis))
