"""Learning rates in a sweep file: what is refused, what is planned, what a cell's record keeps, and what it is not."""

import json

import pytest

from baselines.halving import ApeHalving
from harness.contract.method import TriesRates
from harness.errors import HarnessError
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan
from reports.rundata import load
from reports.tuning import tuning_of
from tests.conftest import Project

RATES = "lr: [1.0e-3, 1.0e-2, 1.0e-1]"
HEAD = """
    name: tuned
    data: {kind: synthetic, rows: 400, image_encoders: 3, text_encoders: 2, image_dims: [12], text_dims: [8], seed: 0}
    seeds: [0, 1]
    storage: runs
    methods:
"""


def sweep(project: Project, *methods: str) -> Plan:
    """A sweep of these methods, run through."""
    project.write("s.yaml", HEAD + "".join(f"      {method}\n" for method in methods))
    return project.run("s.yaml")[0]


def records(plan: Plan, store: RunStore, label: str) -> list[CellRecord]:
    return [store.record(cell.key) for cell in plan.cells if cell.label == label]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("[1.0e-2, 1.0e-3]", "methods.ape.lr: learning rates must rise and be different, got 0.01, 0.001"),
        ("[1.0e-2, 1.0e-2]", "methods.ape.lr: learning rates must rise and be different, got 0.01, 0.01"),
        ("[]", "methods.ape.lr: a list of learning rates must not be empty"),
        ("[0, 1.0e-2]", "methods.ape.lr: Input should be greater than 0"),
        ("[fast]", "methods.ape.lr: Input should be a valid number"),
        ("fast", "methods.ape.lr: Input should be a valid number"),
        ("0", "methods.ape.lr: Input should be greater than 0"),
        (".inf", "methods.ape.lr: Input should be greater than 0, and finite"),
        ("[1.0e-2, .inf]", "methods.ape.lr: Input should be greater than 0, and finite"),
    ],
)
def test_wrong_rates_are_refused_with_their_place(world: Project, rates: str, message: str) -> None:
    with pytest.raises(HarnessError) as refused:
        world.plan("world.yaml", f"methods.ape.lr={rates}")
    assert message in str(refused.value)


def test_one_rate_for_all_pairs_is_refused_where_a_cell_has_one_pair(world: Project) -> None:
    with pytest.raises(HarnessError, match=r"methods.ape: tune: shared needs all pairs in one cell.*use ape_stacked"):
        world.plan("world.yaml", "methods.ape.lr=[1e-3, 1e-2]", "methods.ape.tune=shared")


def test_rates_are_part_of_a_cells_key_and_a_list_of_one_is_its_rate(world: Project) -> None:
    def keys(*overrides: str) -> set[str]:
        return {cell.key for cell in world.plan("world.yaml", *overrides).cells if cell.label == "ape"}

    scalar = keys()
    assert keys("methods.ape.lr=[1.0e-2]") == scalar
    several = keys("methods.ape.lr=[1.0e-3, 1.0e-2]")
    assert not several & scalar
    assert not several & keys("methods.ape.lr=[1.0e-3, 2.0e-2]")
    assert keys("methods.ape.lr=[0.001, 0.01]") == several


def test_the_plan_counts_every_rate(world: Project) -> None:
    both = ("methods.ape.lr=[1e-3, 1e-2, 1e-1]", "methods.hyma.lr=[1e-3, 1e-2]")
    one, more = estimates(world.plan()), estimates(world.plan("world.yaml", *both))
    for label, rates in (("ape", 3), ("hyma", 2)):
        before, after = one[label], more[label]
        assert before.flops is not None
        assert after.flops == pytest.approx({phase: rates * flops for phase, flops in before.flops.items()})
        assert after.updates_per_pair == before.updates_per_pair
        assert after.trained_params == before.trained_params
        assert (len(before.rates), len(after.rates)) == (1, rates)


def test_the_plan_shows_how_many_rates_are_tried(world: Project) -> None:
    code, out, _ = world.invoke("plan", "world.yaml", "--set", "methods.ape.lr=[1e-3, 1e-2, 1e-1]", "--json")
    assert code == 0
    methods = json.loads(out)["methods"]
    assert methods["ape"]["rates"] == [1e-3, 1e-2, 1e-1]
    assert methods["hyma"]["rates"] == [1e-2]
    code, out, _ = world.invoke("plan", "world.yaml", "--set", "methods.ape.lr=[1e-3, 1e-2, 1e-1]")
    assert "rates" in out
    code, out, _ = world.invoke("plan", "world.yaml")
    assert "rates" not in out, "without tuning there is nothing to show"


def test_a_ladder_of_budgets_and_one_of_rates_go_together(world: Project) -> None:
    entry = "methods.ape={lr: [1.0e-3, 1.0e-2], batch_size: 64, ladder: {epochs: [1, 2]}}"
    plan = world.plan("world.yaml", entry, "reference=null")
    tried = {label: ready.method.rates for label, ready in plan.methods.items() if isinstance(ready.method, TriesRates)}
    assert tried == {"ape@1": (1e-3, 1e-2), "ape@2": (1e-3, 1e-2), "hyma": (1e-2,)}


def test_records_say_what_was_tried_and_kept_and_the_summary_counts_it(temp_project: Project) -> None:
    settings = "epochs: 2, batch_size: 64"
    plan = sweep(
        temp_project,
        f"ape: {{{settings}, {RATES}}}",
        f"scalar: {{method: ape, {settings}, lr: 1.0e-2}}",
        f"stacked: {{method: ape_stacked, {settings}, {RATES}, tune: shared}}",
        "ridge: {}",
    )
    store = temp_project.store(plan)
    kept: list[float] = []
    for record in records(plan, store, "ape"):
        assert record.tuning is not None
        assert record.tuning.tried == [1e-3, 1e-2, 1e-1]
        assert record.tuning.flops == pytest.approx(record.ledger.total * 2 / 3)
        assert not record.tuning.shared
        kept += [rate for rate in record.tuning.picked if rate is not None]
    assert len(kept) == 12, "six pairs, two seeds"
    run = load(store)
    ape, scalar, stacked = (tuning_of(run.methods[label]) for label in ("ape", "scalar", "stacked"))
    assert ape is not None
    assert ape.rates == [1e-3, 1e-2, 1e-1]
    assert ape.picked == {f"{rate:g}": kept.count(rate) for rate in sorted(set(kept))}
    spent = sum(record.ledger.total for record in records(plan, store, "ape")) / 2
    assert ape.flops == pytest.approx(spent * 2 / 3)
    assert scalar is not None
    assert (scalar.rates, scalar.picked, scalar.flops) == ([1e-2], {"0.01": 12}, 0)
    assert stacked is not None
    assert stacked.shared
    assert all(count in (6, 12) for count in stacked.picked.values())
    assert tuning_of(run.methods["ridge"]) is None


def test_what_survives_all_rungs_is_what_the_tuned_grid_trains(temp_project: Project) -> None:
    """Also when one of the rates breaks down in the first rung."""
    settings = "epochs: 4, batch_size: 64, clip: null, lr: [1.0e-3, 1.0e-2, 1.0e+38]"
    plan = sweep(temp_project, f"ape: {{{settings}}}", f"ape_halving: {{{settings}, eta: 2}}")
    store = temp_project.store(plan)
    grid = {(record.seed, record.pairs[0]): record for record in records(plan, store, "ape")}
    done = [record for record in records(plan, store, "ape_halving") if record.status == "done"]
    rungs = len(plan.methods["ape_halving"].rungs)
    assert isinstance(plan.methods["ape_halving"].method, ApeHalving)
    by_pair: dict[tuple[int, tuple[str, str]], list[CellRecord]] = {}
    for record in done:
        by_pair.setdefault((record.seed, record.pairs[0]), []).append(record)
    survivors = {cell: own for cell, own in by_pair.items() if len(own) == rungs}
    assert len(survivors) == 2
    for cell, own in survivors.items():
        first, last = own[0], own[-1]
        assert any("the rate 1e+38 was not picked: it diverged at step" in note for note in first.warnings)
        assert last.metrics == grid[cell].metrics
        both = last.tuning, grid[cell].tuning
        assert both[0] is not None
        assert both[1] is not None
        assert both[0].picked == both[1].picked
        # Evaluation apart, the rungs together spend what the grid does: the broken rate until it broke.
        spent = [sum(r.ledger.flops.get(phase, 0.0) for r in own) for phase in ("connector", "logits", "optimizer")]
        assert spent == [grid[cell].ledger.flops[phase] for phase in ("connector", "logits", "optimizer")]


def test_rungs_are_planned_at_all_rates(world: Project) -> None:
    def planned(lr: str) -> dict[str, float]:
        entry = f"methods.ape={{method: ape_halving, epochs: 8, batch_size: 64, lr: {lr}}}"
        flops = estimates(world.plan("world.yaml", entry, "reference=null"))["ape"].flops
        assert flops is not None
        return flops

    one, three = planned("1e-2"), planned("[1e-3, 1e-2, 1e-1]")
    assert three == pytest.approx({phase: 3 * flops for phase, flops in one.items()})
