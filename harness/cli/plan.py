"""``harness plan``: what a sweep will do and cost, before anything runs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from rich.markup import escape

from harness.cli.common import (
    Json,
    Seeds,
    Set,
    Storage,
    SweepFile,
    open_sweep,
    planned_anyhow,
    short,
    stdout,
    store_of,
)
from harness.cli.plan_costs import print_disk, print_encoding, print_time, say
from harness.cli.tables import fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.sweep.estimates import MethodEstimate
    from harness.sweep.plan import Plan


def plan(
    sweep_file: SweepFile, as_json: Json = False, seeds: Seeds = None, storage: Storage = None, set_: Set = None
) -> None:
    """Print cells to do, cells done, and each method's FLOPs by phase (per seed, closed form). Downloads nothing.

    Examples: harness plan sweeps/hyma_vlm_27.yaml; harness plan sweeps/quickstart.yaml --json
    """
    config = open_sweep(sweep_file, set_, seeds, storage)
    from harness.contract.exposure import updates_text
    from harness.sweep.encoding import encoding_cost, savings
    from harness.sweep.estimates import estimates

    planned, missing_data = planned_anyhow(config)
    resolved = planned.resolved
    counted = estimates(planned)
    finished = store_of(config).finished(planned.by_key)
    cells = {label: [cell for cell in planned.cells if cell.label == label] for label in counted}
    done = {label: sum(cell.key in finished for cell in own) for label, own in cells.items()}
    missing = [request.spec.id for request in resolved.banks.values() if not request.done]
    encoding = encoding_cost(resolved.banks.values())
    saved = savings(counted, planned.reference, encoding)
    if as_json:
        methods = {
            label: {
                "cells": len(cells[label]),
                "done": done[label],
                **dataclasses.asdict(estimate),
                "saving": dataclasses.asdict(saved[label]) if label in saved else None,
            }
            for label, estimate in counted.items()
        }
        stdout.print_json(json.dumps({"methods": methods, "encoding": dataclasses.asdict(encoding)}))
        return
    phases = sorted({phase for e in counted.values() for phase in e.flops or {} if phase != "total"})
    published = config.flop_convention == "published"
    tuned = any(len(e.rates) > 1 for e in counted.values())
    beside = ("total as we count",) if published else ()
    headers = (
        "method",
        "cells",
        "done",
        "to do",
        *(("rates",) if tuned else ()),
        "updates/pair",
        "trained params",
        *phases,
        "total FLOPs/seed",
        *beside,
    )
    rows = []
    for label, e in counted.items():
        costs = [short(e.flops.get(phase, 0.0)) if e.flops else "-" for phase in (*phases, "total")]
        costs += [short(e.flops_ours["total"]) if e.flops_ours else "-"] if published else []
        updates = updates_text(e.updates_per_pair)
        counts = len(cells[label]), done[label], len(cells[label]) - done[label]
        rates = [str(len(e.rates) or "-")] if tuned else []
        rows.append([label, *map(str, counts), *rates, updates, short(e.trained_params), *costs])
    title = f"{config.name}: {len(resolved.pairs)} pairs, seeds {config.seeds}"
    stdout.print(*fitted(title, headers, rows, stdout.width), sep="\n")
    print_encoding(encoding, saved, planned.reference, stand_in=missing_data is not None)
    print_disk(planned)
    if missing_data is None:
        to_do = {label: 1 - done[label] / max(len(own), 1) for label, own in cells.items()}
        print_time(counted, to_do, len(config.seeds))
    for warning in _warnings(planned, counted):
        stdout.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if missing:
        say(f"banks to extract first: {', '.join(dict.fromkeys(missing))}")


def _warnings(planned: Plan, counted: Mapping[str, MethodEstimate]) -> list[str]:
    """What makes the comparison unfair before it has begun: a reference hardly trained, unlike training."""
    from harness.contract.exposure import Exposure, few_updates, unlike_updates

    trained = {
        label: Exposure(
            {str(unit): limit for unit, limit in planned.methods[label].config.budget.items()}, e.updates_per_pair
        )
        for label, e in counted.items()
        if not planned.methods[label].rungs
    }
    reference = planned.reference
    few = few_updates(reference, trained[reference]) if reference in trained else None
    return [*([few] if few else []), *unlike_updates(trained)]
