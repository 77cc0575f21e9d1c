"""What is frozen of a run: the numbers of every cell and of its summary, without times.

``python -m tests.frozen.numbers`` makes all files again, with ``cases`` behind it all but the quickstart's (which needs
its real encoders), and with names of cases theirs. Say in ``CHANGES.md`` why they are others.
"""

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.contract.registry import near
from harness.run.manifest import make_manifest
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.config import Sweep
from harness.sweep.estimates import check, estimates
from harness.sweep.loading import load_sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep
from tests.conftest import run_waves

FOLDER = Path(__file__).parent / "numbers"


def fingerprint() -> dict[str, str]:
    """What bit-for-bit equality needs: the libraries' versions, the processor's instructions, the kernels chosen."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    blas = sorted({str(one["architecture"]) for one in threadpool_info() if one.get("architecture")})
    return {
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "blas": " ".join(blas),
    }


def quickstart(storage: Path) -> tuple[Plan, RunStore]:
    """The quickstart's first seed; banks that the storage holds already are used."""
    file = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
    return run(load_sweep(file, overrides=["seeds=[0]", f"storage={json.dumps(str(storage))}"]))


def swept(sweep: dict[str, Any], storage: Path) -> tuple[Plan, RunStore]:
    """The run of a sweep that is written as a mapping."""
    return run(Sweep.model_validate({**sweep, "storage": str(storage)}))


def run(sweep: Sweep) -> tuple[Plan, RunStore]:
    """Run a sweep in this process, wave by wave."""
    plan = make_plan(ResolvedSweep(sweep))
    check(plan)
    store = RunStore(str(sweep.storage_path / sweep.name))
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    store.write_manifest(make_manifest(plan))
    run_waves(plan, store)
    return plan, store


def numbers_of(plan: Plan, store: RunStore) -> dict[str, Any]:
    """The run's numbers, by cell in plan order, its estimates and its summary."""
    from reports.analysis import analyse

    manifest = store.manifest()
    records = store.records(manifest)
    cells = {}
    for cell in manifest.cells:
        record = records[cell.key]
        name = f"{cell.label}/{cell.seed}/{'+'.join(map('x'.join, cell.pairs[:1]))}/{cell.rung}"
        cells[name] = _cell(record)
    found: dict[str, Any] = {
        "cells": cells,
        "plan": {
            label: None if e.flops is None else {"flops": e.flops, "updates": e.updates_per_pair}
            for label, e in estimates(plan).items()
        },
    }
    if manifest.reference:
        found["summary"] = _timeless(json.loads(analyse(store).summary.model_dump_json(by_alias=True)))
    return found


def _cell(record: CellRecord) -> dict[str, Any]:
    return {
        "status": record.status,
        "error": record.error,
        "metrics": [metrics.model_dump(exclude={"image", "text"}) for metrics in record.metrics],
        "curve": [point.model_dump(exclude={"seconds"}) for point in record.curve],
        "flops": record.ledger.flops,
        "updates": record.ledger.updates,
        "samples": record.ledger.samples,
        "trained_params": record.trained_params,
    }


def _timeless(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _timeless(value) if isinstance(value, dict) else value
        for key, value in summary.items()
        if key not in TIMES
    }


TIMES = ("wall", "wall_ratio", "wall_s", "device_s")


def write(name: str, numbers: dict[str, Any]) -> None:
    """One small file per run."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps({"made_on": fingerprint(), **numbers}, separators=(",", ":"), sort_keys=True)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The frozen numbers of a run."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def main(asked: Sequence[str]) -> None:
    """Make the files of these cases again: ``cases`` means all of them, and none asked for means the quickstart too."""
    import tempfile

    import torch

    from tests.frozen.cases import CASES

    asked = asked or ["quickstart", "cases"]
    names = [name for word in asked for name in (CASES if word == "cases" else [word])]
    unknown = [name for name in names if name not in CASES and name != "quickstart"]
    if unknown:
        raise SystemExit(f"no case is called {unknown[0]}: {near(unknown[0], [*CASES, 'quickstart', 'cases'])}")
    torch.set_num_threads(1)
    for name in names:
        if name == "quickstart":
            write(name, numbers_of(*quickstart(Path("runs/frozen").absolute())))
            continue
        with tempfile.TemporaryDirectory() as folder:
            write(name, numbers_of(*swept(CASES[name], Path(folder))))


if __name__ == "__main__":
    main(sys.argv[1:])
