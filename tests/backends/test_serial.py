"""The serial backend: cells in order, the listener told of each, an interrupt kept clean."""

import pytest
from harness.backends.base import BACKENDS, BackendOptions
from harness.backends.serial import run

from harness.errors import HarnessError


class Heard:
    """Keeps what it is told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def started(self, cell) -> None:
        if self.stop_after is not None and len(self.events) // 2 >= self.stop_after:
            raise KeyboardInterrupt
        self.events.append(("started", cell.key))

    def finished(self, record) -> None:
        self.events.append(("finished", record.key))


@pytest.fixture
def plan(world):
    plan = world.plan("world.yaml", "seeds=[0]")
    plan.workspace.extract_missing()
    return plan


def test_cells_run_in_order_and_each_is_on_disk_when_it_is_told(plan) -> None:
    heard = Heard()
    run(plan, plan.missing(), heard, BackendOptions())
    keys = [cell.key for cell in plan.cells]
    assert heard.events == [(event, key) for key in keys for event in ("started", "finished")]
    assert plan.missing() == []
    assert plan.store.finished(keys) == set(keys)


def test_what_an_interrupt_left_is_finished_by_the_next_run(plan) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(plan, plan.missing(), Heard(stop_after=3), BackendOptions())
    kept = {cell.key: plan.store.cell_path(cell.key).stat().st_mtime_ns for cell in plan.cells[:3]}
    assert len(plan.missing()) == 4
    run(plan, plan.missing(), Heard(), BackendOptions())
    assert plan.missing() == []
    assert {key: plan.store.cell_path(key).stat().st_mtime_ns for key in kept} == kept


def test_backends_are_found_by_name() -> None:
    assert BACKENDS.names() == ["ray", "serial"]
    assert BACKENDS.get("serial") is run
    with pytest.raises(HarnessError, match=r"unknown backend 'seriel' \(did you mean 'serial'\?\)"):
        BACKENDS.get("seriel")
