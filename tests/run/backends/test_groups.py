"""Cells that share a trial: short ones only, in order, and a lost worker costs the cell that it was on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.run.backends import groups
from harness.run.backends.groups import expected_seconds, grouped
from harness.run.backends.last_words import last_words
from harness.run.cell import run_cell
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from tests.watching import Watcher


def keys(found: list[list[PlannedCell]]) -> list[str]:
    return [cell.key for group in found for cell in group]


def test_every_cell_is_in_one_group_in_its_order_and_each_place_gets_several(world) -> None:
    plan = world.plan("world.yaml", "seeds=[0, 1, 2, 3, 4, 5, 6, 7]")
    for places in (1, 2, 3, 100):
        found = grouped(plan, plan.cells, places)
        assert keys(found) == [cell.key for cell in plan.cells]
        assert len(found) >= min(groups.SHARES * places, len(plan.cells))
    assert max(map(len, grouped(plan, plan.cells, 1))) > 1
    assert grouped(plan, [], 2) == []


def test_a_group_is_expected_to_take_no_longer_than_a_trial_should(world, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = world.plan("world.yaml", "seeds=[0, 1, 2, 3, 4, 5, 6, 7]")
    seconds = [expected_seconds(plan, cell) for cell in plan.cells if cell.label == "ape"]
    assert all(second is not None for second in seconds)
    longest = max(second or 0.0 for second in seconds)
    monkeypatch.setattr(groups, "TRIAL_S", 2.5 * longest)
    own = [cell for cell in plan.cells if cell.label == "ape"]
    assert 2 <= max(map(len, grouped(plan, own, 1))) <= 2.5 * longest / min(second or 1.0 for second in seconds)
    monkeypatch.setattr(groups, "TRIAL_S", 0.5 * longest)
    assert [len(group) for group in grouped(plan, own, 1)].count(1) >= len(own) // 2, "a long cell stays alone"


def test_cells_of_other_resources_and_cells_that_nobody_can_count_stay_apart(world) -> None:
    plan = world.plan("world.yaml", "methods.hyma.resources={cpu: 2}", "seeds=[0, 1, 2, 3, 4, 5, 6, 7]")
    for group in grouped(plan, plan.cells, 1):
        assert len({(cell.cpus, cell.gpus) for cell in group}) == 1
    timed = world.plan("world.yaml", "methods.ape={seconds: 1.0, batch_size: 64}", "seeds=[0, 1, 2, 3, 4, 5, 6, 7]")
    own = [cell for cell in timed.cells if cell.label == "ape"]
    assert expected_seconds(timed, own[0]) is None
    assert grouped(timed, own, 1) == [[cell] for cell in own]


def test_a_longer_budget_and_a_higher_rung_are_expected_to_take_longer(temp_project) -> None:
    temp_project.write(
        "race.yaml",
        """
        name: race
        data: {kind: synthetic, rows: 400, image_encoders: 4, text_encoders: 2, image_dims: [12], text_dims: [8]}
        methods: {halving: {method: ape_halving, epochs: 9, batch_size: 64, eta: 3, min_budget: 3}}
        seeds: [0]
        storage: runs
        """,
    )
    plan = temp_project.plan("race.yaml")
    rungs = plan.rungs_from(plan.cells[0])
    found = [expected_seconds(plan, cell) or 0.0 for cell in rungs]
    assert len(found) >= 2
    assert found == sorted(found) and found[0] < found[-1]


@pytest.fixture
def trial(world) -> tuple[Plan, RunStore, Any]:
    """A run, and a trial of its last four cells as Tune shows it to callbacks."""
    plan, store = world.prepared("world.yaml", "seeds=[0]")
    config = {"keys": [cell.key for cell in plan.cells[-4:]], "words": str(Path(store.where) / ".tune-1" / "words")}
    return plan, store, SimpleNamespace(trial_id="1", config=config, error_file=None)


def callback(plan: Plan, store: RunStore, heard: Watcher) -> Any:
    from harness.run.backends.ray_tune import _Callback

    return _Callback(plan, store, heard)


def die(store: RunStore, trial: Any, cell: PlannedCell) -> None:
    """What a worker leaves that is killed while it runs this cell."""

    class Killed(Exception):
        pass

    with pytest.raises(Killed), last_words(Path(trial.config["words"]), cell.key):
        raise Killed


def test_the_listener_hears_of_each_cell_once(trial) -> None:
    from harness.run.backends.ray_worker import ENDED

    plan, store, own = trial
    cells, heard = plan.cells[-4:], Watcher()
    told = callback(plan, store, heard)
    told.on_trial_start(0, [], own)
    for number, done in ((2, False), (4, True)):
        for cell in cells[number - 2 : number]:
            run_cell(plan, store, cell)
        told.on_trial_result(0, [], own, {ENDED: [cell.key for cell in cells[number - 2 : number]], "done": done})
    assert heard.ran == [cell.key for cell in cells]
    assert heard.begun == [cells[0].key, cells[2].key]
    assert told.left == []


def test_a_killed_worker_loses_its_cell_only_and_a_deadly_cell_is_recorded_after_two_deaths(trial) -> None:
    plan, store, own = trial
    cells, heard = plan.cells[-4:], Watcher()
    told = callback(plan, store, heard)
    told.on_trial_start(0, [], own)
    run_cell(plan, store, cells[0])
    die(store, own, cells[1])
    told.on_trial_recover(0, [], own)
    assert heard.ran == [cells[0].key], "also what the worker had not reported yet"
    die(store, own, cells[1])
    told.on_trial_error(0, [], own)
    record = store.record(cells[1].key)
    assert (record.status, record.error) == ("failed", "the worker process died (out of memory?):")
    assert heard.ran == [cells[0].key, cells[1].key]
    assert told.left == list(cells[2:]), "these are run alone"


def test_a_second_death_at_another_cell_condemns_neither(trial) -> None:
    plan, store, own = trial
    cells, heard = plan.cells[-4:], Watcher()
    told = callback(plan, store, heard)
    die(store, own, cells[0])
    told.on_trial_recover(0, [], own)
    run_cell(plan, store, cells[0])
    die(store, own, cells[1])
    told.on_trial_error(0, [], own)
    assert not store.has(cells[1].key)
    assert told.left == list(cells[1:])


def test_a_worker_that_was_ended_with_a_cell_that_has_its_record_is_not_the_next_ones_fault(trial) -> None:
    plan, store, own = trial
    cells, heard = plan.cells[-4:], Watcher()
    told = callback(plan, store, heard)
    run_cell(plan, store, cells[0])
    die(store, own, cells[0])  # as the watchdog does after a timeout
    told.on_trial_recover(0, [], own)
    die(store, own, cells[1])
    told.on_trial_error(0, [], own)
    assert not store.has(cells[1].key)
    assert told.left == list(cells[1:])
