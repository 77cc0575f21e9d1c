"""``harness sweep``: run what the store lacks, then report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import Seeds, Set, Storage, SweepFile, choose, interruptible, open_sweep, stderr, stdout
from harness.cli.embed import extract_with_bars
from harness.cli.live import LiveLine
from harness.cli.report import print_summary

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.store import CellRecord, Manifest


def sweep(
    sweep_file: SweepFile,
    methods: Annotated[str | None, typer.Option(help="Run only these labels' cells, e.g. ape,hyma.")] = None,
    seeds: Seeds = None,
    storage: Storage = None,
    set_: Set = None,
    backend: Annotated[str, typer.Option(help="ray, or serial: one cell after another, without Ray.")] = "ray",
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; none: one on this machine.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="One step per cell, on stand-in banks where the real ones are absent.")
    ] = False,
) -> None:
    """Run a sweep: embed, train every missing cell, report. The same command again finishes what is missing."""
    start = time.monotonic()
    config = open_sweep(sweep_file, set_, seeds, storage)
    if smoke:
        from harness.smoke import smoked

        config = smoked(config)
    from harness.backends.base import BackendOptions, check_backend
    from harness.plan import make_manifest, make_plan
    from harness.rungs import settle
    from harness.workspace import Workspace

    chosen = choose(methods, list(config.methods), "method")
    plan = make_plan(Workspace(config))
    run_cells = check_backend(backend, plan, chosen)
    plan.check()
    before = _previous(plan)
    with interruptible():
        extract_with_bars(plan.workspace)
    manifest = make_manifest(plan)
    spent = before.elapsed_s or 0.0 if before else 0.0
    plan.store.write_manifest(manifest.model_copy(update={"elapsed_s": spent}))
    _warn_of_changed_sources(before, manifest)

    settle(plan)
    missing = plan.missing()
    todo = [cell for cell in missing if cell.label in chosen]
    finished = plan.store.finished(cell.key for cell in plan.cells)
    done_before = len(finished - {cell.key for cell in missing})
    bad: list[CellRecord] = []
    for cell in todo:
        plan.store.drop_cell(cell.key)  # what a failed attempt left must not be taken for the new one's
    if todo:
        higher = manifest.selection.higher_is_better
        try:
            with interruptible(), LiveLine(len(todo), done_before, higher, stderr) as line:
                run_cells(plan, todo, line, BackendOptions(address=address))
        finally:
            elapsed = spent + time.monotonic() - start
            plan.store.write_manifest(manifest.model_copy(update={"elapsed_s": elapsed}))
        bad = line.bad
    else:
        stderr.print(f"nothing to run: {done_before} of {len(plan.cells)} cells are done")

    from reports.build import build_report

    paths = build_report(plan.store.path)
    print_summary(paths)
    for record in bad:
        pairs = ", ".join(f"{i} x {t}" for i, t in record.pairs[:1]) + (" ..." if len(record.pairs) > 1 else "")
        line = f"{record.status}: {record.label} seed {record.seed} {pairs}: {record.error}"
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(record.status != "diverged" for record in bad):
        raise typer.Exit(1)


def _previous(plan: Plan) -> Manifest | None:
    path = plan.store.path / "manifest.json"
    return plan.store.manifest() if path.is_file() else None


def _warn_of_changed_sources(before: Manifest | None, now: Manifest) -> None:
    for label, method in now.methods.items():
        old = before.methods.get(label) if before else None
        if old and old.method == method.method and old.version == method.version and old.source != method.source:
            stderr.print(
                f"[yellow]warning:[/] the source of {method.method!r} changed and its version ({method.version}) did "
                "not: cells made before the change are kept. Raise `version` to run them again.",
                soft_wrap=True,
            )
