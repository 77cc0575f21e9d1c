"""``harness validate``: find every mistake before compute is spent."""

from __future__ import annotations

from harness.cli.common import Seeds, Set, Storage, SweepFile, open_sweep, stdout


def validate(sweep_file: SweepFile, seeds: Seeds = None, storage: Storage = None, set_: Set = None) -> None:
    """Check that every name resolves, every file exists and all shapes agree. Extracts and trains nothing.

    Example: harness validate sweeps/quickstart.yaml --set methods.ape.epochs=5
    """
    config = open_sweep(sweep_file, set_, seeds, storage)
    from harness.encoders.devices import gpus_here
    from harness.run.stages import check_pick
    from harness.sweep.estimates import check
    from harness.sweep.plan import make_plan
    from harness.sweep.resolve import ResolvedSweep

    planned = make_plan(ResolvedSweep(config))
    check(planned)
    check_pick(config)
    wanting = [label for label, method in config.methods.items() if method.resources.gpu]
    if wanting and not gpus_here():
        text = f"note: {', '.join(wanting)} asks for a GPU and this machine has none: for a cluster (--address) only"
        stdout.print(text, soft_wrap=True, markup=False, highlight=False)
    splits = ", ".join(f"{len(rows)} {name}" for name, rows in planned.resolved.index.splits.items())
    stdout.print(
        f"ok: {len(planned.resolved.images)} image x {len(planned.resolved.texts)} text encoders, "
        f"{len(planned.cells)} cells, images: {splits}",
        soft_wrap=True,
    )
