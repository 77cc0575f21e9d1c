"""Cells that fail: a record whatever happens, and the others run."""

import numpy as np
import pytest
import torch

from harness.run.records import CellRecord
from harness.run.stopping import missing
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from reports.analysis import analyse

BAD = """
    from dataclasses import dataclass, replace
    from typing import ClassVar

    import torch

    from baselines.ape import Ape
    from harness.errors import Diverged
    from harness.method import Connector


    @dataclass(frozen=True, kw_only=True)
    class Bad(Ape):
        how: str = "raise"
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            if problem.pairs[0] != ("image01", "text00"):
                return fit
            if self.how == "raise":
                raise RuntimeError("first line\\nsecond line")
            if self.how == "diverge":
                raise Diverged(7, "the loss is nan")
            if self.how == "interrupt":
                raise KeyboardInterrupt
            if self.how == "nan score":
                return replace(fit, scores=dict.fromkeys(problem.pairs, float("nan")))
            if self.how == "no score":
                return replace(fit, scores={})
            ((pair, made),) = fit.connectors.items()
            tensors = {name: torch.full_like(tensor, torch.nan) for name, tensor in made.tensors.items()}
            if self.how == "nan layers":
                return replace(fit, connectors={pair: [(tensors["layers.0.weight"], tensors["layers.0.bias"])]})
            return replace(fit, connectors={pair: Connector(made.kind, tensors)})
"""


def only(plan: Plan, store: RunStore, status: str) -> list[CellRecord]:
    records = [store.record(cell.key) for cell in plan.cells]
    return [record for record in records if record.status == status]


def bad_world(world, how: str) -> tuple[Plan, RunStore]:
    world.write("bad.py", BAD)
    methods = f"methods={{bad: {{method: './bad.py:Bad', epochs: 1, batch_size: 64, how: {how}}}}}"
    return world.run("world.yaml", methods, "reference=null", "seeds=[0]")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", "RuntimeError: first line"),
        ("nan score", "ValueError: no finite score for 1 of 1 pairs, first ('image01', 'text00')"),
        ("no score", "ValueError: no finite score for 1 of 1 pairs, first ('image01', 'text00')"),
        ("nan weights", "ValueError: no finite connector of 1 of 1 pairs, first ('image01', 'text00')"),
        ("nan layers", "ValueError: no finite connector of 1 of 1 pairs, first ('image01', 'text00')"),
    ],
)
def test_a_failing_cell_is_recorded_and_the_others_run(world, how: str, told: str) -> None:
    plan, store = bad_world(world, how)
    (failed,) = only(plan, store, "failed")
    assert failed.error == told
    assert "bad.py" in (failed.traceback or "") or how != "raise"
    assert failed.pairs == [("image01", "text00")]
    assert failed.metrics == []
    assert failed.ledger.flops["connector"] > 0, "what it spent before is booked"
    assert failed.method == "bad.py:Bad"
    assert len(only(plan, store, "done")) == 5
    assert [cell.key for cell in missing(plan, store)] == [failed.key], "only the failed one is tried again"
    assert store.connectors(failed.key) is None


def test_a_divergence_is_recorded_with_its_step_and_not_tried_again(world) -> None:
    plan, store = bad_world(world, "diverge")
    (diverged,) = only(plan, store, "diverged")
    assert (diverged.diverged_step, diverged.error) == (7, "diverged at step 7: the loss is nan")
    assert missing(plan, store) == []


def test_an_interrupted_cell_leaves_no_record(world) -> None:
    with pytest.raises(KeyboardInterrupt):
        bad_world(world, "interrupt")
    done = list((world.folder / "runs" / "world" / "cells").glob("*.json"))
    assert len(done) == 2, "image00 x text00 and image00 x text01 were finished"


def test_a_huge_learning_rate_diverges_and_what_was_spent_is_booked(world) -> None:
    huge = [f"methods.{label}.{field}" for label in ("ape", "hyma") for field in ("lr=1e38", "clip=null")]
    plan, store = world.run("world.yaml", *huge, "seeds=[0]")
    for record in (store.record(cell.key) for cell in plan.cells):
        assert record.status == "diverged"
        assert record.diverged_step is not None
        assert 1 <= record.diverged_step <= 24
        assert f"diverged at step {record.diverged_step}: " in (record.error or "")
        assert record.ledger.flops["logits"] > 0
        assert record.metrics == []


def test_a_timeout_is_recorded_and_tried_again(world) -> None:
    plan, store = world.run("world.yaml", "methods.ape.resources.timeout_s=1e-6", "seeds=[0]")
    late = only(plan, store, "timeout")
    assert [record.label for record in late] == ["ape"] * 6
    assert all(r.error == "stopped after 1e-06 s at step 1 of 12" and r.ledger.updates == 1 for r in late)
    assert len(missing(plan, store)) == 6
    plan, store = world.run("world.yaml", "seeds=[0]")
    assert len(only(plan, store, "done")) == len(plan.cells)


def test_a_cell_that_wants_a_gpu_where_there_is_none_says_so(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan, store = world.run("world.yaml", "methods.hyma.resources.gpu=1", "seeds=[0]")
    (failed,) = only(plan, store, "failed")
    assert failed.error == (
        "methods.hyma.resources: the cell asks for a GPU and there is none here "
        "(set gpu: 0, or run on a machine with a GPU)"
    )


def test_a_pair_that_diverges_alone_is_recorded_and_ranks_last(world) -> None:
    stacked = "{method: ape_stacked, epochs: 3, batch_size: 64, lr: 1.0e-2, clip: null, warmup: 0"
    lrs = "lrs: {image01 + text00: 1.0e+38}"
    plan, store = world.run(
        "world.yaml", f"methods.wild={stacked}, {lrs}}}", f"methods.tame={stacked}}}", "seeds=[0]", "reference=tame"
    )
    wild, tame = (store.record(c.key) for label in ("wild", "tame") for c in plan.cells if c.label == label)
    assert wild.status == "done"
    (lost,) = wild.lost
    assert (lost.image, lost.text) == ("image01", "text00")
    assert 1 <= lost.step <= 12
    assert f"diverged at step {lost.step}: " in lost.error
    number = wild.pairs.index(("image01", "text00"))
    assert len(wild.metrics) == len(wild.pairs) - 1
    assert [m.score for m in wild.metrics] == pytest.approx(
        [m.score for n, m in enumerate(tame.metrics) if n != number], abs=0.05
    )
    assert [score is None for score in wild.curve[-1].scores] == [n == number for n in range(6)]

    analysis = analyse(store)
    assert [(p.label, p.pairs, p.alone) for p in analysis.problems if p.status == "diverged"] == [
        ("wild", [("image01", "text00")], True)
    ]
    data = analysis.methods["wild"].data
    place = analysis.manifest.pairs.index(("image01", "text00"))
    assert data.ran.all()
    assert np.isnan(data.scores[0]).tolist() == [n == place for n in range(6)]
    assert np.isfinite(analysis.methods["wild"].summary.spearman.value or np.nan)
    assert any("1 pair diverged alone" in gap.line for gap in analysis.gaps)
    code, out, _ = world.invoke("status", "world")
    assert (code, "diverged: wild seed 0 image01 x text00" in out) == (0, True)
