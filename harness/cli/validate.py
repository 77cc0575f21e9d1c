"""``harness validate``: find every mistake before compute is spent."""

from __future__ import annotations

import json

from harness.cli.common import Json, Seeds, Set, Storage, SweepFile, open_sweep, stdout


def validate(
    sweep_file: SweepFile, as_json: Json = False, seeds: Seeds = None, storage: Storage = None, set_: Set = None
) -> None:
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
    images, texts = len(planned.resolved.images), len(planned.resolved.texts)
    splits = {name: len(rows) for name, rows in planned.resolved.index.splits.items()}
    wanting = [label for label, method in config.methods.items() if method.resources.gpu]
    lacking = wanting if wanting and not gpus_here() else []
    if as_json:
        counts = {"image_encoders": images, "text_encoders": texts, "cells": len(planned.cells), "images": splits}
        stdout.print_json(json.dumps({"ok": True, "name": config.name, **counts, "want_a_gpu": lacking}))
        return
    if lacking:
        text = f"note: {', '.join(lacking)} asks for a GPU and this machine has none: for a cluster (--address) only"
        stdout.print(text, soft_wrap=True, markup=False, highlight=False)
    stdout.print(
        f"ok: {images} image x {texts} text encoders, {len(planned.cells)} cells, "
        f"images: {', '.join(f'{count} {name}' for name, count in splits.items())}",
        soft_wrap=True,
    )
