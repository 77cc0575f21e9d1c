"""``harness plan``: what a sweep will do and cost, before anything runs."""

from __future__ import annotations

import dataclasses
import json

from rich.table import Table

from harness.cli.common import Json, Seeds, Set, Storage, SweepFile, open_sweep, short, stderr, stdout


def plan(
    sweep_file: SweepFile, as_json: Json = False, seeds: Seeds = None, storage: Storage = None, set_: Set = None
) -> None:
    """Print cells to do, cells done, and each method's FLOPs by phase (per seed, closed form). Downloads nothing."""
    config = open_sweep(sweep_file, set_, seeds, storage)
    from harness.paper import workspace_or_paper
    from harness.plan import estimates, make_plan

    workspace, missing_data = workspace_or_paper(config)
    if missing_data:
        stderr.print(f"planned on paper, from what the sweep file states: {missing_data}", markup=False, soft_wrap=True)
    planned = make_plan(workspace)
    planned.check_constraints(on_paper=missing_data is not None)
    counted = estimates(planned)
    missing = [request.spec.id for request in planned.workspace.banks.values() if not request.done]
    if as_json:
        methods = {label: dataclasses.asdict(estimate) for label, estimate in counted.items()}
        stdout.print_json(json.dumps({"methods": methods}))
        return
    phases = sorted({phase for e in counted.values() for phase in e.flops or {} if phase != "total"})
    table = Table(
        title=f"{config.name}: {len(planned.workspace.pairs)} pairs, seeds {config.seeds}", title_justify="left"
    )
    published = config.flop_convention == "published"
    beside = ("total as we count",) if published else ()
    headers = (
        "method",
        "cells",
        "done",
        "to do",
        "updates/pair",
        "trained params",
        *phases,
        "total FLOPs/seed",
        *beside,
    )
    for header in headers:
        table.add_column(header, justify="left" if header == "method" else "right")
    for label, e in counted.items():
        costs = [short(e.flops.get(phase, 0.0)) if e.flops else "-" for phase in (*phases, "total")]
        costs += [short(e.flops_ours["total"]) if e.flops_ours else "-"] if published else []
        updates = "-" if e.updates_per_pair is None else f"{e.updates_per_pair:.0f}"
        table.add_row(label, str(e.cells), str(e.done), str(e.cells - e.done), updates, short(e.trained_params), *costs)
    stdout.print(table)
    if missing:
        stdout.print(f"banks to extract first: {', '.join(dict.fromkeys(missing))}", soft_wrap=True)
