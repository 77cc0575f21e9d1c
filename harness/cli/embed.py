"""``harness embed``: extract the banks of a sweep, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.cli.common import Json, Set, Storage, SweepFile, interruptible, open_sweep, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.data.request import BankRequest
    from harness.sweep.resolve import ResolvedSweep


def embed(sweep_file: SweepFile, as_json: Json = False, storage: Storage = None, set_: Set = None) -> None:
    """Extract every bank of a sweep that is not there yet. Interrupted, it goes on where it stopped.

    Example: harness embed sweeps/quickstart.yaml
    """
    config = open_sweep(sweep_file, set_, None, storage)
    from harness.sweep.resolve import ResolvedSweep

    resolved = ResolvedSweep(config)
    with interruptible():
        set_damaged_aside(resolved)
        resolved.check()
        made = extract_with_bars(resolved)
    if as_json:
        banks = [
            {"modality": r.info.modality, "encoder": r.spec.id, "bank": str(r.path), "extracted": r in made}
            for r in resolved.banks.values()
        ]
        stdout.print_json(json.dumps({"banks": banks}))
        return
    for request in resolved.banks.values():
        note = "extracted" if request in made else "was there"
        stdout.print(
            f"{note}  {request.info.modality:5}  {request.spec.id}  {request.path}", soft_wrap=True, markup=False
        )


def set_damaged_aside(
    resolved: ResolvedSweep, *, anew: bool = False, told: Callable[[Sequence[str]], object] | None = None
) -> None:
    """Set damaged banks aside, and name each in a line, before anything reads them.

    Args:
        resolved: The sweep.
        anew: Check the content of banks although that has been done.
        told: Says the lines; by default on standard error.
    """
    from harness.data.healing import heal_banks

    (told or _say)(heal_banks(resolved.banks.values(), anew=anew))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        stderr.print(line, markup=False, highlight=False, soft_wrap=True)


def extract_with_bars(resolved: ResolvedSweep) -> list[BankRequest]:
    """Extract what is missing with a progress bar per bank; where nothing is, print nothing."""
    requests = list(resolved.banks.values())
    if all(request.done for request in requests):
        return resolved.extraction.missing(requests)  # which still checks what is there
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars: dict[tuple[str, str, str], object] = {}
    with Progress(*columns, console=stderr) as progress:

        def show(request: BankRequest, done: int, total: int) -> None:
            key = (request.dataset.digest, request.info.modality, request.spec.id)
            if key not in bars:
                bars[key] = progress.add_task(f"embed {request.spec.id}", total=total)
            progress.update(bars[key], completed=done, total=total)  # type: ignore[arg-type]

        return resolved.extraction.missing(requests, show)
