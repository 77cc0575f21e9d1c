"""How much a command that runs cells says: everything, the end and errors only, or JSON lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import stderr, stdout, store_of
from harness.cli.embed import extract_with_bars
from harness.cli.given import here
from harness.cli.live import EndLine, LiveLine
from harness.cli.report import print_report
from harness.cli.tally import Tally, Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.run.records import CellGlance, CellRecord
    from harness.run.store import RunStore
    from harness.sweep.config import Sweep
    from harness.sweep.resolve import ResolvedSweep
    from reports.build import Report

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the last line and errors only.")]
JsonLinesOption = Annotated[
    bool, typer.Option("--json-lines", help="Print one JSON object per event on standard output (docs/progress.md).")
]


class Voice:
    """Says everything: notes, bars, a live line, the report's tables, what failed."""

    def note(self, text: str) -> None:
        """A line about what is found or done on the way."""
        stderr.print(text, markup=False, highlight=False, soft_wrap=True)

    def notes(self, lines: Sequence[str]) -> None:
        """Several of them."""
        for line in lines:
            self.note(line)

    def extract(self, resolved: ResolvedSweep) -> object:
        """Make the banks that are not there."""
        return extract_with_bars(resolved)

    def tally(self, config: Sweep, waiting: Waiting) -> Tally:
        """What listens to cells that run.

        Args:
            config: The sweep.
            waiting: They.
        """
        del config
        return LiveLine(waiting, stderr)

    def nothing_to_run(self, config: Sweep, done: int, cells: int) -> None:
        """All cells are done already."""
        del config
        self.note(f"nothing to run: {done} of {cells} cells are done")

    def finished(self, made: Report, tally: Tally | None, store: RunStore) -> None:
        """The report, and a line for each cell that did not end well."""
        print_report(made)
        self._name_bad(tally.bad if tally else [], store)

    def _name_bad(self, bad: Sequence[CellRecord], store: RunStore) -> None:
        for record in bad:
            stdout.print(bad_line(record, store.log_of(record.key)), markup=False, highlight=False, soft_wrap=True)


class Quiet(Voice):
    """Says the last line and errors only."""

    def note(self, text: str) -> None:
        """Nothing."""

    def extract(self, resolved: ResolvedSweep) -> object:
        """Without bars."""
        return resolved.extraction.missing(list(resolved.banks.values()))

    def tally(self, config: Sweep, waiting: Waiting) -> Tally:
        """Its line is the last one."""
        del config
        return EndLine(replace(waiting, flops=dict), stderr)

    def nothing_to_run(self, config: Sweep, done: int, cells: int) -> None:
        """It is the last line."""
        super().note(f"nothing to run: {done} of {cells} cells are done")

    def finished(self, made: Report, tally: Tally | None, store: RunStore) -> None:
        """What failed."""
        self._name_bad(tally.bad if tally else [], store)


class Machine(Quiet):
    """Prints events."""

    def tally(self, config: Sweep, waiting: Waiting) -> Tally:
        """Its events."""
        from harness.cli.events import JsonLines

        return JsonLines(waiting, store_of(config), config.name)

    def nothing_to_run(self, config: Sweep, done: int, cells: int) -> None:
        """The first event, and the last one follows."""
        from harness.cli.events import Started, emit

        emit(Started(run=config.name, cells=cells, done=done, to_run=0))

    def finished(self, made: Report, tally: Tally | None, store: RunStore) -> None:
        """The last event."""
        from harness.cli.events import Done, JsonLines, emit

        page = f"{made.where}/index.html"
        if isinstance(tally, JsonLines):
            emit(tally.end("finished", page))
            return
        states = [method.status.done for method in made.summary.methods.values()]
        done = sum(states)
        emit(Done(run=made.summary.run, ended="finished", done=done, failed=0, cells=done, seconds=0.0, report=page))


def voice_of(context: typer.Context, quiet: bool, json_lines: bool) -> Voice:
    """The voice that these options ask for; JSON lines have standard output for themselves until the command ends."""
    if json_lines:
        from harness.cli.events import only_events

        context.with_resource(only_events())
    return Machine() if json_lines else Quiet() if quiet else Voice()


def bad_line(record: CellRecord | CellGlance, log: str | None) -> str:
    """What is said of a cell that did not end well, with the file of what its method said."""
    pairs = " x ".join(record.pairs[0]) + (" ..." if len(record.pairs) > 1 else "")
    said = f" (log: {here(Path(log))})" if log and "://" not in log else f" (log: {log})" if log else ""
    return f"{record.status}: {record.label} seed {record.seed} {pairs}: {record.error}{said}"
