"""``harness verify``: whether a run and its banks still hold what was written."""

from __future__ import annotations

import json

import typer

from harness.cli.common import Json, RunFolder, open_run, stdout
from reports.formatting import count


def verify(run: RunFolder, as_json: Json = False) -> None:
    """Compare every record, file and bank of a run with its checksum. Exit code 1 if anything is damaged.

    Example: harness verify quickstart
    """
    store = open_run(run)
    from harness.run.verifying import verify_run

    found = verify_run(store)
    if as_json:
        damaged = [{"file": damage.where, "what": damage.what, "fix": damage.fix} for damage in found.damaged]
        counts = {"cells": found.cells, "files": found.files, "unsealed": found.unsealed, "banks": found.banks}
        stdout.print_json(json.dumps({"run": store.where, **counts, "damaged": damaged}))
    else:
        for damage in found.damaged:
            _say(f"damaged: {damage}")
        old = f" ({count(found.unsealed)} of an older version, without checksums)" if found.unsealed else ""
        what = f"{count(found.cells)} cells{old}, {count(found.files)} files of them, {count(found.banks)} banks"
        _say(f"{what}: {count(len(found.damaged)) if found.damaged else 'nothing'} damaged")
    if found.damaged:
        raise typer.Exit(1)


def _say(text: str) -> None:
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)
