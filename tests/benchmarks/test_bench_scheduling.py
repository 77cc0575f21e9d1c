"""What scheduling costs per cell: the sweep's elapsed time beyond the cells' own seconds, Ray Tune beside serial."""

import time
from typing import Any

import pytest

from harness.run.backends.base import BACKENDS, BackendOptions
from harness.run.manifest import make_manifest
from harness.run.records import CellRecord
from harness.sweep.planned import PlannedCell
from tests.conftest import Project

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
def test_overhead_per_cell(benchmark: Any, temp_project: Project, backend: str) -> None:
    temp_project.write("many.yaml", SWEEP.format(backend=backend))
    plan = temp_project.plan("many.yaml")
    store = temp_project.store(plan)
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    store.write_manifest(make_manifest(plan))

    def run() -> None:
        BACKENDS.get(backend)().run(plan, store, plan.cells, Silent(), BackendOptions())

    start = time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    elapsed = time.perf_counter() - start
    busy = sum(record.wall_s for record in store.records(store.manifest()).values())
    info = benchmark.extra_info
    info["cells"] = len(plan.cells)
    info["elapsed_over_cell_seconds"] = elapsed / busy
    info["overhead_s_per_cell"] = (elapsed - busy) / len(plan.cells)
