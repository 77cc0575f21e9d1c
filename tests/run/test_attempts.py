"""Work that was thrown away is booked: what attempts spent that failed, or whose process was killed."""

import json
import signal

import pytest

from harness.run.records import CellRecord
from harness.run.store import RunStore

FLAKY = """
    import os
    import signal
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.ape import Ape
    from harness.run import attempts

    attempts.NOTE_EVERY_S = 0.0
    TROUBLE = Path(__file__).parent / "trouble"


    @dataclass(frozen=True, kw_only=True)
    class Flaky(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            trouble = TROUBLE.read_text() if TROUBLE.exists() else ""
            if problem.pairs[0] == ("image01", "text00") and trouble == "fails":
                raise RuntimeError("out of luck")
            if problem.pairs[0] == ("image01", "text00") and trouble == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return fit
"""
SWEEP = (
    *("sweep", "world.yaml", "--backend", "serial", "--set", "reference=null", "--seeds", "0"),
    *("--set", "methods={flaky: {method: './flaky.py:Flaky', epochs: 1, batch_size: 64}}"),
)


@pytest.fixture
def flaky(world, without_plots):
    """A world whose cell of image01 and text00 gets into the trouble that a file names."""
    world.write("flaky.py", FLAKY)
    return world


def trouble(project, what: str | None) -> None:
    file = project.folder / "trouble"
    if what is None:
        file.unlink()
    else:
        file.write_text(what)


def store_of(project) -> RunStore:
    return RunStore(str(project.folder / "runs" / "world"))


def cell(project) -> CellRecord:
    """The record of the cell that gets into trouble."""
    store = store_of(project)
    records = [store.record(key) for key in store.finished()]
    (found,) = [record for record in records if record.pairs == [("image01", "text00")]]
    return found


def own(record: CellRecord) -> dict[str, float]:
    """What the attempt that ended with this record spent itself."""
    return {phase: flops for phase, flops in record.ledger.flops.items() if phase not in ("wasted", "runner_eval")}


def test_what_failed_attempts_spent_is_wasted(flaky, monkeypatch) -> None:
    trouble(flaky, "fails")
    attempts = []
    for _ in range(2):
        assert flaky.invoke(*SWEEP)[0] == 1
        attempts.append(cell(flaky))
    first, second = attempts
    assert [attempt.status for attempt in attempts] == ["failed", "failed"]
    assert "wasted" not in first.ledger.flops
    assert second.ledger.flops["wasted"] == first.ledger.total > 0
    trouble(flaky, None)
    monkeypatch.setattr("time.perf_counter", lambda: 7.0)  # the last attempt takes no time
    code, _, err = flaky.invoke(*SWEEP)
    assert code == 0, err

    done = cell(flaky)
    assert done.status == "done"
    assert own(done) == own(first) == own(second), "each attempt did the same work"
    assert done.ledger.flops["wasted"] == second.ledger.total == 2 * first.ledger.total
    assert done.ledger.total == 3 * first.ledger.total
    assert done.curve[-1].flops == first.ledger.total, "the curve is the attempt's own"
    seconds = first.ledger.seconds["fit"] + second.ledger.seconds["fit"]
    assert done.ledger.seconds["wasted"] == pytest.approx(seconds)
    assert done.wall_s == done.ledger.seconds["wasted"], "the cell's seconds are those of all attempts"
    assert done.device_s == done.ledger.seconds["fit"] == 0, "seconds on the device are this attempt's"
    assert store_of(flaky).lost_attempt(done.key) is None, "it is booked once"

    summary = json.loads((flaky.folder / "runs/world/report/summary.json").read_text())["methods"]["flaky"]
    assert summary["flops"]["wasted"] == done.ledger.flops["wasted"]
    others = sum(store_of(flaky).record(key).ledger.total for key in store_of(flaky).finished() - {done.key})
    assert summary["flops"]["total"] == pytest.approx(others + done.ledger.total)


def test_what_a_killed_attempt_had_noted_is_wasted(flaky) -> None:
    trouble(flaky, "is killed")
    flaky.harness(*SWEEP, code=-signal.SIGKILL)
    (path,) = (flaky.folder / "runs/world/attempts").glob("*.json")
    noted = store_of(flaky).lost_attempt(path.stem)
    assert noted is not None
    assert not store_of(flaky).has(path.stem), "no record says that it ran"
    trouble(flaky, None)
    code, _, err = flaky.invoke(*SWEEP)
    assert code == 0, err

    done = cell(flaky)
    assert done.key == path.stem
    assert done.ledger.flops["wasted"] == noted.total
    # The last note was made after the last of four steps, before the connector was scored.
    assert noted.total == done.ledger.total - noted.total - done.ledger.flops["eval"]
    assert done.ledger.seconds["wasted"] == noted.seconds["fit"]
    assert not path.exists()


def test_undisturbed_cells_waste_nothing(flaky) -> None:
    assert flaky.invoke(*SWEEP)[0] == 0
    store = store_of(flaky)
    assert all("wasted" not in store.record(key).ledger.flops for key in store.finished())
    assert not list((flaky.folder / "runs/world").glob("attempts/*")), "notes of finished attempts are gone"
