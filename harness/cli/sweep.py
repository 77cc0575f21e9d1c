"""``harness sweep``: run what the store lacks, then report."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import (
    Seeds,
    Set,
    Storage,
    choose,
    interruptible,
    store_of,
)
from harness.cli.embed import set_damaged_aside
from harness.cli.given import Data, MaybeFile, Names, given_sweep, keep_file
from harness.cli.tally import Waiting
from harness.cli.voice import JsonLinesOption, QuietOption, Voice, voice_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.cli.tally import Tally
    from harness.run.records import Manifest
    from harness.sweep.config import Sweep
    from harness.sweep.plan import Plan


def sweep(
    context: typer.Context,
    sweep_file: MaybeFile = None,
    image_encoders: Names = None,
    text_encoders: Names = None,
    data: Data = None,
    methods: Annotated[str | None, typer.Option(help="Run only these labels' cells, e.g. ape,hyma.")] = None,
    seeds: Seeds = None,
    storage: Storage = None,
    set_: Set = None,
    backend: Annotated[str, typer.Option(help="ray, or serial: one cell after another, without Ray.")] = "ray",
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; none: one on this machine.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="One step per cell, on stand-in banks where the real ones are absent.")
    ] = False,
    track: Annotated[
        str | None, typer.Option(help="Tell experiment trackers of finished cells: tensorboard, wandb, mlflow.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="First compare every file with its checksum; make damaged ones again.")
    ] = False,
    quiet: QuietOption = False,
    json_lines: JsonLinesOption = False,
) -> None:
    """Run a sweep: embed, train every missing cell, report. The same command again finishes what is missing.

    Without a file it runs what harness init would write, and keeps that as sweep.yaml in the run's folder.

    Examples: harness sweep sweeps/quickstart.yaml; harness sweep my.yaml --methods ape,hyma --seeds 0,1 --set
    methods.ape.epochs=5; harness sweep my.yaml --address HEAD:6379; harness sweep --data pairs.csv --image-encoders
    timm:vit_small_patch16_224,timm:resnet50 --text-encoders st:all-MiniLM-L6-v2
    """
    voice = voice_of(context, quiet, json_lines)
    sides = {"image_encoders": image_encoders, "text_encoders": text_encoders}
    sets = [*(set_ or []), *([f"trackers=[{track}]"] if track else [])]
    config, written = given_sweep("sweep", sweep_file, sides, data, sets, seeds, storage)
    if smoke:
        from harness.sweep.smoke import smoked

        config = smoked(config)
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
    tally: Tally | None = None
    with RunLock(store.blobs) as lock:
        if written and not smoke:
            voice.note(f"these options as a file: {keep_file(store, written, 'sweep')} goes on")
        with interruptible():
            set_damaged_aside(plan.resolved, anew=verify, told=voice.notes)
            todo = prepare(plan, store, voice.extract, chosen, lock=lock, by_content=verify)
        voice.notes(todo.healed)
        if todo.changes:
            voice.note(f"the plan of {config.name} has changed: {'; '.join(todo.changes)}")
        _warn_of_changed_sources(todo.before, todo.manifest, voice)
        if todo.cells:
            higher = todo.manifest.selection.higher_is_better
            cells = Counter(cell.label for cell in todo.cells)
            tally = voice.tally(config, Waiting(cells, todo.done, higher, partial(_flops, plan)))
            with interruptible(), tally:
                run_missing(plan, store, todo, tally, backend=backend, address=address, lock=lock)
        else:
            voice.nothing_to_run(config, todo.done, len(plan.cells))

    from harness.export.examples import write_examples
    from reports.build import build_report

    made = build_report(store, illustrate=partial(write_examples, plan.resolved, store))
    voice.finished(made, tally, store)
    if any(record.status != "diverged" for record in (tally.bad if tally else ())):
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


def _warn_of_changed_sources(before: Manifest | None, now: Manifest, voice: Voice) -> None:
    from harness.run.provenance import is_plugin_file

    for label, method in now.methods.items():
        old = before.methods.get(label) if before else None
        if old is None or old.method != method.method or old.version != method.version:
            continue
        both = sorted(old.sources.keys() | method.sources.keys())
        changed = [name for name in both if old.sources.get(name) != method.sources.get(name)]
        if kept := [name for name in changed if not is_plugin_file(name)]:
            voice.note(
                f"warning: the source of {method.method!r} changed ({', '.join(kept)}) and its version "
                f"({method.version}) did not: cells made before are kept. Raise `version` to run them again."
            )
