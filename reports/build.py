"""One call that makes a whole report."""

from dataclasses import dataclass
from pathlib import Path

from harness.store import RunStore
from reports.analysis import analyse
from reports.html import write_pages
from reports.plots import write_plots
from reports.schema import Summary
from reports.summary import write_summary
from reports.tables import write_tables
from reports.text import answer


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies, and its summary.

    Attributes:
        folder: Of the report.
        index: ``index.html``, self-contained.
        markdown: ``report.md``.
        summary: ``summary.json``.
        tables: ``tables/*.csv``.
        plots: ``plots/*.png`` and ``plots/*.pdf``.
        result: What ``summary.json`` holds.
        answer: The answer in plain sentences.
    """

    folder: Path
    index: Path
    markdown: Path
    summary: Path
    tables: list[Path]
    plots: list[Path]
    result: Summary
    answer: list[str]


def build_report(run: Path, out: Path | None = None) -> ReportPaths:
    """Report a run, finished or not, from its stored JSON and plain arrays alone.

    Args:
        run: The run's folder, ``<storage>/<name>``.
        out: Where to write; ``<run>/report`` by default.

    Raises:
        HarnessError: No run there, or a file of it is damaged.
    """
    store = RunStore(run)
    folder = store.path / "report" if out is None else out.absolute()
    analysis = analyse(store)
    write_summary(analysis.summary, folder / "summary.json")
    tables = write_tables(analysis, folder / "tables")
    plots = write_plots(analysis, folder / "plots")
    index, markdown = write_pages(analysis, folder, plots)
    drawn = [path for paths in plots.values() for path in paths]
    return ReportPaths(
        folder, index, markdown, folder / "summary.json", tables, drawn, analysis.summary, answer(analysis)
    )
