"""The serial backend: cells in order, the listener told of each, an interrupt kept clean."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.run.backends.base import BACKENDS, BackendOptions
from harness.run.backends.serial import Serial
from harness.run.stopping import missing
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from tests.watching import Watcher


@pytest.fixture
def ready(world) -> tuple[Plan, RunStore]:
    return world.prepared("world.yaml", "seeds=[0]")


def run(plan: Plan, store: RunStore, heard: Watcher) -> None:
    Serial().run(plan, store, missing(plan, store), heard, BackendOptions())


def test_cells_run_in_order_and_each_is_in_the_store_when_it_is_told(ready) -> None:
    plan, store = ready
    heard = Watcher()
    run(plan, store, heard)
    keys = [cell.key for cell in plan.cells]
    assert heard.events == [(event, key) for key in keys for event in ("started", "finished")]
    assert missing(plan, store) == []
    assert store.finished(keys) == set(keys)


def test_what_an_interrupt_left_is_finished_by_the_next_run(ready) -> None:
    plan, store = ready
    with pytest.raises(KeyboardInterrupt):
        run(plan, store, Watcher(stop_after=3))
    written = [Path(store.where) / "cells" / f"{cell.key}.json" for cell in plan.cells[:3]]
    kept = {path: path.stat().st_mtime_ns for path in written}
    assert len(missing(plan, store)) == 4
    run(plan, store, Watcher())
    assert missing(plan, store) == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_backends_are_found_by_name() -> None:
    assert BACKENDS.names() == ["ray", "serial"]
    assert BACKENDS.get("serial") is Serial
    with pytest.raises(HarnessError, match=r"unknown backend 'seriel' \(did you mean 'serial'\?\)"):
        BACKENDS.get("seriel")
