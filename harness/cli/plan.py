"""``harness plan``: what a sweep will do and cost, before anything runs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.sweep.encoding import EncodingCost, Saving
    from harness.sweep.estimates import MethodEstimate
    from harness.sweep.plan import Plan


def plan(
    sweep_file: SweepFile, as_json: Json = False, seeds: Seeds = None, storage: Storage = None, set_: Set = None
) -> None:
    """Print cells to do, cells done, and each method's FLOPs by phase (per seed, closed form). Downloads nothing."""
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
    table = Table(title=f"{config.name}: {len(resolved.pairs)} pairs, seeds {config.seeds}", title_justify="left")
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
    for header in headers:
        table.add_column(header, justify="left" if header == "method" else "right")
    for label, e in counted.items():
        costs = [short(e.flops.get(phase, 0.0)) if e.flops else "-" for phase in (*phases, "total")]
        costs += [short(e.flops_ours["total"]) if e.flops_ours else "-"] if published else []
        updates = updates_text(e.updates_per_pair)
        counts = len(cells[label]), done[label], len(cells[label]) - done[label]
        rates = [str(len(e.rates) or "-")] if tuned else []
        table.add_row(label, *map(str, counts), *rates, updates, short(e.trained_params), *costs)
    stdout.print(table)
    _print_encoding(encoding, saved, planned.reference, stand_in=missing_data is not None)
    for warning in _warnings(planned, counted):
        stdout.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if missing:
        stdout.print(f"banks to extract first: {', '.join(dict.fromkeys(missing))}", soft_wrap=True)


def _print_encoding(
    encoding: EncodingCost, saved: Mapping[str, Saving], reference: str | None, *, stand_in: bool
) -> None:
    """What embedding the rows costs, and every saving twice: connectors alone, and end to end from pictures."""
    if not encoding.flops:
        return  # nothing is embedded, or nothing is known of it
    left = "" if stand_in else f" ({short(encoding.flops_left)} to do)"
    seconds = "" if stand_in or not encoding.seconds_left else f", {short(encoding.seconds_left)} s"
    text = f"embedding all rows: {short(encoding.flops)} FLOPs{left}{seconds}, {short(encoding.disk)} bytes of banks"
    if encoding.unknown:
        text += f"; not counted, because unknown before they are loaded: {', '.join(encoding.unknown)}"
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)
    if not saved:
        return
    title = f"times fewer FLOPs than {reference}, for one seed"
    table = Table("method", "connectors alone", "end to end from pictures", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, saving in saved.items():
        whole = "-" if saving.end_to_end is None else f"{saving.end_to_end:.3g}x"
        table.add_row(label, f"{saving.connectors:.3g}x", whole)
    stdout.print(table)


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
