"""``harness pick --plan``: what a pick costs at most, counted by hand and for the large grids."""

from pathlib import Path

import pytest

from harness.run.pick_plan import PickPlan, plan_pick
from harness.run.stages import candidates
from harness.sweep.loading import load_sweep
from harness.sweep.plan import make_plan
from harness.sweep.without_data import resolve_or_stand_in
from tests.conftest import Project

SWEEPS = Path(__file__).parents[2] / "sweeps"

PAPER = """
    name: paper
    data:
      kind: shapes
      rows: 20000
      captions_per_image: 2
      split: {train: 0.8, validation: 0.1, test: 0.1, seed: 0}
      image: {a: {dim: 16, flops_per_sample: 1.0e+9}, b: {dim: 24, flops_per_sample: 5.0e+9},
              c: {dim: 16, flops_per_sample: 3.0e+9}, d: {dim: 32, flops_per_sample: 2.0e+9}}
      text: {x: {dim: 8, flops_per_sample: 1.0e+8}, y: {dim: 12, flops_per_sample: 2.0e+8}}
    methods:
      ape: {epochs: 3, batch_size: 64}
    pick: {first: 1000, growth: 4, most: 8000, validation: 500, test: 300, keep: 0.5}
"""


def planned(path: Path, *overrides: str) -> PickPlan:
    resolved, _ = resolve_or_stand_in(load_sweep(path, overrides=overrides))
    return plan_pick(make_plan(resolved))


def test_the_most_expensive_encoders_stay_longest_counted_by_hand(temp_project: Project) -> None:
    """Each picture has two captions. The rows of a stage hold those of the one before."""
    plan = planned(temp_project.write("paper.yaml", PAPER))
    stages = [each.stage for each in plan.stages]
    assert [(stage.images, stage.texts, stage.train) for stage in stages] == [
        (("a", "b", "c", "d"), ("x", "y"), 1000),
        (("b", "c"), ("y",), 4000),
        (("b",), ("y",), 8000),
        (("b",), ("y",), 8000),
    ]
    assert [stage.last for stage in stages] == [False, False, False, True]
    assert [each.cost.encode for each in plan.stages] == pytest.approx(
        [
            1500 * (1e9 + 5e9 + 3e9 + 2e9) + 3000 * (1e8 + 2e8),
            3000 * (5e9 + 3e9) + 6000 * 2e8,
            4000 * 5e9 + 8000 * 2e8,
            300 * 5e9 + 600 * 2e8,
        ]
    )
    assert plan.grid is not None
    assert plan.grid.encode == pytest.approx(20000 * 11e9 + 40000 * 3e8)
    assert all(each.cost.connectors > 0 for each in plan.stages)
    assert plan.grid.times(plan.cost)[2] == pytest.approx(plan.grid.total / plan.cost.total)


def test_the_table_shows_stages_the_pick_and_the_grid_and_writes_nothing(temp_project: Project) -> None:
    temp_project.write("paper.yaml", PAPER)
    code, out, err = temp_project.invoke("pick", "paper.yaml", "--plan")
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == [
        *("stage 1", "stage 2", "stage 3", "stage 4, the last", "the pick", "the grid, ape", "grid / pick")
    ]
    assert rows[1][1:4] == ["2 x 1", "4,000 + 500", "25.2 TFLOP"]
    assert rows[-2][3] == "232 TFLOP"
    assert not (temp_project.folder / "runs").exists()


def test_encoders_that_may_not_be_picked_are_not_planned(temp_project: Project) -> None:
    limit = "selection={task: retrieval, metric: text_to_image_r5, constraints: {image_dim: 16}}"
    path = temp_project.write("paper.yaml", PAPER)
    plan = planned(path, limit)
    assert plan.stages[0].stage.images == ("a", "c")
    resolved, _ = resolve_or_stand_in(load_sweep(path, overrides=[limit]))
    assert candidates(make_plan(resolved)) == [("a", "x"), ("a", "y"), ("c", "x"), ("c", "y")]


def test_encoders_of_unknown_flops_are_named(temp_project: Project) -> None:
    temp_project.write("paper.yaml", PAPER.replace("y: {dim: 12, flops_per_sample: 2.0e+8}", "y: 12"))
    code, out, _ = temp_project.invoke("pick", "paper.yaml", "--plan")
    assert code == 0
    assert "unknown before they are loaded: y." in out


@pytest.mark.parametrize("name", ["hyma_vlm_27", "hyper_align_scaling"])
def test_the_large_grids_are_picked_from_for_a_fiftieth_at_most(name: str) -> None:
    """Neither their data nor their weights are here; the encoders that cost most are taken to stay longest."""
    plan = planned(SWEEPS / f"{name}.yaml")
    assert plan.grid is not None
    assert plan.unknown == ()
    assert plan.grid_label == "ape"
    assert plan.stages[-2].stage.train == 12_000
    assert plan.grid.total > 50 * plan.cost.total
    assert plan.grid.connectors > 1000 * plan.cost.connectors


def test_what_was_planned_is_no_less_than_what_was_spent(temp_project: Project) -> None:
    """Of embedding, and in all: the encoders whose samples cost most need not have the largest connectors."""
    from tests.run.test_picking import WORLD, Runner, pick, sweep_of

    temp_project.write("world.yaml", WORLD)
    sweep = sweep_of(temp_project)
    resolved, _ = resolve_or_stand_in(sweep)
    plan, record = plan_pick(make_plan(resolved)), pick(sweep, Runner())
    assert record.cost.encode <= plan.cost.encode
    assert record.cost.total <= plan.cost.total
    assert record.grid == plan.grid
