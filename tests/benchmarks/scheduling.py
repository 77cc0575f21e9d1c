"""What scheduling costs per cell: many tiny cells on the serial backend and on Ray with two workers.

``OMP_NUM_THREADS=1 .venv/bin/python -m tests.benchmarks.scheduling`` prints the table that ``docs/cluster.md`` quotes.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.run.backends.base import BACKENDS, BackendOptions
from harness.run.manifest import make_manifest
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.loading import load_sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep

SWEEP = """
name: many-{backend}
data: {{kind: synthetic, rows: 300, image_encoders: 10, text_encoders: 10, image_dims: [16], text_dims: [16], seed: 0}}
methods: {{ape: {{epochs: 1, batch_size: 64}}}}
reference: ape
seeds: [{seeds}]
storage: .
"""
PAIRS = 100


class Silent:
    """Hears of cells; keeps how many ended, and when the first began."""

    def __init__(self) -> None:
        self.ended = 0
        self.first: float | None = None

    def started(self, cell: PlannedCell) -> None:
        self.first = self.first or time.perf_counter()

    def finished(self, record: CellRecord) -> None:
        self.ended += 1


@dataclass(frozen=True)
class Cost:
    """What a sweep of tiny cells took.

    Attributes:
        cells: How many.
        elapsed_s: From the first cell's begin to the end of the backend.
        start_s: Before that: what the backend starts.
        busy_s: Seconds inside of cells, of all workers.
        workers: Cells at once.
    """

    cells: int
    elapsed_s: float
    start_s: float
    busy_s: float
    workers: int

    @property
    def elapsed_ms(self) -> float:
        """Elapsed milliseconds per cell."""
        return 1e3 * self.elapsed_s / self.cells

    @property
    def overhead_ms(self) -> float:
        """Milliseconds of a worker per cell that are not inside of the cell."""
        return 1e3 * (self.elapsed_s * self.workers - self.busy_s) / self.cells


def prepared(folder: Path, backend: str, cells: int) -> tuple[Plan, RunStore]:
    """A run of so many tiny cells, embedded and planned."""
    seeds = ", ".join(map(str, range(max(cells // PAIRS, 1))))
    path = folder / f"{backend}.yaml"
    path.write_text(SWEEP.format(backend=backend, seeds=seeds))
    plan = make_plan(ResolvedSweep(load_sweep(path)))
    store = RunStore(str(plan.sweep.storage_path / plan.sweep.name))
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    store.write_manifest(make_manifest(plan))
    return plan, store


def measure(backend: str, plan: Plan, store: RunStore, workers: int) -> Cost:
    """Run all cells of a plan."""
    heard = Silent()
    begin = time.perf_counter()
    BACKENDS.get(backend)().run(plan, store, plan.cells, heard, BackendOptions())
    end = time.perf_counter()
    assert heard.ended == len(plan.cells) and heard.first is not None, "every cell is told of, once"
    busy = sum(record.wall_s for record in store.records(store.manifest()).values())
    return Cost(len(plan.cells), end - heard.first, heard.first - begin, busy, workers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2_000)
    cells = parser.parse_args().cells
    say = sys.stdout.write
    say("backend  cells  start s  elapsed s  ms/cell  of them in cells  worker-ms/cell outside of cells\n")
    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        for backend, workers in (("serial", 1), ("ray", 2)):
            plan, store = prepared(Path(folder), backend, cells)
            found[backend] = cost = measure(backend, plan, store, workers)
            inside = 1e3 * cost.busy_s / cost.cells
            row = f"{backend:7}  {cost.cells:5}  {cost.start_s:7.1f}  {cost.elapsed_s:9.1f}  {cost.elapsed_ms:7.1f}"
            say(f"{row}  {inside:16.1f}  {cost.overhead_ms:31.1f}\n")
    serial, ray = found["serial"], found["ray"]
    say(
        f"scheduling: {ray.overhead_ms - serial.overhead_ms:.1f} ms of a worker per cell more than the serial backend\n"
    )
    say(f"Ray with two workers takes {ray.elapsed_s / serial.elapsed_s:.2f} of the serial backend's time\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    say(f"driver: {peak:.2f} GB at most\n")


if __name__ == "__main__":
    main()
