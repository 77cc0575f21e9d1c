"""Asynchronous halving under Ray Tune's ASHA: what is stopped, what goes on, what is kept."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness.backends.base import BACKENDS, BackendOptions, check_backend
from harness.plan import Plan, make_manifest
from harness.rungs import READY, SKIPPED, WAITING, chain, settle, stop, verdicts
from harness.store import CellRecord, LedgerRecord, PairMetrics, PlannedCell
from safetensors.torch import load_file

from baselines.asha import UNREPRODUCIBLE, ApeAsha
from harness.errors import HarnessError
from harness.method import AsyncPolicy, Budget, Policy

RACE = """
    name: race
    data: {kind: synthetic, rows: 400, image_encoders: 4, text_encoders: 2, image_dims: [12], text_dims: [8], seed: 0}
    methods:
      ape:      {epochs: 8, batch_size: 64, lr: 1.0e-2}
      ape_asha: {epochs: 8, batch_size: 64, lr: 1.0e-2, eta: 2}
    reference: ape
    seeds: [0]
    storage: runs
"""


class Watcher:
    """Keeps what was started and what ended; stops the sweep, as Ctrl-C would, after so many cells."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.begun: list[str] = []
        self.ended: list[CellRecord] = []
        self.stop_after = stop_after

    def started(self, cell: PlannedCell) -> None:
        self.begun.append(cell.key)

    def finished(self, record: CellRecord) -> None:
        self.ended.append(record)
        if len(self.ended) == self.stop_after:
            raise KeyboardInterrupt


def prepared(project: Any) -> Plan:
    project.write("race.yaml", RACE)
    plan = project.plan("race.yaml")
    plan.workspace.extract_missing()
    plan.store.write_manifest(make_manifest(plan))
    return plan


def pair_cells(plan: Plan) -> list[list[PlannedCell]]:
    """The rung cells of every pair."""
    return [chain(plan, cell) for cell in plan.cells if cell.rung == 0]


def statuses(plan: Plan, cells: list[PlannedCell]) -> list[str]:
    return [plan.store.record(cell.key).status for cell in cells]


def test_it_is_an_asynchronous_policy_and_no_other() -> None:
    assert isinstance(ApeAsha(), AsyncPolicy)
    assert not isinstance(ApeAsha(), Policy)
    assert ApeAsha(eta=4).reduction_factor == 4
    assert len(ApeAsha(eta=2).rungs(8, Budget(epochs=8))) == 3


def test_a_backend_without_a_scheduler_is_refused_before_anything_runs(temp_project: Any) -> None:
    temp_project.write("race.yaml", RACE)
    code, _, err = temp_project.invoke("sweep", "race.yaml", "--backend", "serial")
    assert code == 2
    assert "'ape_asha' stops pairs as results come in, for which the backend 'serial' has no scheduler" in err
    assert not (temp_project.folder / "runs").exists()
    plan = temp_project.plan("race.yaml")
    check_backend("serial", plan, ["ape"])
    assert check_backend("ray", plan, ["ape_asha"]) is BACKENDS.get("ray")
    with pytest.raises(HarnessError, match="unknown backend"):
        check_backend("seriel", plan, [])


def test_a_pairs_rungs_follow_each_other_and_end_where_it_was_stopped_or_failed(temp_project: Any) -> None:
    from harness.cells import run_cell

    plan = prepared(temp_project)
    stopped, failed, running, waiting = pair_cells(plan)[:4]
    for cell in (stopped[0], failed[0], running[0]):
        run_cell(plan, cell)
    stop(plan, stopped[0])
    record = plan.store.record(failed[0].key)
    plan.store.write_cell(record.model_copy(update={"status": "failed", "metrics": []}))
    found = verdicts(plan)
    assert [found[c.key] for c in stopped] == [READY, SKIPPED, SKIPPED]
    assert [found[c.key] for c in failed] == [READY, SKIPPED, SKIPPED]
    assert [found[c.key] for c in running] == [READY, READY, WAITING]
    assert [found[c.key] for c in waiting] == [READY, WAITING, WAITING]
    settle(plan)
    assert statuses(plan, stopped) == ["done", "skipped", "skipped"]
    assert statuses(plan, failed) == ["failed", "skipped", "skipped"]
    missing = {cell.key for cell in plan.missing()}
    assert missing >= {failed[0].key, running[1].key, waiting[0].key}
    assert not missing & {stopped[0].key, stopped[1].key, running[0].key, running[2].key}
    plan.store.drop_cell(failed[0].key)  # as a sweep does before it tries again
    settle(plan)
    assert not plan.store.finished(cell.key for cell in failed), "decided anew when the rung has run"


@pytest.mark.parametrize("eta", [2, 3, 1.7])
@pytest.mark.parametrize("metric", ["text_to_image_r5", "median_rank"])
def test_the_scheduler_judges_at_every_rung(temp_project: Any, eta: float, metric: str) -> None:
    """Tune's milestones are powers of the factor: of what is told, so that no rung between them is passed over."""
    from harness.backends import ray_tune

    temp_project.write("race.yaml", RACE)
    plan = temp_project.plan(
        "race.yaml",
        f"methods.ape_asha.eta={eta}",
        "methods.ape_asha.warmup=0",
        f"selection={{task: retrieval, metric: {metric}}}",
    )
    scheduler, rungs = ray_tune._asha(plan, "ape_asha"), pair_cells(plan)[0]
    assert len(rungs) >= 2
    sign = 1.0 if plan.higher_is_better else -1.0

    def judged(name: str, cell: PlannedCell, score: float) -> str:
        trial: Any = SimpleNamespace(trial_id=name)
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        return scheduler.on_trial_result(None, trial, ray_tune._told(plan, cell, scored(plan, cell, sign * score)))  # type: ignore[arg-type]

    for cell in rungs[:-1]:
        assert judged(f"first {cell.rung}", cell, 0.5) == "CONTINUE"
        assert judged(f"better {cell.rung}", cell, 0.6) == "CONTINUE"
        assert judged(f"worse {cell.rung}", cell, 0.4) == "STOP"
    assert judged("last", rungs[-1], 0.9) == "STOP"


def scored(plan: Plan, cell: PlannedCell, score: float) -> CellRecord:
    """A record with nothing but a score."""
    entry = plan.entries[cell.label]
    return CellRecord(
        key=cell.key,
        label=cell.label,
        method=entry.name,
        kind="per_pair",
        version=1,
        seed=0,
        pairs=cell.pairs,
        status="done",
        metrics=[PairMetrics(image=cell.pairs[0][0], text=cell.pairs[0][1], score=score)],
        ledger=LedgerRecord(flops={}, seconds={}, updates=0, samples=0),
    )


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_race_on_ray(temp_project: Any, without_plots: None) -> None:
    """Interrupted and resumed: nothing runs twice, survivors are ape's connectors, the rest keeps its rung's score."""
    plan = prepared(temp_project)
    store, ray = plan.store, BACKENDS.get("ray")
    first = Watcher(6)
    with pytest.raises(KeyboardInterrupt):
        ray(plan, [c for c in plan.missing() if c.label == "ape_asha"], first, BackendOptions())
    kept = {path: path.stat().st_mtime_ns for path in (store.path / "cells").glob("*.json")}
    assert len(kept) >= 6
    code, out, err = temp_project.invoke("sweep", "race.yaml")
    assert code == 0, out + err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    reached = []
    for rungs in pair_cells(plan):
        found = statuses(plan, rungs)
        ran = found.count("done")
        assert found == ["done"] * ran + ["skipped"] * (3 - ran), "no hole, and nothing is left open"
        reached.append(ran)
        for cell in rungs[:ran]:
            record = store.record(cell.key)
            assert math.isfinite(record.metrics[0].score)
            assert record.metrics[0].test["retrieval"]
            assert record.warnings[0] == UNREPRODUCIBLE
    assert max(reached) == 3
    assert min(reached) < 3
    assert plan.missing() == []

    for rungs, ran in zip(pair_cells(plan), reached, strict=True):
        if ran == 3:
            twin = next(c for c in plan.cells if c.label == "ape" and c.pairs == rungs[0].pairs)
            assert store.record(rungs[2].key).metrics == store.record(twin.key).metrics
            ours, theirs = (load_file(store.connectors_path(c.key)) for c in (rungs[2], twin))
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert list(store.path.glob("connectors/*.state.safetensors")) == []
    assert sorted(path.name for path in store.path.iterdir()) == ["cells", "connectors", "manifest.json", "report"]

    report = (store.path / "report" / "report.md").read_text()
    assert UNREPRODUCIBLE in report
    row = json.loads((store.path / "report" / "summary.json").read_text())["methods"]["ape_asha"]
    assert row["status"] == {"done": sum(reached), "failed": 0, "diverged": 0, "missing": 0}
    spent = [store.record(cell.key).ledger.total for rungs in pair_cells(plan) for cell in rungs]
    assert row["flops"]["total"] == pytest.approx(sum(spent))
    assert_again_nothing_runs(temp_project, store.path)


def assert_again_nothing_runs(project: Any, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    code, _, err = project.invoke("sweep", "race.yaml")
    assert (code, "nothing to run" in err) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == before


DEADLY = """
    import os
    import signal
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.asha import ApeAsha

    HERE = Path(__file__).parent


    @dataclass(frozen=True, kw_only=True)
    class Deadly(ApeAsha):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            name = "-".join(problem.pairs[0])
            if (HERE / "always" / name).exists() or (problem.rung.state and (HERE / "once" / name).exists()):
                (HERE / "once" / name).unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(problem, budget, seed=seed, progress=progress)
"""


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_dead_worker_costs_its_rung_and_a_deadly_pair_is_tried_again(temp_project: Any, without_plots: None) -> None:
    temp_project.write("deadly.py", DEADLY)
    race = RACE.replace("ape_asha: {", "race: {method: './deadly.py:Deadly', ")
    temp_project.write("race.yaml", race)
    names = [f"image0{image}-text0{text}" for image in range(4) for text in range(2)]
    for name in names[1:]:
        temp_project.write(f"once/{name}", "")  # in its second rung, if it gets there
    temp_project.write(f"always/{names[0]}", "")
    code, out, err = temp_project.invoke("sweep", "race.yaml", "--methods", "race")
    assert code == 1, out + err
    plan = temp_project.plan("race.yaml")
    doomed, *others = pair_cells(plan)
    assert statuses(plan, doomed) == ["failed", "skipped", "skipped"]
    assert "worker process died" in (plan.store.record(doomed[0].key).error or "")
    assert len(list((temp_project.folder / "once").iterdir())) < 7, "a worker died in a second rung"
    found = [statuses(plan, rungs) for rungs in others]
    assert ["done"] * 3 in found
    assert all(one == sorted(one) for one in found), "done, then skipped, and nothing failed"
    assert {status for one in found for status in one} <= {"done", "skipped"}
    kept = {cell.key: plan.store.cell_path(cell.key).stat().st_mtime_ns for rungs in others for cell in rungs}
    (temp_project.folder / "always" / names[0]).unlink()
    code, out, err = temp_project.invoke("sweep", "race.yaml", "--methods", "race")
    assert code == 0, out + err
    assert statuses(plan, doomed)[0] == "done"
    assert set(statuses(plan, doomed)) <= {"done", "skipped"}
    assert {key: plan.store.cell_path(key).stat().st_mtime_ns for key in kept} == kept
