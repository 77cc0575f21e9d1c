"""Successive halving: hand-worked races, exact resuming, the same numbers whatever interrupts it or runs it."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load

from baselines.halving import ApeHalving
from harness.errors import HarnessError
from harness.method import Budget, Policy
from harness.run.backends.base import BACKENDS, BackendOptions
from harness.run.cell import run_cell
from harness.run.records import CellRecord
from harness.run.stopping import missing, record_skipped
from harness.run.store import RunStore
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from reports.analysis import analyse
from tests.conftest import Project
from tests.watching import Watcher

RACE = """
    name: race
    data: {kind: synthetic, rows: 400, image_encoders: 3, text_encoders: 2, image_dims: [12], text_dims: [8], seed: 0}
    methods:
      ape: {epochs: 8, batch_size: 64, lr: 1.0e-2}
      ape_halving: {epochs: 8, batch_size: 64, lr: 1.0e-2, eta: 2}
    reference: ape
    seeds: [0, 1]
    storage: runs
"""


@dataclass(frozen=True)
class Race:
    """The sweep's plan, and where its run lies."""

    plan: Plan
    store: RunStore

    @classmethod
    def of(cls, project: Project) -> "Race":
        """The race with its banks and its manifest, before anything has run."""
        project.write("race.yaml", RACE)
        return cls(*project.prepared("race.yaml"))

    def run(self, cells: Sequence[PlannedCell], *, stop_after: int | None = None, backend: str = "serial") -> list[str]:
        """Run these cells and what follows from them; keys of what has run, in order."""
        watcher = Watcher(stop_after)
        with nullcontext() if stop_after is None else pytest.raises(KeyboardInterrupt):
            BACKENDS.get(backend)().run(self.plan, self.store, cells, watcher, BackendOptions())
        return watcher.ran

    def missing(self, label: str = "ape_halving") -> list[PlannedCell]:
        """Cells of a label that may run now."""
        return [cell for cell in missing(self.plan, self.store) if cell.label == label]

    def record(self, cell: PlannedCell) -> CellRecord:
        return self.store.record(cell.key)

    def records(self, label: str = "ape_halving") -> list[CellRecord]:
        return [self.record(cell) for cell in self.plan.cells if cell.label == label]

    def numbers(self) -> dict[str, Any]:
        """Status and metrics of every cell of the race."""
        return {r.key: r.model_dump(include={"status", "metrics"}) for r in self.records()}

    def rungs_run(self, seed: int) -> list[int]:
        """How many pairs ran each rung."""
        cells = [c for c in self.plan.cells if c.rung is not None and c.seed == seed]
        done = [c.rung for c in cells if self.record(c).status == "done"]
        return [done.count(rung) for rung in range(max(c.rung or 0 for c in cells) + 1)]

    def states(self) -> list[str]:
        """Blobs that later rungs resume from."""
        return sorted(name for name in self.store.blobs.list("connectors/") if name.endswith(".state.safetensors"))


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Race:
    """The race, run through by the serial backend."""
    race = Race.of(Project(tmp_path_factory.mktemp("raced")))
    race.run(missing(race.plan, race.store))
    return race


def test_rungs_of_a_budget() -> None:
    epochs = [b.epochs for b in ApeHalving(eta=3, warmup=0).rungs(27, Budget(epochs=9))]
    assert epochs == pytest.approx([1 / 3, 1, 3, 9])  # 27, 9, 3, 1 pairs
    assert [b.epochs for b in ApeHalving(eta=3, min_budget=1).rungs(27, Budget(epochs=9))] == pytest.approx([1, 3, 9])
    assert [b.flops for b in ApeHalving(eta=2, min_budget=3).rungs(4, Budget(flops=8))] == pytest.approx([4, 8])
    assert isinstance(ApeHalving(), Policy)


@pytest.mark.parametrize(("eta", "warmup", "pairs"), [(2, 0.1, 36), (3, 0.1, 36), (2, 0.02, 36), (1.5, 0.3, 81)])
def test_no_pair_is_judged_before_twice_the_warm_up(eta: float, warmup: float, pairs: int) -> None:
    """And one more rung below would be too early, or would begin with too many rungs for so few pairs."""
    method = ApeHalving(eta=eta, warmup=warmup)
    rungs = method.rungs(pairs, Budget(epochs=16))
    first = rungs[0].epochs or 0.0
    assert first >= 2 * warmup * 16 - 1e-9
    assert first / eta < 2 * warmup * 16 or eta ** len(rungs) > pairs


def test_min_budget_overrides_the_warm_up_but_not_the_number_of_pairs() -> None:
    assert len(ApeHalving(eta=2, warmup=0.1).rungs(36, Budget(epochs=16))) == 3
    assert len(ApeHalving(eta=2, warmup=0.1, min_budget=0.5).rungs(36, Budget(epochs=16))) == 6
    assert len(ApeHalving(eta=2, min_budget=0.01).rungs(4, Budget(epochs=16))) == 3  # 4, 2, 1 pairs
    assert len(ApeHalving(eta=2, warmup=0.9).rungs(36, Budget(epochs=16))) == 1


def test_the_best_go_on_and_ties_are_settled_by_name() -> None:
    scores = {("a", "t"): 0.3, ("d", "t"): 0.5, ("b", "t"): 0.5, ("c", "t"): 0.1, ("e", "t"): float("nan")}
    method = ApeHalving(eta=2)
    assert method.keep(0, scores, higher_is_better=True) == [("b", "t"), ("d", "t")]
    assert method.keep(0, scores, higher_is_better=False) == [("c", "t"), ("a", "t")]
    assert method.keep(0, {("a", "t"): float("nan")}, higher_is_better=True) == []


def test_seconds_and_a_minimum_above_the_budget_are_refused() -> None:
    with pytest.raises(HarnessError, match="cannot be budgeted in seconds"):
        ApeHalving().rungs(6, Budget(seconds=9))
    with pytest.raises(HarnessError, match="min_budget 20 is larger than the budget 9"):
        ApeHalving(min_budget=20).rungs(6, Budget(epochs=9))


def test_every_rung_keeps_half(raced: Race) -> None:
    assert raced.rungs_run(0) == raced.rungs_run(1) == [6, 3, 1]
    assert missing(raced.plan, raced.store) == []


def test_who_goes_on_led_the_rung(raced: Race) -> None:
    cells = [c for c in raced.plan.cells if c.seed == 0]
    second = {c.pairs[0] for c in cells if c.rung == 1 and raced.record(c).status == "done"}
    scores = {c.pairs[0]: raced.record(c).metrics[0].score for c in cells if c.rung == 0}
    assert min(scores[pair] for pair in second) >= max(s for pair, s in scores.items() if pair not in second)


def test_the_survivor_is_exactly_apes_connector(raced: Race) -> None:
    """Cut twice and resumed twice, and not a bit differs from one training of the whole budget."""
    cells, compared = raced.plan.cells, 0
    for cell in cells:
        if cell.rung == 2 and raced.record(cell).status == "done":
            twin = next(c for c in cells if c.label == "ape" and (c.seed, c.pairs) == (cell.seed, cell.pairs))
            ours, theirs = (raced.store.connectors(c.key) for c in (cell, twin))
            assert ours is not None and theirs is not None
            one, other = load(ours), load(theirs)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)
            compared += 1
    assert compared == 2


def test_states_are_dropped_when_no_rung_needs_them(raced: Race) -> None:
    record_skipped(raced.plan, raced.store)
    assert raced.states() == []


def test_the_plan_foresaw_the_cost(raced: Race) -> None:
    """All pairs have one shape here, so what each rung costs does not depend on who goes on."""
    planned = estimates(raced.plan)["ape_halving"]
    spent = [record.ledger for record in raced.records()]
    assert planned.flops is not None
    assert planned.flops["total"] == pytest.approx(sum(ledger.total for ledger in spent) / 2)
    assert planned.updates_per_pair == pytest.approx(sum(ledger.updates for ledger in spent) / 2 / 6)


def test_the_report_ranks_by_rung_and_sums_the_ledgers(raced: Race) -> None:
    analysis = analyse(raced.store)
    result = analysis.methods["ape_halving"]
    assert result.data.rungs is not None
    for row in range(2):
        order = result.data.ranking[row].argsort()
        assert sorted(result.data.rungs[row]) == list(result.data.rungs[row][order])
    ledgers = [record.ledger.total for record in raced.records()]
    assert result.summary.flops.total == pytest.approx(sum(ledgers) / 2)
    assert result.summary.status.model_dump() == {"done": 20, "failed": 0, "diverged": 0, "missing": 0}
    assert analysis.problems == []
    note = analysis.summary.views.matched_updates["ape_halving"].note
    assert note is not None
    assert "stops trailing pairs" in note


@pytest.mark.parametrize("after", [3, 14])
def test_an_interrupted_race_goes_on_and_redoes_nothing(raced: Race, temp_project: Project, after: int) -> None:
    race = Race.of(temp_project)
    first = race.run(race.missing(), stop_after=after)
    record_skipped(race.plan, race.store)
    second = race.run(race.missing())
    assert not set(first) & set(second)
    assert len(first) + len(second) == 20
    assert race.numbers() == raced.numbers()


def test_a_lost_state_costs_time_and_changes_nothing(raced: Race, temp_project: Project) -> None:
    race = Race.of(temp_project)
    race.run(race.missing(), stop_after=12)
    states = race.states()
    assert len(states) == 12
    race.store.blobs.delete(states[0])
    for state in states[1:]:
        race.store.blobs.put(state, b"damaged")
    record_skipped(race.plan, race.store)
    race.run(race.missing())
    assert race.numbers() == raced.numbers()


def test_a_failed_pair_ranks_last_and_may_come_back(temp_project: Project) -> None:
    race = Race.of(temp_project)
    own = [cell for cell in race.plan.cells if cell.label == "ape_halving" and cell.seed == 0]
    first = [run_cell(race.plan, race.store, cell) for cell in own if cell.rung == 0]
    best = max(first, key=lambda record: record.metrics[0].score)
    race.store.write_cell(best.model_copy(update={"status": "failed", "metrics": []}))
    race.run([cell for cell in race.missing() if cell.rung and cell.seed == 0])
    second = {tuple(cell.pairs): race.record(cell).status for cell in own if cell.rung == 1}
    assert second[tuple(best.pairs)] == "skipped"
    assert sorted(second.values()) == ["done"] * 3 + ["skipped"] * 3
    assert best.key in {cell.key for cell in race.missing()}, "the next sweep tries it again"


@pytest.mark.cluster
def test_ray_runs_the_same_race(raced: Race, temp_project: Project) -> None:
    race = Race.of(temp_project)
    assert len(race.run(race.missing(), backend="ray")) == 20
    assert race.numbers() == raced.numbers()
