"""A SIGKILL in the middle of a long joint cell: it goes on from its checkpoint, with the same numbers bit for bit."""

import json
import signal
from pathlib import Path

import pytest

from harness.run.records import CellRecord
from harness.run.store import RunStore

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LONG = """
    import os
    import signal
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from harness.run import attempts, keeping
    from hyma.method import Hyma

    attempts.NOTE_EVERY_S = 0.0
    keeping.EVERY_S, keeping.SHARE = 0.0, 1.0e9  # after every step
    HERE = Path(__file__).parent


    @dataclass(frozen=True, kw_only=True)
    class Long(Hyma):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            def told(step, steps):
                progress(step, steps)
                with (HERE / "steps").open("a") as file:
                    file.write(f"{step} {os.getpid()}\\n")
                bomb = HERE / f"bomb at {step}"
                if bomb.exists():
                    bomb.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)

            return super().fit(problem, budget, seed=seed, progress=told)
"""
SWEEP = (
    *("sweep", "world.yaml", "--set", "reference=null", "--seeds", "0", "--set"),
    "methods={long: {method: './long.py:Long', epochs: 6, batch_size: 64, pairs_per_step: 3, hidden: [16, 8]}}",
)


@pytest.fixture
def long(world):
    """A world with one joint cell of 24 steps, which kills its process where a file tells it to."""
    world.write("long.py", LONG)
    world.harness(*SWEEP, "--storage", "undisturbed", "--backend", "serial")
    (world.folder / "steps").unlink()
    return world


def record(project, storage: str) -> CellRecord:
    store = RunStore(str(project.folder / storage / "world"))
    (key,) = store.finished()
    return store.record(key)


def steps(project) -> tuple[list[int], int]:
    """The steps that were done, in order, and by how many processes."""
    lines = [line.split() for line in (project.folder / "steps").read_text().splitlines()]
    return [int(step) for step, _ in lines], len({process for _, process in lines})


def ends_as_undisturbed(project) -> None:
    one, other = record(project, "undisturbed"), record(project, "runs")
    assert (other.status, other.warnings) == ("done", one.warnings)
    assert json.dumps([m.model_dump() for m in other.metrics]) == json.dumps([m.model_dump() for m in one.metrics])
    assert [(p.step, p.flops, p.scores) for p in other.curve] == [(p.step, p.flops, p.scores) for p in one.curve]
    flops = dict(other.ledger.flops)
    wasted = flops.pop("wasted")
    assert flops == one.ledger.flops
    # Two kills, each after a step and before it was kept.
    assert 0 < wasted < one.ledger.total / 6
    assert other.ledger.seconds["wasted"] > 0
    run = project.folder / "runs" / "world"
    assert list((run / "checkpoints").iterdir()) == list((run / "attempts").iterdir()) == []


DONE = [*range(1, 10), *range(9, 18), *range(17, 25)]
"""Steps that are done when the process dies after the ninth and the seventeenth, each before it was kept."""


def bombs(project, *at: int) -> None:
    for step in at:
        (Path(project.folder) / f"bomb at {step}").touch()


def test_the_serial_backend_goes_on_after_a_sigkill(long) -> None:
    bombs(long, 9, 17)
    for _ in range(2):
        long.harness(*SWEEP, "--backend", "serial", code=-signal.SIGKILL)
    long.harness(*SWEEP, "--backend", "serial")
    assert steps(long) == (DONE, 3)
    ends_as_undisturbed(long)


def test_ray_goes_on_after_a_worker_was_killed_and_so_does_the_next_sweep(long) -> None:
    """The first kill costs the cell its one more try, the second makes it fail; the next sweep goes on from there."""
    bombs(long, 9, 17)
    failed = long.harness(*SWEEP, "--backend", "ray", code=1)
    assert "the worker process died" in failed.stdout
    long.harness(*SWEEP, "--backend", "ray")
    assert steps(long) == (DONE, 3)
    ends_as_undisturbed(long)
