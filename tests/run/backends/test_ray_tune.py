"""Ray Tune: the same cells as the serial backend's, equal number by number."""

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import pytest

from harness.errors import HarnessError
from harness.run.backends.base import Listener
from harness.run.records import LedgerRecord
from harness.run.stopping import missing


def cells(run: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (run / "cells").glob("*.json")}


@pytest.mark.slow
def test_two_workers_compute_what_one_process_computes_and_nothing_is_redone(
    world, finished_world, without_plots
) -> None:
    """In its own process and from another folder, as a user would; without ``storage``, so below the current one.

    The interpreter's path has a space in it, which Ray by itself cannot start workers with.
    """
    text = (world.folder / "world.yaml").read_text()
    world.write("sweeps/world.yaml", text.replace("storage: runs", ""))
    (world.folder / "a venv").symlink_to(sys.prefix)
    done = world.harness("sweep", "sweeps/world.yaml", python=world.folder / "a venv" / "bin" / "python")
    run = world.folder / "runs" / "world"
    assert "cells 14/14 done · 0 failed · 0 running" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert str(run / "report" / "index.html") in done.stdout

    by_ray, by_serial = cells(run), cells(finished_world / "runs" / "world")
    assert set(by_ray) == set(by_serial)
    for key, cell in by_ray.items():
        assert cell["metrics"] == by_serial[key]["metrics"]
        assert cell["ledger"]["flops"] == by_serial[key]["ledger"]["flops"]
        assert [point["scores"] for point in cell["curve"]] == [p["scores"] for p in by_serial[key]["curve"]]
        for kind in ("npz", "safetensors"):
            assert list(run.glob(f"*/{key}.{kind}"))
    left = {path.relative_to(run).parts[0] for path in run.rglob("*") if path.is_file()}
    assert left == {"cells", "connectors", "manifest.json", "report"}

    before = {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    code, _, err = world.invoke("sweep", "sweeps/world.yaml")
    assert (code, "nothing to run: 14 of 14 cells are done" in err) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == before


def test_a_cell_that_no_node_can_hold_is_refused(world, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.run.backends import ray_cluster

    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    monkeypatch.setattr(ray_cluster.ray, "nodes", lambda: [node, {"Alive": False, "Resources": {"CPU": 99.0}}])
    ray_cluster.check_resources(world.plan("world.yaml", "methods.ape.resources={cpu: 4, gpu: 0.5}").cells)
    for wanted in ("{cpu: 5}", "{cpu: 1, gpu: 2}"):
        plan = world.plan("world.yaml", f"methods.ape.resources={wanted}")
        with pytest.raises(HarnessError, match=r"methods.ape.resources: asks for \d CPU and \d GPU, which no node"):
            ray_cluster.check_resources(plan.cells)


def test_each_cell_asks_for_its_methods_resources(world) -> None:
    from harness.run.backends import ray_tune

    plan = world.plan("world.yaml", "methods.ape.resources={cpu: 2, gpu: 0.25}")
    bundles = {cell.label: ray_tune._resources(cell).bundles for cell in plan.cells}
    assert bundles == {"ape": [{"CPU": 2.0, "GPU": 0.25}], "hyma": [{"CPU": 1.0}]}


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        ("", "the worker process died (out of memory?)"),
        ("Failure # 1 (at noon)\nThe actor died unexpectedly before finishing this task.\n", "the worker process died"),
        (
            'Failure # 1 (at noon)\nray::f()\n  File "a.py", line 3, in f\nKeyError: 1\n'
            'Failure # 2 (at one)\nray::f()\n  File "a.py", line 3, in f\nharness.errors.HarnessError: no bank here\n',
            "harness.errors.HarnessError: no bank here",
        ),
    ],
    ids=["no trace", "died", "raised"],
)
def test_a_cell_whose_worker_is_lost_is_recorded_with_the_reason(world, tmp_path, trace: str, told: str) -> None:
    from harness.run.backends import ray_tune

    class Trial:
        error_file = str(tmp_path / "error.txt") if trace else None
        config: ClassVar = {"words": str(tmp_path / "words")}

    (tmp_path / "error.txt").write_text(trace)
    plan = world.plan()
    store, cell = world.store(plan), plan.cells[-1]
    noted = LedgerRecord(flops={"connector": 7.0}, seconds={"fit": 2.0}, updates=3, samples=9)
    store.note_attempt(cell.key, noted)  # what the worker had noted before it was lost
    record = ray_tune._lost(plan, store, cell, Trial())
    assert record.status == "failed"
    assert (record.error or "").startswith(told)
    assert "\n" not in (record.error or "")
    assert (record.ledger.flops, record.ledger.seconds) == ({"wasted": 7.0}, {"wasted": 2.0})
    store.write_cell(record)
    assert cell.key in {other.key for other in missing(plan, store)}, "and is tried again by the next sweep"


def test_an_address_where_nobody_answers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.run.backends import ray_cluster

    def nobody(**options: object) -> None:
        raise ConnectionError(f"could not reach {options['address']}")

    monkeypatch.setattr(ray_cluster.ray, "init", nobody)
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    told = pytest.raises(HarnessError, match=r"--address: no Ray cluster answers at '10.0.0.9:6379'")
    with told, ray_cluster.cluster("10.0.0.9:6379"):
        pass


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where this process was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_is_not_lost_where_a_library_swallows_it(world) -> None:
    from harness.run.backends.ray_tune import _Callback
    from harness.run.interrupts import stoppable

    plan = world.plan()
    callback = _Callback(plan, world.store(plan), Mock(spec=Listener))
    before = signal.getsignal(signal.SIGINT)
    with stoppable():
        callback.on_step_begin(0, [])
        with suppress(KeyboardInterrupt):  # as a bare except in a library's clean-up would
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            callback.on_step_begin(1, [])
    assert signal.getsignal(signal.SIGINT) is before
    with stoppable():
        callback.on_step_begin(0, [])
