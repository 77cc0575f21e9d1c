"""Collapse is recorded, weakness is not taken for it."""

from harness.run.records import CellRecord


def ran(world, settings: str) -> CellRecord:
    """The record of one method's first cell, of one seed."""
    plan, store = world.run("world.yaml", "seeds=[0]", "reference=null", f"methods={{{settings}}}")
    return store.record(plan.cells[0].key)


def test_a_run_at_chance_is_recorded_as_diverged_with_its_step(world) -> None:
    """A rate so large that the connectors are noise, though finite."""
    record = ran(world, "hyma: {updates_per_pair: 40, batch_size: 64, pairs_per_step: 3, lr: 300}")
    assert record.status == "diverged"
    assert record.diverged_step == 80  # 40 updates per pair, 3 of 6 pairs a step
    assert "at chance" in (record.error or "")


def test_a_weak_encoder_is_not_a_collapse(world) -> None:
    """An image encoder that sees little: low on validation data, but its connector learns."""
    grid = "methods={ape: {updates_per_pair: 60, batch_size: 64, lr: 1.0e-2}}"
    plan, store = world.run("world.yaml", "seeds=[0]", "data.image_qualities=[0.15]", grid, "reference=ape")
    assert {store.record(cell.key).status for cell in plan.cells} == {"done"}


def test_an_untrained_cell_is_not_judged_but_warned_of(world) -> None:
    record = ran(world, "hyma: {updates_per_pair: 4, batch_size: 64, pairs_per_step: 3, lr: 300}")
    assert record.status == "done"
    assert any("after 4 updates per pair: collapsed, or too little training to tell" in w for w in record.warnings)
