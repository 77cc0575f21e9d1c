"""``harness sweep``: run what the store lacks, then report."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import (
    Address,
    Code,
    Seeds,
    Set,
    Storage,
    SweepFile,
    choose,
    interruptible,
    open_sweep,
    stderr,
    stdout,
    store_of,
)
from harness.cli.embed import embedding, extract_with_bars, name_damage, set_damaged_aside
from harness.cli.live import LiveLine
from harness.cli.report import print_report
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.run.records import CellRecord, Manifest
    from harness.sweep.config import Sweep
    from harness.sweep.plan import Plan


def sweep(
    context: typer.Context,
    sweep_file: SweepFile,
    methods: Annotated[str | None, typer.Option(help="Run only these labels' cells, e.g. ape,hyma.")] = None,
    seeds: Seeds = None,
    storage: Storage = None,
    set_: Set = None,
    backend: Annotated[str, typer.Option(help="ray, or serial: one cell after another, without Ray.")] = "ray",
    address: Address = None,
    code: Code = "ship",
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Hand the sweep to the job server at --address, http://HEAD:8265, and end."),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="One step per cell, on stand-in banks where the real ones are absent.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="First compare every file with its checksum; make damaged ones again.")
    ] = False,
    lies_at: Annotated[Path | None, typer.Option(hidden=True, help="Where the sweep file was read first.")] = None,
) -> None:
    """Run a sweep: embed, train every missing cell, report. The same command again finishes what is missing.

    Examples: harness sweep sweeps/quickstart.yaml; harness sweep my.yaml --methods ape,hyma --seeds 0,1 --set
    methods.ape.epochs=5; harness sweep my.yaml --address HEAD:6379; harness sweep my.yaml --submit --address
    http://HEAD:8265
    """
    config = open_sweep(sweep_file, set_, seeds, storage, lies_at)
    if smoke:
        from harness.sweep.smoke import smoked

        config = smoked(config)
    if submit:
        from harness.cli.submit import submit_sweep

        flags = {"--smoke": smoke, "--verify": verify}
        options = [flag for flag, given in flags.items() if given] + ["--backend", backend]
        for option, value in (("--methods", methods), ("--seeds", seeds), *(("--set", text) for text in set_ or ())):
            options += [option, value] if value is not None else []
        submit_sweep(config, sweep_file, options, address=address, code=code)
        return
    if begun := _unfinished(config):
        _start_ahead(context, backend, address)
    from harness.run.backends.base import backend_for
    from harness.run.execute import prepare, run_missing
    from harness.run.lock import RunLock
    from harness.sweep.plan import make_plan
    from harness.sweep.resolve import ResolvedSweep

    chosen = choose(methods, list(config.methods), "method")
    plan, store = make_plan(ResolvedSweep(config)), store_of(config)
    backend_for(backend, plan, chosen)  # it may refuse, before anything is embedded
    if not begun and len(store.finished(plan.by_key)) < len(plan.cells):
        _start_ahead(context, backend, address)
    bad: list[CellRecord] = []
    with RunLock(store.blobs) as lock:
        with interruptible():
            set_damaged_aside(plan.resolved, anew=verify)
            extract = partial(extract_with_bars, opened=embedding(plan.resolved, backend, address, code))
            todo = prepare(plan, store, extract, chosen, lock=lock, by_content=verify)
        name_damage(todo.healed)
        if todo.changes:
            text = f"the plan of {config.name} has changed: {'; '.join(todo.changes)}"
            stderr.print(text, markup=False, soft_wrap=True)
        _warn_of_changed_sources(todo.before, todo.manifest)
        if todo.cells:
            higher = todo.manifest.selection.higher_is_better
            waiting = Counter(cell.label for cell in todo.cells)
            with interruptible(), LiveLine(waiting, todo.done, higher, stderr, _flops(plan)) as line:
                run_missing(plan, store, todo, line, backend=backend, address=address, code=code, lock=lock)
            bad = line.bad
        else:
            stderr.print(f"nothing to run: {todo.done} of {len(plan.cells)} cells are done")

    from harness.export.examples import write_examples
    from reports.build import build_report

    print_report(build_report(store, illustrate=partial(write_examples, plan.resolved, store)))
    for record in bad:
        pairs = ", ".join(f"{i} x {t}" for i, t in record.pairs[:1]) + (" ..." if len(record.pairs) > 1 else "")
        line = f"{record.status}: {record.label} seed {record.seed} {pairs}: {record.error}"
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(record.status != "diverged" for record in bad):
        raise typer.Exit(1)


def _unfinished(config: Sweep) -> bool:
    """Whether there is a plan of this sweep, some cells of which have not ended: then cells will run."""
    store = store_of(config)
    if not store.planned():
        return False
    try:
        keys = {cell.key for cell in store.manifest().cells}
    except HarnessError:
        return False
    return len(store.finished(keys)) < len(keys)


def _start_ahead(context: typer.Context, backend: str, address: str | None) -> None:
    from harness.run.backends.ahead import started_ahead

    context.with_resource(started_ahead(backend, address))


def _flops(plan: Plan) -> dict[str, float]:
    """Label -> FLOPs of one cell, of the methods that can be counted before they run."""
    from harness.sweep.estimates import estimates

    cells = Counter(cell.label for cell in plan.cells)
    seeds = len(plan.sweep.seeds)
    counted = estimates(plan).items()
    return {label: e.flops_ours["total"] * seeds / cells[label] for label, e in counted if e.flops_ours}


def _warn_of_changed_sources(before: Manifest | None, now: Manifest) -> None:
    from harness.run.provenance import is_plugin_file

    for label, method in now.methods.items():
        old = before.methods.get(label) if before else None
        if old is None or old.method != method.method or old.version != method.version:
            continue
        both = sorted(old.sources.keys() | method.sources.keys())
        changed = [name for name in both if old.sources.get(name) != method.sources.get(name)]
        if kept := [name for name in changed if not is_plugin_file(name)]:
            stderr.print(
                f"[yellow]warning:[/] the source of {method.method!r} changed ({', '.join(kept)}) and its version "
                f"({method.version}) did not: cells made before are kept. Raise `version` to run them again.",
                soft_wrap=True,
            )
