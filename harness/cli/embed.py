"""``harness embed``: extract the banks of a sweep, and nothing else."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from harness.cli.common import Address, Code, Set, Storage, SweepFile, interruptible, open_sweep, stderr, stdout
from reports.formatting import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from harness.data.embedding import OpenEmbedder
    from harness.data.request import BankRequest
    from harness.sweep.resolve import ResolvedSweep


def embed(
    sweep_file: SweepFile,
    storage: Storage = None,
    set_: Set = None,
    address: Address = None,
    code: Code = "ship",
) -> None:
    """Extract every bank of a sweep that is not there yet. Interrupted, it goes on where it stopped.

    Examples: harness embed sweeps/quickstart.yaml; harness embed my.yaml --address HEAD:6379
    """
    config = open_sweep(sweep_file, set_, None, storage)
    from harness.sweep.resolve import ResolvedSweep

    resolved = ResolvedSweep(config)
    with interruptible():
        set_damaged_aside(resolved)
        resolved.check()
        made = extract_with_bars(resolved, embedding(resolved, "ray", address, code))
    for request in resolved.banks.values():
        note = "extracted" if request in made else "was there"
        stdout.print(
            f"{note}  {request.info.modality:5}  {request.spec.id}  {request.path}", soft_wrap=True, markup=False
        )


class RowsPerSecond(ProgressColumn):
    """How fast rows are embedded."""

    def render(self, task: Task) -> Text:
        """The rate of the last seconds, or of the whole bank once it is done."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{scaled(rate)} rows/s")


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


def embedding(
    resolved: ResolvedSweep, backend: str, address: str | None, code: str
) -> Callable[[], AbstractContextManager[OpenEmbedder]]:
    """What opens whatever embeds the rows of banks on this backend."""
    from harness.run.backends.base import BACKENDS, BackendOptions

    options = BackendOptions(address=address, code=code)
    return lambda: BACKENDS.get(backend)().embedding(resolved.sweep, options)


def extract_with_bars(
    resolved: ResolvedSweep, opened: Callable[[], AbstractContextManager[OpenEmbedder]] | None = None
) -> list[BankRequest]:
    """Extract what is missing with a progress bar per bank; where nothing is, print nothing.

    Args:
        resolved: The sweep.
        opened: Opens what embeds their rows; None: this process does.
    """
    from harness.data.embedding import here

    requests = list(resolved.banks.values())
    if all(request.done for request in requests):
        return resolved.extraction.missing(requests)  # which still checks what is there
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RowsPerSecond(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars: dict[tuple[str, str, str], object] = {}
    with Progress(*columns, console=stderr) as progress, opened() if opened else nullcontext(here) as by:

        def show(request: BankRequest, done: int, total: int) -> None:
            key = (request.dataset.digest, request.info.modality, request.spec.id)
            if key not in bars:
                bars[key] = progress.add_task(f"embed {request.spec.id}", total=total)
            progress.update(bars[key], completed=done, total=total)  # type: ignore[arg-type]

        return resolved.extraction.missing(requests, show, by)
