"""Running cells: the same numbers every time, and a record whatever happens."""

import numpy as np
import pytest
import torch
from harness.cells import exact_threads, reopen_plan, run_cell
from harness.metrics import from_ranks
from harness.plan import Plan
from harness.store import CellRecord
from safetensors import safe_open

from reports.analysis import analyse
from reports.text import answer

BAD = """
    from dataclasses import dataclass, replace
    from typing import ClassVar

    import torch

    from baselines.ape import Ape
    from harness.errors import Diverged


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
            nan = [(torch.full_like(w, torch.nan), b) for w, b in fit.connectors[problem.pairs[0]]]
            return replace(fit, connectors={problem.pairs[0]: nan})
"""


def by_key(plan: Plan) -> dict[str, CellRecord]:
    return {cell.key: plan.store.record(cell.key) for cell in plan.cells}


def only(plan: Plan, status: str) -> list[CellRecord]:
    return [record for record in by_key(plan).values() if record.status == status]


def bad_world(world, how: str) -> Plan:
    world.write("bad.py", BAD)
    methods = f"methods={{bad: {{method: './bad.py:Bad', epochs: 1, batch_size: 64, how: {how}}}}}"
    return world.run("world.yaml", methods, "reference=null", "seeds=[0]")


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(finished, world) -> None:
    """One ran by ``harness sweep`` with two threads before, this one here with four."""
    torch.set_num_threads(4)
    try:
        again = by_key(world.run())
    finally:
        torch.set_num_threads(2)
    first = by_key(finished.plan())
    assert len(first) == 14
    for key, record in first.items():
        assert again[key].metrics == record.metrics
        assert [point.scores for point in again[key].curve] == [point.scores for point in record.curve]
        assert again[key].ledger.flops == record.ledger.flops


def test_another_seed_gives_other_numbers(finished) -> None:
    records = by_key(finished.plan()).values()
    for label in ("ape", "hyma"):
        first, second = ([r.metrics[0].test for r in records if r.label == label and r.seed == seed] for seed in (0, 1))
        assert first != second


def test_a_pair_of_a_grid_trains_as_it_does_alone(finished, world) -> None:
    """Initial weights and batches do not depend on the other pairs."""
    ape = "methods={ape: {epochs: 3, batch_size: 64, lr: 0.01}}"
    alone = world.run("world.yaml", "image_encoders=[image02]", "text_encoders=[text01]", ape)
    assert len(alone.cells) == 2
    grid = by_key(finished.plan())
    for key, record in by_key(alone).items():
        assert grid[key].metrics == record.metrics


def test_stored_ranks_and_connectors_say_what_the_metrics_say(finished) -> None:
    plan = finished.plan()
    for key, record in by_key(plan).items():
        ranks = plan.store.ranks(key)
        for number, metrics in enumerate(record.metrics):
            of_pair = {q: ranks[f"{number}/retrieval/{q}"] for q in ("text_to_image", "image_to_text")}
            assert from_ranks("retrieval", of_pair) == metrics.test["retrieval"]
            assert all(values.dtype == np.int32 for values in of_pair.values())
        assert ranks["retrieval/image_to_text/unit"].tolist() == list(range(80))
        with safe_open(plan.store.connectors_path(key), framework="pt") as file:
            assert file.metadata() == {f"pair.{n}": f"{i}\t{t}" for n, (i, t) in enumerate(record.pairs)}
            shape = plan.workspace.sizes(tuple(record.pairs)).shape(record.pairs[0])
            assert file.get_slice("0.layers.0.weight").get_shape() == [shape.out_dim, shape.in_dim]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", "RuntimeError: first line"),
        ("nan score", "ValueError: no finite score for 1 of 1 pairs, first ('image01', 'text00')"),
        ("no score", "ValueError: no finite score for 1 of 1 pairs, first ('image01', 'text00')"),
        ("nan weights", "ValueError: no finite connector of 1 of 1 pairs, first ('image01', 'text00')"),
    ],
)
def test_a_failing_cell_is_recorded_and_the_others_run(world, how: str, told: str) -> None:
    plan = bad_world(world, how)
    (failed,) = only(plan, "failed")
    assert failed.error == told
    assert "bad.py" in (failed.traceback or "") or how != "raise"
    assert failed.pairs == [("image01", "text00")]
    assert failed.metrics == []
    assert failed.ledger.flops["connector"] > 0, "what it spent before is booked"
    assert failed.method == "bad.py:Bad"
    assert len(only(plan, "done")) == 5
    assert [cell.key for cell in plan.missing()] == [failed.key], "only the failed one is tried again"
    assert not plan.store.connectors_path(failed.key).exists()


def test_a_divergence_is_recorded_with_its_step_and_not_tried_again(world) -> None:
    plan = bad_world(world, "diverge")
    (diverged,) = only(plan, "diverged")
    assert (diverged.diverged_step, diverged.error) == (7, "diverged at step 7: the loss is nan")
    assert plan.missing() == []


def test_an_interrupted_cell_leaves_no_record(world) -> None:
    with pytest.raises(KeyboardInterrupt):
        bad_world(world, "interrupt")
    done = list((world.folder / "runs" / "world" / "cells").glob("*.json"))
    assert len(done) == 2, "image00 x text00 and image00 x text01 were finished"


def test_a_huge_learning_rate_diverges_and_what_was_spent_is_booked(world) -> None:
    huge = [f"methods.{label}.{field}" for label in ("ape", "hyma") for field in ("lr=1e38", "clip=null")]
    plan = world.run("world.yaml", *huge, "seeds=[0]")
    for record in by_key(plan).values():
        assert record.status == "diverged"
        assert record.diverged_step is not None
        assert 1 <= record.diverged_step <= 24
        assert f"diverged at step {record.diverged_step}: " in (record.error or "")
        assert record.ledger.flops["logits"] > 0
        assert record.metrics == []


def test_a_timeout_is_recorded_and_tried_again(world) -> None:
    plan = world.run("world.yaml", "methods.ape.resources.timeout_s=1e-6", "seeds=[0]")
    late = only(plan, "timeout")
    assert [record.label for record in late] == ["ape"] * 6
    assert all(r.error == "stopped after 1e-06 s at step 1 of 12" and r.ledger.updates == 1 for r in late)
    assert len(plan.missing()) == 6
    again = world.run("world.yaml", "seeds=[0]")
    assert {record.status for record in by_key(again).values()} == {"done"}


def test_a_cell_that_wants_a_gpu_where_there_is_none_says_so(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = world.run("world.yaml", "methods.hyma.resources.gpu=1", "seeds=[0]")
    (failed,) = only(plan, "failed")
    assert failed.error == (
        "methods.hyma.resources: the cell asks for a GPU and there is none here "
        "(set gpu: 0, or run on a machine with a GPU)"
    )


def test_a_worker_reopens_the_run_from_its_folder_alone(copy_of_world, monkeypatch, tmp_path) -> None:
    """In another working folder, and the run moved to another place (another mount of a cluster)."""
    original = copy_of_world.plan()
    moved = tmp_path / "moved"
    (copy_of_world.folder / "runs").rename(moved)
    monkeypatch.chdir(tmp_path)
    plan = reopen_plan(moved / "world")
    assert [cell.key for cell in plan.cells] == [cell.key for cell in original.cells]
    assert plan.store.path == moved / "world"
    cell = plan.cells[-1]
    before = plan.store.record(cell.key)
    plan.store.drop_cell(cell.key)
    assert run_cell(plan, cell).metrics == before.metrics
    assert plan.store.record(cell.key).metrics == before.metrics


def test_threads_are_exact_inside_and_restored_after() -> None:
    before = torch.get_num_threads()
    for cpus, threads in ((1.0, 1), (0.5, 1), (3.0, 3)):
        with exact_threads(cpus):
            assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == before


def test_zero_shot_beside_retrieval_is_evaluated_for_every_method(world) -> None:
    tasks = ("tasks=[retrieval, zero_shot]", "selection={task: zero_shot, metric: top1}")
    plan = world.run("world.yaml", *tasks, "seeds=[0]")
    for record in by_key(plan).values():
        for metrics in record.metrics:
            assert set(metrics.test) == {"retrieval", "zero_shot"}
            assert metrics.score == metrics.validation["zero_shot"]["top1"]
            assert 0 <= metrics.test["zero_shot"]["top1"] <= metrics.test["zero_shot"]["top5"] <= 1
    best = max(metrics.test["zero_shot"]["top5"] for r in by_key(plan).values() for metrics in r.metrics)
    assert best > 0.6, "ten classes: chance is 0.5"


def test_a_pair_that_diverges_alone_is_recorded_and_ranks_last(world) -> None:
    stacked = "{method: ape_stacked, epochs: 3, batch_size: 64, lr: 1.0e-2, clip: null, warmup: 0"
    lrs = "lrs: {image01 + text00: 1.0e+38}"
    plan = world.run(
        "world.yaml", f"methods.wild={stacked}, {lrs}}}", f"methods.tame={stacked}}}", "seeds=[0]", "reference=tame"
    )
    wild, tame = (plan.store.record(c.key) for label in ("wild", "tame") for c in plan.cells if c.label == label)
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

    analysis = analyse(plan.store)
    assert [(p.label, p.pairs, p.alone) for p in analysis.problems if p.status == "diverged"] == [
        ("wild", [("image01", "text00")], True)
    ]
    data = analysis.methods["wild"].data
    place = analysis.manifest.pairs.index(("image01", "text00"))
    assert data.ran.all()
    assert np.isnan(data.scores[0]).tolist() == [n == place for n in range(6)]
    assert np.isfinite(analysis.methods["wild"].summary.spearman.value or np.nan)
    assert any("1 pair diverged alone" in sentence for sentence in answer(analysis))
    code, out, _ = world.invoke("status", "world")
    assert (code, "diverged: wild seed 0 image01 x text00" in out) == (0, True)
