"""``harness embed``: extract the banks of a sweep, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.cli.common import Set, Storage, SweepFile, interruptible, open_sweep, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.data.request import BankRequest
    from harness.sweep.resolve import ResolvedSweep


def embed(sweep_file: SweepFile, storage: Storage = None, set_: Set = None) -> None:
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
    for request in resolved.banks.values():
        note = "extracted" if request in made else "was there"
        stdout.print(
            f"{note}  {request.info.modality:5}  {request.spec.id}  {request.place}", soft_wrap=True, markup=False
        )


def set_damaged_aside(resolved: ResolvedSweep, *, anew: bool = False) -> None:
    """Set damaged banks aside, and name each in a line, before anything reads them.

    Args:
        resolved: The sweep.
        anew: Check the content of banks although that has been done.
    """
    from harness.data.healing import heal_banks

    name_damage(heal_banks(resolved.banks.values(), anew=anew))


def name_damage(lines: Sequence[str]) -> None:
    """Name what was set aside, each in a line."""
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
