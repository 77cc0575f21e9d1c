"""``harness compare``: several runs side by side."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from harness.cli.common import Json, open_run, stderr, stdout
from harness.cli.report import narrow
from harness.errors import HarnessError
from harness.storage.places import is_url

if TYPE_CHECKING:
    from harness.run.store import RunStore
    from reports.changes import Change


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more, by folder or name.", show_default=False)],
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Write across.csv and the figure across.png/.pdf here.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if a method is worse than in the first run.")
    ] = False,
) -> None:
    """Every method of several runs in one table, what has changed since the first beyond noise, and shared cells.

    Examples: harness compare quickstart quickstart-hyma --out both; harness compare before after --check
    """
    if len(runs) < 2:
        raise HarnessError("one run has nothing to be compared with", fix="harness compare RUN RUN ...")
    stores = [open_run(run) for run in runs]
    places = [store.where if is_url(store.where) else str(Path(store.where).resolve()) for store in stores]
    if twice := [run for run, place in zip(runs, places, strict=True) if places.count(place) > 1]:
        raise HarnessError(f"the run {twice[0]!r} is named twice", fix="name every run once")
    from reports.across import across_frame, analyses_of, shared_cells, write_across

    analyses = analyses_of(stores)
    shared = [shared_cells(one, other) for one, other in itertools.combinations(stores, 2)]
    changed = _changes(stores, strict=check)
    if as_json:
        rows = json.loads(across_frame(analyses).to_json(orient="records"))
        cells = [{"runs": s.runs, "equal": s.equal, "different": s.different} for s in shared]
        stdout.print_json(
            json.dumps(
                {
                    "methods": rows,
                    "changes": [dataclasses.asdict(c) | {"run": run} for run, c in changed],
                    "shared_cells": cells,
                }
            )
        )
    else:
        from reports.overview import OVERVIEW_COLUMNS, overview_rows

        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        left_out = {"kind", "best_pair"}
        shown = [name for name in OVERVIEW_COLUMNS._fields if name not in left_out]
        for title in ("run", "pairs", *(getattr(OVERVIEW_COLUMNS, name) for name in shown)):
            table.add_column(narrow(title), no_wrap=True)
        for run, analysis in analyses.items():
            for row in overview_rows(analysis):
                cells = (getattr(row, name) for name in shown)
                table.add_row(run, str(analysis.summary.n_pairs), *map(narrow, cells))
        stdout.print(table)
        _print_changes(stores[0], changed)
        for found in shared:
            if found.equal or found.different:
                stdout.print(
                    f"{found.runs[0]} and {found.runs[1]} share {found.equal + len(found.different)} finished cells: "
                    + (f"{len(found.different)} differ, e.g. {found.different[0]}" if found.different else "all equal"),
                    markup=False,
                )
    if out is not None:
        from harness.storage.blobs import FolderBlobs

        paths = write_across(analyses, FolderBlobs(out))
        if not as_json:
            stdout.print(f"written: {', '.join(paths)}", soft_wrap=True, markup=False)
    if worse := [f"{one.method} ({one.quantity}, {run})" for run, one in changed if check and one.verdict == "worse"]:
        stderr.print(f"worse beyond noise: {', '.join(worse)}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


def _changes(stores: list[RunStore], *, strict: bool) -> list[tuple[str, Change]]:
    """What has changed from the first run to each other one; runs of other data have nothing to be paired.

    Args:
        stores: The runs.
        strict: Raise where there is nothing to be paired, in the place of saying so.
    """
    from reports.changes import changes

    found: list[tuple[str, Change]] = []
    for store in stores[1:]:
        try:
            found += [(store.manifest().name, one) for one in changes(stores[0], store)]
        except HarnessError as error:
            if strict:
                raise
            stderr.print(f"no differences to {store.manifest().name}: {error}", markup=False, soft_wrap=True)
    return found


def _print_changes(base: RunStore, changed: list[tuple[str, Change]]) -> None:
    if not changed:
        return
    name = base.manifest().name
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"changes since {name}", title_justify="left")
    for title in ("run", "method", "", "before", "after", "difference [95% CI]", "beyond noise?", "FLOPs"):
        table.add_column(title, no_wrap=True)
    for run, one in changed:
        before, after = one.flops
        ratio = f"{after / before:.3g}x" if before and after else "-"
        low, high = one.ci95
        interval = f"{one.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        numbers = (one.quantity, f"{one.before:.3f}", f"{one.after:.3f}", interval, one.verdict, ratio)
        table.add_row(escape(run), escape(one.method), *map(escape, numbers))
    stdout.print(table)
