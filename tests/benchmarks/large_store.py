"""A run of 10,000 finished cells, and what ``plan``, ``status``, ``report`` and an idle ``sweep`` take on it.

``OMP_NUM_THREADS=1 .venv/bin/python -m tests.benchmarks.large_store FOLDER`` makes the run below the folder, if it is
not there, and prints the table that ``docs/scaling.md`` quotes. The cells are not trained: every record has all the
fields of a real one, made by the harness's own constructors, with ranks that encoders' qualities and noise make up.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harness.connectors.stored import to_bytes
from harness.contract.connector import Connector
from harness.contract.ledger import Ledger
from harness.contract.metric import measured, values
from harness.contract.seeding import generator, stream
from harness.run.banks import banks_of
from harness.run.cell_records import cell_record
from harness.run.manifest import make_manifest
from harness.run.records import CheckpointRecord, PairMetrics
from harness.run.store import RunStore
from harness.sweep.estimates import cell_estimate
from harness.sweep.loading import load_sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep
from harness.tasks.recall import per_query

SWEEP = """
name: large
data: {{kind: synthetic, rows: 1000, image_encoders: {side}, text_encoders: {side}, image_dims: [16, 24, 32],
       text_dims: [16, 24], seed: 0}}
methods: {{ape: {{epochs: 10, batch_size: 64, lr: 1.0e-2}}}}
reference: ape
seeds: [0]
storage: runs
"""
TASK, CHECKPOINTS = "retrieval", 10
VERBS = (("plan", "large.yaml"), ("status", "large"), ("report", "large"), ("sweep", "large.yaml"))


def made(folder: Path, side: int) -> tuple[Plan, RunStore]:
    """The run: its banks and its plan are real, its cells are written by ``write_cell`` below."""
    (folder / "large.yaml").write_text(SWEEP.format(side=side))
    plan = make_plan(ResolvedSweep(load_sweep(folder / "large.yaml")))
    store = RunStore(str(plan.sweep.storage_path / plan.sweep.name))
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    if not store.planned():
        store.write_manifest(make_manifest(plan))
    there = store.finished(plan.by_key)
    for cell in plan.cells:
        if cell.key not in there:
            write_cell(plan, store, cell)
    return plan, store


def write_cell(plan: Plan, store: RunStore, cell: PlannedCell) -> None:
    """A finished cell: ranks of a pair whose quality is its encoders', a connector, a curve, and what it spent."""
    resolved, (pair,) = plan.resolved, cell.pairs
    qualities = [float(stream(0, "quality", name).normal()) for name in pair]
    rng = stream(cell.seed, "cell", *pair)
    evaluation = resolved.evaluations[0]
    queries, scores = {}, {}
    for split in ("validation", "test"):
        units = evaluation.units(split)
        # The better the encoders, the more of the ranks are small.
        power = np.exp(1.0 + 0.5 * sum(qualities) + 0.1 * rng.normal())
        ranks = {name: _ranks(power, len(unit), rng) for name, unit in units.items()}
        answers = {name: per_query(name, ranks) for name in measured(evaluation.metrics)}
        scores[split] = {TASK: values(evaluation.metrics, answers)}
        if split == "test":
            queries |= {f"0/{TASK}/{name}": row for name, row in answers.items()}
            queries |= {f"{TASK}/{name}/unit": unit for name, unit in units.items()}
    estimate, ledger = cell_estimate(plan, cell), Ledger()
    assert estimate is not None
    for phase, flops in estimate.flops.items():
        ledger.add(phase, flops)
    ledger.seconds["fit"] = 0.5
    score = scores["validation"][TASK][plan.sweep.selection.metric]
    total, updates = sum(estimate.flops.values()), estimate.updates_per_pair
    curve = [
        CheckpointRecord(
            step=int(updates * share),
            epoch=10.0 * share,
            updates_per_pair=updates * share,
            samples_per_pair=64 * updates * share,
            flops=total * share,
            seconds=0.5 * share,
            scores=[score * (1.0 - 0.3 * (1.0 - share))],
        )
        for share in np.linspace(1.0 / CHECKPOINTS, 1.0, CHECKPOINTS)
    ]
    tensors = resolved.connector.init(resolved.sizes((pair,)).dims(pair), generator(cell.seed, *pair))
    record = cell_record(
        plan,
        cell,
        "done",
        ledger,
        metrics=[PairMetrics(image=pair[0], text=pair[1], score=score, **scores)],
        curve=curve,
        batch_size=64,
        pairs_per_step=1,
        updates_per_pair=updates,
        samples_per_pair=64 * updates,
        trained_params=estimate.trained_params,
        wall_s=0.6,
        device_s=0.5,
        banks=banks_of(plan, cell),
    )
    store.write_cell(record, queries, to_bytes({0: Connector(resolved.connector, tensors)}, {0: pair}))


def _ranks(power: float, count: int, rng: np.random.Generator) -> np.ndarray:
    return (1 + np.floor(count * rng.random(count) ** power)).astype(np.int32)


def measure(folder: Path, verb: str, argument: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and GB at most of one command, in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "harness", verb, argument], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{verb} failed"
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    """Make the run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=100, help="encoders on each side")
    parser.add_argument("--only", help="one verb")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    plan, _ = made(given.folder, given.side)
    say = sys.stdout.write
    say(f"{len(plan.cells)} cells  seconds  CPU seconds  GB at most\n")
    for verb, argument in VERBS:
        if given.only in (None, verb):
            seconds, cpu, memory = measure(given.folder, verb, argument)
            say(f"{verb:11}  {seconds:7.1f}  {cpu:11.1f}  {memory:10.2f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
