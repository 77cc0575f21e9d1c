"""What several verbs share: options, and how a sweep and a run are found."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from harness.cli.blame import remember
from harness.contract.registry import near
from harness.errors import HarnessError
from harness.run.interrupts import INTERRUPTED, interrupted, stoppable
from reports.formatting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.run.store import RunStore
    from harness.sweep.config import Sweep
    from harness.sweep.plan import Plan

WIDE = 160
"""Columns where the output is not a terminal, so that tables in logs keep their numbers."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    wide = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=WIDE) if wide else console


stdout = _console(stderr=False)
stderr = _console(stderr=True)

SweepFile = Annotated[Path, typer.Argument(help="The sweep file (YAML or JSON).", show_default=False)]
RunFolder = Annotated[str, typer.Argument(help="A run: its folder, or its name below runs/.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="Replace a field, e.g. --set methods.ape.epochs=5.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds instead of the file's, e.g. 0,1,2.")]
Storage = Annotated[str | None, typer.Option(help="Storage folder instead of the file's (from the current folder).")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to join, HOST:6379; none: one on this machine.")]
Code = Annotated[
    str,
    typer.Option(help="What workers of a joined cluster import: ship (this harness), installed (theirs), or a wheel."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_sweep(
    path: Path, sets: Sequence[str] | None, seeds: str | None, storage: str | None, lies_at: Path | None = None
) -> Sweep:
    """The checked sweep file with the command line's overrides.

    Args:
        path: The sweep file.
        sets: ``field=value`` replacements.
        seeds: Seeds instead of the file's.
        storage: Storage instead of the file's.
        lies_at: Where the file was before it was shipped: its relative paths start there.
    """
    quiet_libraries()
    from harness.sweep.loading import load_sweep

    overrides = overrides_of(sets, seeds, storage)
    remember(overrides)
    return load_sweep(path, overrides=overrides, lies_at=lies_at)


def quiet_libraries() -> None:
    """Nothing may reach for a hub's telemetry, and tokenizers must not start threads of their own."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def overrides_of(sets: Sequence[str] | None, seeds: str | None, storage: str | None) -> list[str]:
    """``field=value`` of what the command line gives instead of the sweep file."""
    overrides = list(sets or [])
    if seeds is not None:
        overrides.append(f"seeds=[{seeds}]")
    if storage is not None:
        where = storage if "://" in storage else str(Path(storage).expanduser().resolve())
        overrides.append(f"storage={json.dumps(where)}")
    return overrides


def store_of(config: Sweep) -> RunStore:
    """Where a sweep's run lies."""
    from harness.run.store import RunStore

    return RunStore(str(config.storage_path / config.name))


def planned_anyhow(config: Sweep) -> tuple[Plan, str | None]:
    """The plan of a sweep, and which data is absent: then it is planned from what the file states, and that is said."""
    from harness.sweep.plan import make_plan
    from harness.sweep.without_data import resolve_or_stand_in

    resolved, absent = resolve_or_stand_in(config)
    if absent:
        note = f"planned without data, from what the sweep file states: {absent}"
        stderr.print(note, markup=False, soft_wrap=True)
    plan = make_plan(resolved)
    plan.check_constraints(without_data=absent is not None)
    return plan, absent


def open_run(run: str) -> RunStore:
    """A run by folder or by name below ``runs/``.

    Raises:
        HarnessError: No run there.
    """
    from harness.run.store import RunStore

    for folder in (Path(run).expanduser(), Path("runs") / run):
        if (folder / "manifest.json").is_file():
            return RunStore(str(folder))
    names = [path.parent.name for path in Path("runs").glob("*/manifest.json")]
    hint = near(run, names) if names else "run harness sweep SWEEP first"
    raise HarnessError(f"no run {run!r}: neither a folder with a manifest.json nor a name below runs/", fix=hint)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the command with one line and exit code 130; what had finished is kept."""
    with stoppable():
        try:
            yield
        except KeyboardInterrupt:
            with suppress(OSError):  # a terminal that was closed
                stderr.print("[yellow]interrupted[/]: what had finished is kept; the same command finishes the rest")
            raise typer.Exit(INTERRUPTED) from None
        except OSError:  # what stopping writes to a terminal that was closed
            if not interrupted():
                raise
            raise typer.Exit(INTERRUPTED) from None


def choose(given: str | None, names: Sequence[str], noun: str) -> list[str]:
    """A comma-separated choice among names; all of them if none is given.

    Raises:
        HarnessError: An unknown name, or none.
    """
    if given is None:
        return list(names)
    chosen = [name.strip() for name in given.split(",") if name.strip()]
    if not chosen:
        raise HarnessError(f"no {noun} is named in {given!r}", fix=f"known: {', '.join(names)}")
    for name in chosen:
        if name not in names:
            raise HarnessError(f"unknown {noun} {name!r}", fix=near(name, names))
    return chosen


def short(number: float | None) -> str:
    """A large number for people: 1.23 G; a dash for None."""
    return "-" if number is None else scaled(number)
