"""Successive halving: hand-worked races, exact resuming, the same numbers whatever interrupts it or runs it."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from harness.backends.base import BACKENDS, BackendOptions
from harness.backends.serial import run
from harness.plan import estimates, make_manifest
from harness.rungs import settle
from harness.store import CellRecord, PlannedCell
from safetensors.torch import load_file

from baselines.halving import ApeHalving
from harness.errors import HarnessError
from harness.method import Budget, Policy
from reports.analysis import analyse

if TYPE_CHECKING:
    from harness.plan import Plan

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


class Watcher:
    """Keeps what ran; stops the sweep, as Ctrl-C would, after so many cells."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.ran: list[str] = []
        self.stop_after = stop_after

    def started(self, cell: PlannedCell) -> None:
        pass

    def finished(self, record: CellRecord) -> None:
        self.ran.append(record.key)
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt


def prepared(project: Any) -> "Plan":
    project.write("race.yaml", RACE)
    plan = project.plan("race.yaml")
    plan.workspace.extract_missing()
    plan.store.write_manifest(make_manifest(plan))
    return plan


def metrics_of(plan: "Plan") -> dict[str, Any]:
    return {c.key: plan.store.record(c.key).model_dump(include={"status", "metrics"}) for c in plan.cells}


def rungs_run(plan: "Plan", seed: int) -> list[int]:
    """How many pairs ran each rung."""
    cells = [c for c in plan.cells if c.rung is not None and c.seed == seed]
    done = [c.rung for c in cells if plan.store.record(c.key).status == "done"]
    return [done.count(rung) for rung in range(max(c.rung or 0 for c in cells) + 1)]


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> "Plan":
    """The race, run through by the serial backend."""
    from tests.conftest import Project  # type: ignore[import-not-found]

    plan = prepared(Project(tmp_path_factory.mktemp("raced")))
    run(plan, plan.missing(), Watcher(), BackendOptions())
    return plan


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


def test_every_rung_keeps_half(raced: "Plan") -> None:
    assert rungs_run(raced, 0) == rungs_run(raced, 1) == [6, 3, 1]
    assert raced.missing() == []


def test_who_goes_on_led_the_rung(raced: "Plan") -> None:
    store = raced.store
    first = [c for c in raced.cells if c.rung == 0 and c.seed == 0]
    second = {c.pairs[0] for c in raced.cells if c.rung == 1 and c.seed == 0 and store.record(c.key).status == "done"}
    scores = {c.pairs[0]: store.record(c.key).metrics[0].score for c in first}
    assert min(scores[pair] for pair in second) >= max(s for pair, s in scores.items() if pair not in second)


def test_the_survivor_is_exactly_apes_connector(raced: "Plan") -> None:
    """Cut twice and resumed twice, and not a bit differs from one training of the whole budget."""
    store, compared = raced.store, 0
    for cell in raced.cells:
        if cell.rung == 2 and store.record(cell.key).status == "done":
            twin = next(c for c in raced.cells if c.label == "ape" and (c.seed, c.pairs) == (cell.seed, cell.pairs))
            ours, theirs = (load_file(store.connectors_path(c.key)) for c in (cell, twin))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
            compared += 1
    assert compared == 2


def test_states_are_dropped_when_no_rung_needs_them(raced: "Plan") -> None:
    settle(raced)
    assert list(raced.store.path.glob("connectors/*.state.safetensors")) == []


def test_the_plan_foresaw_the_cost(raced: "Plan") -> None:
    """All pairs have one shape here, so what each rung costs does not depend on who goes on."""
    planned = estimates(raced)["ape_halving"]
    spent = [raced.store.record(c.key).ledger for c in raced.cells if c.label == "ape_halving"]
    assert planned.flops is not None
    assert planned.flops["total"] == pytest.approx(sum(ledger.total for ledger in spent) / 2)
    assert planned.updates_per_pair == pytest.approx(sum(ledger.updates for ledger in spent) / 2 / 6)


def test_the_report_ranks_by_rung_and_sums_the_ledgers(raced: "Plan") -> None:
    analysis = analyse(raced.store)
    result = analysis.methods["ape_halving"]
    assert result.data.rungs is not None
    for row in range(2):
        order = result.data.ranking[row].argsort()
        assert sorted(result.data.rungs[row]) == list(result.data.rungs[row][order])
    ledgers = [raced.store.record(c.key).ledger.total for c in raced.cells if c.label == "ape_halving"]
    assert result.summary.flops.total == pytest.approx(sum(ledgers) / 2)
    assert result.summary.status.model_dump() == {"done": 20, "failed": 0, "diverged": 0, "missing": 0}
    assert analysis.problems == []
    note = analysis.summary.views.matched_updates["ape_halving"].note
    assert note is not None
    assert "stops trailing pairs" in note


@pytest.mark.parametrize("after", [3, 14])
def test_an_interrupted_race_goes_on_and_redoes_nothing(raced: "Plan", temp_project: Any, after: int) -> None:
    plan = prepared(temp_project)
    cells = [c for c in plan.missing() if c.label == "ape_halving"]
    first, second = Watcher(after), Watcher()
    with pytest.raises(KeyboardInterrupt):
        run(plan, cells, first, BackendOptions())
    settle(plan)
    run(plan, [c for c in plan.missing() if c.label == "ape_halving"], second, BackendOptions())
    assert not set(first.ran) & set(second.ran)
    assert len(first.ran) + len(second.ran) == 20
    expected = metrics_of(raced)
    for cell in plan.cells:
        if cell.label == "ape_halving":
            assert plan.store.record(cell.key).model_dump(include={"status", "metrics"}) == expected[cell.key]


def test_a_lost_state_costs_time_and_changes_nothing(raced: "Plan", temp_project: Any) -> None:
    plan = prepared(temp_project)
    cells = [c for c in plan.missing() if c.label == "ape_halving"]
    with pytest.raises(KeyboardInterrupt):
        run(plan, cells, Watcher(12), BackendOptions())
    states = list(plan.store.path.glob("connectors/*.state.safetensors"))
    assert len(states) == 12
    states[0].unlink()
    for state in states[1:]:
        state.write_bytes(b"damaged")
    settle(plan)
    run(plan, [c for c in plan.missing() if c.label == "ape_halving"], Watcher(), BackendOptions())
    expected = metrics_of(raced)
    for cell in plan.cells:
        if cell.label == "ape_halving":
            assert plan.store.record(cell.key).model_dump(include={"status", "metrics"}) == expected[cell.key]


def test_a_failed_pair_ranks_last_and_may_come_back(temp_project: Any) -> None:
    plan = prepared(temp_project)
    first = [c for c in plan.cells if c.rung == 0 and c.seed == 0]
    run(plan, first[1:], Watcher(), BackendOptions())
    record = plan.store.record(first[1].key)
    plan.store.write_cell(
        record.model_copy(update={"key": first[0].key, "pairs": first[0].pairs, "status": "failed", "metrics": []})
    )
    run(plan, [c for c in plan.missing() if c.rung and c.seed == 0], Watcher(), BackendOptions())
    later = [c for c in plan.cells if c.rung == 1 and c.seed == 0]
    assert plan.store.record(later[0].key).status == "skipped"
    assert first[0].key in {c.key for c in plan.missing()}, "the next sweep tries it again"


@pytest.mark.cluster
def test_ray_runs_the_same_race(raced: "Plan", temp_project: Any) -> None:
    plan = prepared(temp_project)
    watcher = Watcher()
    BACKENDS.get("ray")(plan, [c for c in plan.missing() if c.label == "ape_halving"], watcher, BackendOptions())
    assert len(watcher.ran) == 20
    expected = metrics_of(raced)
    for cell in plan.cells:
        if cell.label == "ape_halving":
            assert plan.store.record(cell.key).model_dump(include={"status", "metrics"}) == expected[cell.key]
