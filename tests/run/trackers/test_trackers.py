"""Trackers hear of every finished cell once, and stop nothing."""

import importlib
import importlib.util
import logging
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.errors import HarnessError
from harness.run.execute import prepare, run_missing
from harness.run.records import CellRecord, CheckpointRecord, LedgerRecord, PairMetrics
from harness.run.stage_runs import Unheard
from harness.run.trackers.base import TRACKERS, TrackedCell, Tracking, check_trackers, tracked

RECORD = CellRecord(
    key="0123456789abcdef",
    label="grid",
    method="ape",
    kind="joint",
    version=1,
    seed=3,
    pairs=[("a", "x"), ("b", "x")],
    status="done",
    metrics=[
        PairMetrics(image="a", text="x", score=0.2, test={"retrieval": {"r5": 0.1}}),
        PairMetrics(image="b", text="x", score=0.4, test={"retrieval": {"r5": 0.5}}),
    ],
    curve=[
        CheckpointRecord(
            step=n,
            epoch=n,
            updates_per_pair=n,
            samples_per_pair=n,
            flops=10.0 * n,
            seconds=1.0 * n,
            scores=[0.1 * n, None],
        )
        for n in (1, 2)
    ],
    ledger=LedgerRecord(flops={"connector": 30.0}, seconds={}, updates=2, samples=2),
)


def installed(name: str) -> bool:
    return importlib.util.find_spec(TRACKERS.get(name).package) is not None


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of all event files below a folder, read by hand: length, its checksum, a record, its checksum."""
    Event: Any = importlib.import_module("tensorboardX.proto.event_pb2").Event

    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag].append((event.step, value.simple_value))
    return found


def test_several_pairs_are_a_mean_and_stand_beside_it() -> None:
    cell = tracked("run", RECORD)
    assert cell.name == "grid seed 3"
    assert [point.values["score"] for point in cell.curve] == pytest.approx([0.1, 0.2])
    assert cell.curve[1].values["score/a x x"] == pytest.approx(0.2)
    assert "score/b x x" not in cell.curve[1].values, "a lost pair has no score"
    assert cell.summary["test/retrieval/r5"] == pytest.approx(0.3)
    assert cell.summary["final/score"] == pytest.approx(0.3)
    assert cell.summary["total/flops"] == 30.0


def swept(project, *trackers: str):
    """Run what the world lacks with these trackers: plan and store."""
    plan = project.plan(
        "world.yaml",
        "seeds=[0]",
        f"trackers=[{', '.join(trackers)}]",
        "methods={spectral: {}, ape: {epochs: 1, batch_size: 64}}",
        "reference=null",
    )
    store = project.store(plan)
    todo = prepare(plan, store, lambda resolved: resolved.extraction.missing(list(resolved.banks.values())))
    run_missing(plan, store, todo, Unheard(), backend="serial")
    return plan, store


@pytest.mark.skipif(not installed("tensorboard"), reason="tensorboardX is not installed")
def test_tensorboard_holds_what_the_store_holds(world) -> None:
    plan, store = swept(world, "tensorboard")
    folder = world.folder / "runs/world/trackers/tensorboard"
    runs = [path for path in folder.iterdir() if path.name != ".told"]
    assert len(runs) == len(plan.cells)
    for cell in plan.cells:
        record = store.record(cell.key)
        (own,) = (path for path in runs if path.name.endswith(cell.key[:8]))
        found = events(own)
        scores = [(p.step, sum(s for s in p.scores if s is not None) / len(p.scores)) for p in record.curve]
        assert found["score"] == [(step, pytest.approx(score, rel=1e-5)) for step, score in scores]
        tests = [m.test["retrieval"]["text_to_image_r5"] for m in record.metrics]
        ((step, value),) = found["test/retrieval/text_to_image_r5"]
        assert value == pytest.approx(sum(tests) / len(tests), rel=1e-5)
    before = {file: file.stat().st_size for file in folder.rglob("events*")}
    swept(world, "tensorboard")
    assert {file: file.stat().st_size for file in folder.rglob("events*")} == before, "no cell is told twice"


@pytest.mark.skipif(not installed("tensorboard"), reason="tensorboardX is not installed")
def test_a_tracker_that_comes_later_hears_of_what_was_finished(world) -> None:
    plan, _ = swept(world)
    assert not (world.folder / "runs/world/trackers").exists()
    swept(world, "tensorboard")
    assert len(list((world.folder / "runs/world/trackers/tensorboard/.told").iterdir())) == len(plan.cells)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_others_write_a_cell(name: str, tmp_path: Path, monkeypatch) -> None:
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    TRACKERS.get(name)(tmp_path / "written").write(tracked("run", RECORD))
    assert any(file.stat().st_size for file in (tmp_path / "written").rglob("*") if file.is_file())


def test_a_missing_package_is_one_line_before_anything_runs(world, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else find(name, *more))
    code, _, err = world.invoke("sweep", "world.yaml", "--backend", "serial", "--track", "wandb")
    assert code == 2
    assert "tracker 'wandb' needs the package wandb, which is not installed (pip install wandb)" in err
    assert not (world.folder / "runs").exists()
    with pytest.raises(HarnessError, match=r"unknown tracker 'tensorbord' \(did you mean 'tensorboard'\?\)"):
        check_trackers(["tensorbord"])


class Broken:
    """Its server is away."""

    package: ClassVar[str] = "json"
    asked: ClassVar[list[str]] = []

    def __init__(self, folder: Path) -> None: ...

    def write(self, cell: TrackedCell) -> None:
        self.asked.append(cell.key)
        raise ConnectionError("no\nserver")


def test_a_tracker_that_breaks_down_stops_nothing(tmp_path: Path, caplog) -> None:
    Broken.asked.clear()
    tracking: Any = Tracking([], "run", str(tmp_path))
    tracking._open = {"broken": Broken(tmp_path)}
    tracking._told = {"broken": tmp_path / "told"}
    with caplog.at_level(logging.WARNING):
        tracking.tell(RECORD)
        tracking.tell(RECORD)
    assert Broken.asked == [RECORD.key], "not asked again"
    assert "tracker broken is not told any more: ConnectionError: no server" in caplog.text
    assert not (tmp_path / "told").exists()
