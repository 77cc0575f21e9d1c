"""``harness status``: how far a run is."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.cli.common import Json, RunFolder, open_run, stdout
from harness.cli.voice import bad_line

if TYPE_CHECKING:
    from harness.run.store import RunStore

STATES = ("done", "failed", "diverged", "timeout", "skipped", "missing")
EVERY_S = 1.0
"""Seconds between two looks at a run."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes:
        name: Of the run.
        cells: Planned cells.
        finished: Cells with a record.
        methods: Label to the number of its cells by state, and their seconds (``cell_seconds``).
        reasons: A line for each cell or pair that did not end well.
    """

    name: str
    cells: int
    finished: int
    methods: Mapping[str, Mapping[str, float]]
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """The standing as one line."""
        states = {state: sum(int(method[state]) for method in self.methods.values()) for state in STATES}
        counted = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        return f"{self.name}: {self.finished} of {self.cells} cells ({counted})"


def status(
    run: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until every cell is finished.")] = False,
    as_json: Json = False,
) -> None:
    """Show each method's cells: done, failed, diverged, timed out, missing, with reasons.

    Examples: harness status quickstart; harness status runs/quickstart --watch; harness status quickstart --json
    """
    store = open_run(run)
    if as_json:
        stdout.print_json(json.dumps(dataclasses.asdict(_standing(store))))
    elif not watch:
        _print(_standing(store))
    elif stdout.is_terminal:
        _watch_live(store)
    else:
        _watch_plain(store)


def _watch_live(store: RunStore) -> None:
    with Live(console=stdout, auto_refresh=False) as live:
        while True:
            now = _standing(store)
            live.update(_view(now), refresh=True)
            if now.finished == now.cells:
                return
            time.sleep(EVERY_S)


def _watch_plain(store: RunStore) -> None:
    """A line whenever something has changed: what a log or a pipe can use."""
    last = None
    while True:
        now = _standing(store)
        if now.line != last:
            last = now.line
            stdout.print(last, soft_wrap=True, markup=False, highlight=False)
        if now.finished == now.cells:
            _print(now)
            return
        time.sleep(EVERY_S)


def _standing(store: RunStore) -> RunProgress:
    manifest = store.manifest()
    survey = store.glance(manifest.cells)
    records = survey.records
    methods: dict[str, dict[str, float]] = {}
    for label in manifest.methods:
        cells = [cell for cell in manifest.cells if cell.label == label]
        found = [records[cell.key].status if cell.key in records else "missing" for cell in cells]
        seconds = sum(records[cell.key].wall_s for cell in cells if cell.key in records)
        methods[label] = {state: found.count(state) for state in STATES} | {"cell_seconds": seconds}
    reasons = [bad_line(r, store.log_of(r.key)) for r in records.values() if r.status not in ("done", "skipped")]
    reasons += [
        f"diverged: {r.label} seed {r.seed} {pair.image} x {pair.text}: {pair.error}"
        for r in records.values()
        if r.status == "done"
        for pair in r.lost
    ]
    reasons += [f"damaged, counted as missing: {damage}" for damage in survey.damaged.values()]
    return RunProgress(manifest.name, len(manifest.cells), len(records), methods, tuple(reasons))


def _print(now: RunProgress) -> None:
    stdout.print(_table(now))
    for reason in now.reasons:
        stdout.print(reason, markup=False, highlight=False, soft_wrap=True)


def _view(now: RunProgress) -> Group:
    return Group(_table(now), *map(Text, now.reasons))


def _table(now: RunProgress) -> Table:
    table = Table(title=f"{now.name}: {now.finished} of {now.cells} cells", title_justify="left")
    for header in ("method", *STATES, "cell seconds"):
        table.add_column(header, justify="left" if header == "method" else "right")
    for label, counts in now.methods.items():
        states = (str(int(counts[state])) for state in STATES)
        table.add_row(label, *states, f"{counts['cell_seconds']:.1f}")
    return table
