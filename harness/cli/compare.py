"""``harness compare``: several runs side by side."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.cli.common import Json, open_run, stdout
from harness.cli.report import narrow
from harness.errors import HarnessError


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more, by folder or name.", show_default=False)],
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Write across.csv and the figure across.png/.pdf here.")] = None,
) -> None:
    """Every method of several runs in one table, and whether the cells that runs share agree.

    Example: harness compare quickstart quickstart-hyma --out both
    """
    if len(runs) < 2:
        raise HarnessError("one run has nothing to be compared with", fix="harness compare RUN RUN ...")
    stores = [open_run(run) for run in runs]
    places = [Path(store.where).resolve() for store in stores]
    if twice := [run for run, place in zip(runs, places, strict=True) if places.count(place) > 1]:
        raise HarnessError(f"the run {twice[0]!r} is named twice", fix="name every run once")
    from reports.across import across_frame, analyses_of, shared_cells, write_across

    analyses = analyses_of(stores)
    shared = [shared_cells(one, other) for one, other in itertools.combinations(stores, 2)]
    if as_json:
        rows = json.loads(across_frame(analyses).to_json(orient="records"))
        cells = [{"runs": s.runs, "equal": s.equal, "different": s.different} for s in shared]
        stdout.print_json(json.dumps({"methods": rows, "shared_cells": cells}))
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
        for found in shared:
            if found.equal or found.different:
                stdout.print(
                    f"{found.runs[0]} and {found.runs[1]} share {found.equal + len(found.different)} finished cells: "
                    + (f"{len(found.different)} differ, e.g. {found.different[0]}" if found.different else "all equal"),
                    markup=False,
                )
    if out is not None:
        from harness.run.blobs import FolderBlobs

        paths = write_across(analyses, FolderBlobs(out))
        if not as_json:
            stdout.print(f"written: {', '.join(paths)}", soft_wrap=True, markup=False)
