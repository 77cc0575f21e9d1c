"""Running a plan from code: what is missing is run once, and the elapsed time is that of all runs together."""

from harness.run.execute import Todo, prepare, run_missing
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[CellRecord] = []

    def started(self, cell: PlannedCell) -> None:
        pass

    def finished(self, record: CellRecord) -> None:
        self.records.append(record)


def extract(resolved: ResolvedSweep) -> object:
    return resolved.extraction.missing(list(resolved.banks.values()))


def ran(plan: Plan, store: RunStore, *labels: str) -> tuple[Todo, list[CellRecord]]:
    todo, heard = prepare(plan, store, extract, labels or None), Heard()
    run_missing(plan, store, todo, heard, backend="serial")
    return todo, heard.records


def test_a_plan_runs_in_parts_and_nothing_twice(world) -> None:
    plan = world.plan()
    store = world.store(plan)
    first, records = ran(plan, store, "hyma")
    assert (first.done, first.before, first.changes) == (0, None, [])
    assert [record.label for record in records] == ["hyma", "hyma"]
    once = store.manifest().elapsed_s
    rest, records = ran(plan, store)
    assert rest.done == 2
    assert {record.label for record in records} == {"ape"}
    assert len(records) == 12
    twice = store.manifest().elapsed_s
    assert once is not None
    assert twice is not None
    assert 0 < once < twice
    nothing = prepare(plan, store, extract)
    assert (nothing.cells, nothing.done) == ([], 14)
    assert store.manifest().elapsed_s == twice, "looking costs no time that counts"
