"""Report time at 1,000 cells, beside that of 100 cells."""

import time
from typing import Any

import pytest
from harness.config import load_sweep
from harness.plan import make_manifest, make_plan
from harness.store import RunStore
from harness.workspace import Workspace

from reports.build import build_report

pytestmark = pytest.mark.bench

SWEEP = """
    name: wide-{images}
    data: {{kind: synthetic, rows: 300, image_encoders: {images}, text_encoders: 10, image_dims: [8],
           text_dims: [8], seed: 0}}
    methods: {{ape: {{epochs: 1, batch_size: 64}}}}
    reference: ape
    seeds: [0]
    storage: runs
"""


def _run(temp_project: Any, images: int) -> RunStore:
    """A real run of images x 10 cells."""
    from harness.cells import run_cell

    sweep = load_sweep(temp_project.write(f"wide-{images}.yaml", SWEEP.format(images=images)))
    plan = make_plan(Workspace(sweep))
    plan.workspace.extract_missing()
    plan.store.write_manifest(make_manifest(plan))
    for cell in plan.cells:
        run_cell(plan, cell)
    return plan.store


def test_report_of_a_thousand_cells(benchmark: Any, temp_project: Any) -> None:
    small, large = _run(temp_project, 10), _run(temp_project, 100)
    start = time.perf_counter()
    build_report(small.path)
    of_small = time.perf_counter() - start
    benchmark.pedantic(lambda: build_report(large.path), rounds=1)
    ratio = benchmark.stats.stats.mean / of_small
    benchmark.extra_info["ratio_to_100_cells"] = ratio
