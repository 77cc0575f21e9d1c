"""One call that makes a whole report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.run.store import RunStore
from harness.storage.blobs import Blobs
from reports.analysis import analyse
from reports.cautions import cautions
from reports.evidence import Paragraph, evidence
from reports.frames import write_tables
from reports.html import write_pages
from reports.overview import OverviewRow, overview_rows
from reports.pictures import shown_connectors
from reports.plots import write_plots
from reports.schema import Pair, Summary
from reports.summary import write_summary
from reports.text_tables import write_text_tables
from reports.unfinished import Gap
from reports.verdict import verdict

Illustrate: TypeAlias = Callable[[Sequence[tuple[str, Pair]]], object]
"""Given (method, pair), the first most important: stores pictures that their connectors find for test captions."""


@dataclass(frozen=True)
class Report:
    """A report that has been written.

    Attributes:
        where: Its place.
        files: Names of its files.
        summary: What ``summary.json`` holds.
        verdict: At most three short sentences in plain words.
        cautions: What to be careful of.
        rows: The first table.
        evidence: What the verdict rests on.
        gaps: What is not finished, a line for each kind.
    """

    where: str
    files: list[str]
    summary: Summary
    verdict: list[str]
    cautions: list[str]
    rows: list[OverviewRow]
    evidence: list[Paragraph]
    gaps: list[Gap]


def build_report(store: RunStore, into: Blobs | None = None, illustrate: Illustrate | None = None) -> Report:
    """Report a run, finished or not, from its stored JSON and plain arrays alone.

    Args:
        store: The run.
        into: Where to write; ``report`` below the run by default.
        illustrate: Stores pictures of the connectors that the report speaks of, before the page is written; None: the
            page shows what is stored already, if anything.

    Raises:
        HarnessError: No run there, or a file of it is damaged.
    """
    into = into or store.under("report")
    analysis = analyse(store)
    if illustrate is not None and not analysis.manifest.smoke:
        illustrate(shown_connectors(analysis))
    write_summary(analysis.summary, into)
    tables = [*write_tables(analysis, into), *write_text_tables(analysis, into)]
    plots = write_plots(analysis, into)
    pages = write_pages(analysis, into, plots)
    return Report(
        where=into.where,
        files=["summary.json", *tables, *(file for files in plots.values() for file in files), *pages],
        summary=analysis.summary,
        verdict=verdict(analysis),
        cautions=cautions(analysis),
        rows=overview_rows(analysis),
        evidence=evidence(analysis),
        gaps=analysis.gaps,
    )
