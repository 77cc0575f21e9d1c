"""What scheduling costs per cell: the sweep's elapsed time beyond the cells' own seconds, Ray Tune beside serial."""

import time
from typing import Any

import pytest
from harness.backends.base import BACKENDS, BackendOptions
from harness.config import load_sweep
from harness.plan import Plan, make_manifest, make_plan
from harness.store import CellRecord, PlannedCell
from harness.workspace import Workspace

pytestmark = pytest.mark.bench

SWEEP = """
    name: many-{backend}
    data: {{kind: synthetic, rows: 300, image_encoders: 6, text_encoders: 5, image_dims: [16],
           text_dims: [16], seed: 0}}
    methods: {{ape: {{epochs: 1, batch_size: 64}}}}
    reference: ape
    seeds: [0, 1, 2, 3]
    storage: runs
"""


class Silent:
    def started(self, cell: PlannedCell) -> None: ...

    def finished(self, record: CellRecord) -> None: ...


@pytest.mark.parametrize("backend", ["serial", "ray"])
def test_overhead_per_cell(benchmark: Any, temp_project: Any, backend: str) -> None:
    sweep = load_sweep(temp_project.write("many.yaml", SWEEP.format(backend=backend)))
    plan: Plan = make_plan(Workspace(sweep))
    plan.workspace.extract_missing()
    plan.store.write_manifest(make_manifest(plan))

    def run() -> None:
        BACKENDS.get(backend)(plan, plan.cells, Silent(), BackendOptions())

    start = time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    elapsed = time.perf_counter() - start
    busy = sum(record.wall_s for record in plan.store.records(make_manifest(plan)).values())
    info = benchmark.extra_info
    info["cells"] = len(plan.cells)
    info["elapsed_over_cell_seconds"] = elapsed / busy
    info["overhead_s_per_cell"] = (elapsed - busy) / len(plan.cells)
