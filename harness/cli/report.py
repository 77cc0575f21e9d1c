"""``harness report``: write a run's report, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from harness.cli.common import RunFolder, open_run, stdout
from harness.storage.places import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reports.build import Report

DROPPED = ("kind", "batch_size", "wall", "cells", "updates_per_pair", "regret", "best_pair", "mean_score")
"""Columns that a screen too narrow for the whole table goes without, in this order."""

LEFT = ("method", "kind", "best_pair")

LINE = 100
"""Longest line of running text."""


def report(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Folder to write; none: report/ of the run.")] = None,
) -> None:
    """Write summary.json, report.md, index.html, tables and plots of a run, also of one that is not finished.

    Examples: harness report quickstart; harness report s3://bucket/runs/quickstart --out report
    """
    store = open_run(run)
    from harness.storage.blobs import FolderBlobs
    from reports.build import build_report

    print_report(build_report(store, None if out is None else FolderBlobs(out)))


def print_report(made: Report) -> None:
    """Two levels: the verdict and what to be careful of; then the table and the evidence, and where the report lies."""
    stdout.print(f"[bold]{escape(made.summary.run)}[/]")
    _say(made.verdict)
    for text in made.cautions:
        _say([f"Careful: {text}"])
    stdout.print(_table(made))
    for part in made.evidence:
        title = part.title if part.title.endswith("?") else f"{part.title}."
        _say([f"{title} {' '.join(part.sentences)}"], bold=len(title))
    for gap in made.gaps:
        if gap.damaged:  # on one line, so that the file's name can be copied and found
            stdout.print(gap.line, soft_wrap=True, markup=False, highlight=False)
        else:
            _say([gap.line])
    stdout.print(f"report: {made.where}/index.html", soft_wrap=True, markup=False, highlight=False)
    if is_url(made.where):
        run = made.where.rpartition("/")[0]
        ahead = f"to open it: harness report {run} --out FOLDER writes it to this machine"
        stdout.print(ahead, soft_wrap=True, markup=False, highlight=False)


def _table(made: Report) -> Table:
    """The first table, with as many columns as the screen has room for."""
    from reports.overview import columns_of

    names, endless = columns_of(made.summary.reference), stdout.options.update(max_width=10_000)
    table = _table_of(made, names)
    for dropped in DROPPED:
        if stdout.measure(table, options=endless).maximum <= stdout.width:
            break
        names = [name for name in names if name != dropped]
        table = _table_of(made, names)
    return table


def _table_of(made: Report, names: Sequence[str]) -> Table:
    from reports.overview import OVERVIEW_COLUMNS

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        heading = narrow(getattr(OVERVIEW_COLUMNS, name))
        table.add_column(heading, justify="left" if name in LEFT else "right", no_wrap=True)
    for row in made.rows:
        table.add_row(*(narrow(getattr(row, name)) for name in names))
    return table


def _say(sentences: Iterable[str], bold: int = 0) -> None:
    """Running text, wrapped for the screen; the first ``bold`` characters stand out."""
    from rich.text import Text

    for sentence in sentences:
        text = Text(sentence)
        text.stylize("bold", 0, bold)
        stdout.print(text, width=min(stdout.width, LINE))


def narrow(text: str) -> str:
    """Intervals, second names and remarks on a line of their own, so that many columns fit a screen."""
    for mark in (" [", " + ", " (", " / ", ", as run", ": "):
        text = text.replace(mark, "\n" + mark.strip(" ,"))
    number, space, unit = text.rpartition(" ")
    text = f"{number}\n{unit}" if space and unit.endswith("FLOP") else text
    for words in ("updates per pair", "delivered score", "mean score", "cost ratio"):
        text = text.replace(words, words.replace(" ", "\n", 1))
    return escape(text)
