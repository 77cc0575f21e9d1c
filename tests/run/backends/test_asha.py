"""Asynchronous halving under Ray Tune's ASHA: what is stopped, what goes on, what is kept."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load

from baselines.asha import UNREPRODUCIBLE, ApeAsha
from harness.contract.budget import Budget
from harness.contract.stopping import AsyncPolicy, Policy
from harness.errors import HarnessError
from harness.run.backends.base import BACKENDS, BackendOptions, backend_for
from harness.run.cell_records import cell_record
from harness.run.records import CellRecord, PairMetrics
from harness.run.stopping import missing, record_skipped, stop, verdicts
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from tests.watching import Watcher

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


def prepared(project: Any) -> tuple[Plan, RunStore]:
    project.write("race.yaml", RACE)
    return project.prepared("race.yaml")


def pair_cells(plan: Plan) -> list[list[PlannedCell]]:
    """The rung cells of every pair."""
    return [plan.rungs_from(cell) for cell in plan.cells if cell.rung == 0]


def statuses(store: RunStore, cells: list[PlannedCell]) -> list[str]:
    return [store.record(cell.key).status for cell in cells]


def written(store: RunStore, key: str) -> Path:
    return Path(store.where) / "cells" / f"{key}.json"


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
    backend_for("serial", plan, ["ape"])
    assert isinstance(backend_for("ray", plan, ["ape_asha"]), BACKENDS.get("ray"))
    with pytest.raises(HarnessError, match="unknown backend"):
        backend_for("seriel", plan, [])


def test_a_pairs_rungs_follow_each_other_and_end_where_it_was_stopped_or_failed(temp_project: Any) -> None:
    from harness.run.cell import run_cell

    plan, store = prepared(temp_project)
    stopped, failed, running, waiting = pair_cells(plan)[:4]
    for cell in (stopped[0], failed[0], running[0]):
        run_cell(plan, store, cell)
    stop(plan, store, stopped[0])
    record = store.record(failed[0].key)
    store.write_cell(record.model_copy(update={"status": "failed", "metrics": []}))
    found = verdicts(plan, store)
    assert [found[c.key] for c in stopped] == ["ready", "skipped", "skipped"]
    assert [found[c.key] for c in failed] == ["ready", "skipped", "skipped"]
    assert [found[c.key] for c in running] == ["ready", "ready", "waiting"]
    assert [found[c.key] for c in waiting] == ["ready", "waiting", "waiting"]
    record_skipped(plan, store)
    assert statuses(store, stopped) == ["done", "skipped", "skipped"]
    assert statuses(store, failed) == ["failed", "skipped", "skipped"]
    now = {cell.key for cell in missing(plan, store)}
    assert now >= {failed[0].key, running[1].key, waiting[0].key}
    assert not now & {stopped[0].key, stopped[1].key, running[0].key, running[2].key}
    store.drop_cell(failed[0].key)  # as a sweep does before it tries again
    record_skipped(plan, store)
    assert not store.finished(cell.key for cell in failed), "decided anew when the rung has run"


@pytest.mark.parametrize("eta", [2, 3, 1.7])
@pytest.mark.parametrize("metric", ["text_to_image_r5", "median_rank"])
def test_the_scheduler_judges_at_every_rung(temp_project: Any, eta: float, metric: str) -> None:
    """Tune's milestones are powers of the factor: of what is told, so that no rung between them is passed over."""
    from harness.run.backends import ray_tune, ray_worker

    temp_project.write("race.yaml", RACE)
    plan = temp_project.plan(
        "race.yaml",
        f"methods.ape_asha.eta={eta}",
        "methods.ape_asha.warmup=0",
        f"selection={{task: retrieval, metric: {metric}}}",
    )
    scheduler, rungs = ray_tune._asha(plan, "ape_asha"), pair_cells(plan)[0]
    assert len(rungs) >= 2
    sign = 1.0 if plan.resolved.higher_is_better else -1.0

    def judged(name: str, cell: PlannedCell, score: float) -> str:
        trial: Any = SimpleNamespace(trial_id=name)
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        return scheduler.on_trial_result(None, trial, ray_worker.reported(plan, cell, scored(plan, cell, sign * score)))  # type: ignore[arg-type]

    for cell in rungs[:-1]:
        assert judged(f"first {cell.rung}", cell, 0.5) == "CONTINUE"
        assert judged(f"better {cell.rung}", cell, 0.6) == "CONTINUE"
        assert judged(f"worse {cell.rung}", cell, 0.4) == "STOP"
    assert judged("last", rungs[-1], 0.9) == "STOP"


def scored(plan: Plan, cell: PlannedCell, score: float) -> CellRecord:
    """A record with nothing but a score."""
    (pair,) = cell.pairs
    return cell_record(plan, cell, "done", metrics=[PairMetrics(image=pair[0], text=pair[1], score=score)])


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_race_on_ray(temp_project: Any, without_plots: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Interrupted and resumed: nothing runs twice, survivors are ape's connectors, the rest keeps its rung's score."""
    plan, store = prepared(temp_project)
    ray, folder = BACKENDS.get("ray")(), Path(store.where)
    first = Watcher(6)
    with pytest.raises(KeyboardInterrupt):
        ray.run(plan, store, [c for c in missing(plan, store) if c.label == "ape_asha"], first, BackendOptions())
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}
    assert len(kept) >= 6
    capfd.readouterr()
    code, out, err = temp_project.invoke("sweep", "race.yaml")
    assert code == 0, out + err
    assert "Error" not in capfd.readouterr().err, "Tune has nothing to complain of"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    reached = []
    for rungs in pair_cells(plan):
        found = statuses(store, rungs)
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
    assert missing(plan, store) == []

    for rungs, ran in zip(pair_cells(plan), reached, strict=True):
        if ran == 3:
            twin = next(c for c in plan.cells if c.label == "ape" and c.pairs == rungs[0].pairs)
            assert store.record(rungs[2].key).metrics == store.record(twin.key).metrics
            ours, theirs = (load(store.connectors(c.key) or b"") for c in (rungs[2], twin))
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert list(folder.glob("connectors/*.state.safetensors")) == []
    left = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    assert left == {"cells", "connectors", "manifest.json", "report"}, "no note of an attempt, nothing of Tune's own"

    report = (folder / "report" / "report.md").read_text()
    assert UNREPRODUCIBLE in report
    row = json.loads((folder / "report" / "summary.json").read_text())["methods"]["ape_asha"]
    assert row["status"] == {"done": sum(reached), "failed": 0, "diverged": 0, "missing": 0}
    spent = [store.record(cell.key).ledger.total for rungs in pair_cells(plan) for cell in rungs]
    assert row["flops"]["total"] == pytest.approx(sum(spent))
    assert_again_nothing_runs(temp_project, folder)


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
    store = temp_project.store(plan)
    doomed, *others = pair_cells(plan)
    assert statuses(store, doomed) == ["failed", "skipped", "skipped"]
    assert "worker process died" in (store.record(doomed[0].key).error or "")
    assert len(list((temp_project.folder / "once").iterdir())) < 7, "a worker died in a second rung"
    found = [statuses(store, rungs) for rungs in others]
    assert ["done"] * 3 in found
    assert all(one == sorted(one) for one in found), "done, then skipped, and nothing failed"
    assert {status for one in found for status in one} <= {"done", "skipped"}
    kept = {cell.key: written(store, cell.key).stat().st_mtime_ns for rungs in others for cell in rungs}
    (temp_project.folder / "always" / names[0]).unlink()
    code, out, err = temp_project.invoke("sweep", "race.yaml", "--methods", "race")
    assert code == 0, out + err
    assert statuses(store, doomed)[0] == "done"
    assert set(statuses(store, doomed)) <= {"done", "skipped"}
    assert {key: written(store, key).stat().st_mtime_ns for key in kept} == kept
