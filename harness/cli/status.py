"""``harness status``: how far a run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.cli.common import RunFolder, open_run, stdout

if TYPE_CHECKING:
    from harness.run.store import RunStore


def status(
    run: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until every cell is finished.")] = False,
) -> None:
    """Show each method's cells: done, failed, diverged, timed out, missing, with reasons."""
    store = open_run(run)
    if not watch:
        table, reasons, _ = _view(store)
        stdout.print(table)
        for reason in reasons:
            stdout.print(reason, markup=False, highlight=False, soft_wrap=True)
        return
    with Live(console=stdout, auto_refresh=False) as live:
        while True:
            table, reasons, missing = _view(store)
            live.update(Group(table, *map(Text, reasons)), refresh=True)
            if not missing:
                return
            time.sleep(1.0)


def _view(store: RunStore) -> tuple[Table, list[str], int]:
    """A row for each method, a line for each cell that has no result, and how many are missing."""
    manifest = store.manifest()
    survey = store.survey(manifest.cells)
    records = survey.records
    states = ("done", "failed", "diverged", "timeout", "skipped", "missing")
    table = Table(title=f"{manifest.name}: {len(records)} of {len(manifest.cells)} cells", title_justify="left")
    for header in ("method", *states, "cell seconds"):
        table.add_column(header, justify="left" if header == "method" else "right")
    for label in manifest.methods:
        cells = [cell for cell in manifest.cells if cell.label == label]
        found = [records[cell.key].status if cell.key in records else "missing" for cell in cells]
        seconds = sum(records[cell.key].wall_s for cell in cells if cell.key in records)
        table.add_row(label, *(str(found.count(state)) for state in states), f"{seconds:.1f}")
    reasons = [
        f"{r.status}: {r.label} seed {r.seed} {' x '.join(r.pairs[0])}{' ...' if len(r.pairs) > 1 else ''}: {r.error}"
        for r in records.values()
        if r.status not in ("done", "skipped")
    ]
    reasons += [
        f"diverged: {r.label} seed {r.seed} {pair.image} x {pair.text}: {pair.error}"
        for r in records.values()
        if r.status == "done"
        for pair in r.lost
    ]
    reasons += [f"damaged, counted as missing: {damage}" for damage in survey.damaged.values()]
    return table, reasons, len(manifest.cells) - len(records)
