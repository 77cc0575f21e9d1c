"""What ``harness plan`` says beside the table: embedding, disk, downloads, time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rich.table import Table

from harness.cli.common import short, stdout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.sweep.encoding import EncodingCost, Saving
    from harness.sweep.estimates import MethodEstimate
    from harness.sweep.plan import Plan

SIDE, RATE_S = 512, 0.3
"""Side of the square matrices that the machine's rate is measured with, and for how many seconds."""


def say(text: str) -> None:
    """A line that terminals wrap and pipes keep whole."""
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)


def print_encoding(
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
    say(text)
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


def print_disk(plan: Plan) -> None:
    """Bytes of the connectors that the cells will leave, and which weights have to be fetched first."""
    from harness.sweep.encoding import connector_bytes, to_fetch

    say(f"connectors: {short(connector_bytes(plan))} bytes on disk")
    fetched = to_fetch(plan.resolved.banks.values())
    if fetched.encoders:
        size = f"about {short(fetched.size)} bytes" if fetched.size else "their size is not known before"
        say(f"to download first: {size}, for {', '.join(fetched.encoders)}")


def print_time(counted: Mapping[str, MethodEstimate], to_do: Mapping[str, float], seeds: int) -> None:
    """The least time that is possible here: all FLOPs to do at this machine's measured matrix rate.

    Args:
        counted: Label -> closed-form cost per seed.
        to_do: Label -> share of its cells that is missing.
        seeds: Number of seeds.
    """
    known = {label: e.flops_ours["total"] for label, e in counted.items() if e.flops_ours}
    flops = sum(total * seeds * to_do[label] for label, total in known.items())
    if not flops:
        return
    cores, rate = os.cpu_count() or 1, matrix_rate()
    text = f"connectors take at least {duration(flops / (cores * rate))} on this machine's {cores} cores: "
    text += f"{short(flops)} FLOPs at the {short(rate)} per second that one core reaches in matrix products now"
    if rest := [label for label, share in to_do.items() if share and label not in known]:
        text += f"; without {', '.join(rest)}, which cannot be counted before"
    say(text)


def matrix_rate() -> float:
    """FLOPs per second of one core in float32 matrix products, measured now."""
    import torch
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            matrix = torch.ones(SIDE, SIDE)
            matrix @ matrix
            count, start = 0, time.perf_counter()
            while (took := time.perf_counter() - start) < RATE_S:
                matrix @ matrix
                count += 1
        finally:
            torch.set_num_threads(before)
    return 2.0 * SIDE**3 * count / took


def duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h, 2.1 days."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
