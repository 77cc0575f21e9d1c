"""Report time at 1,000 cells, beside that of 100 cells."""

import time
from typing import Any

import pytest

from harness.run.store import RunStore
from reports.build import build_report
from tests.conftest import Project

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


def _run(project: Project, images: int) -> RunStore:
    """A real run of images x 10 cells."""
    project.write(f"wide-{images}.yaml", SWEEP.format(images=images))
    _, store = project.run(f"wide-{images}.yaml")
    return store


@pytest.mark.timeout(1200)
def test_report_of_a_thousand_cells(benchmark: Any, temp_project: Project) -> None:
    small, large = _run(temp_project, 10), _run(temp_project, 100)
    start = time.perf_counter()
    build_report(small)
    of_small = time.perf_counter() - start
    benchmark.pedantic(lambda: build_report(large), rounds=1)
    ratio = benchmark.stats.stats.mean / of_small
    benchmark.extra_info["ratio_to_100_cells"] = ratio
