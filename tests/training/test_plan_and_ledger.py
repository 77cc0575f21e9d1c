"""What the plan says that training will cost is what the ledger holds afterwards, whatever is trained and how."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from baselines.halving import ApeInRungs
from harness.contract.ledger import Ledger
from harness.contract.method import METHODS, Estimates, Method, takes_budget
from harness.errors import HarnessError
from harness.method import Budget, Estimate, Pair, Policy, Rung
from harness.sweep.settings import build_config
from harness.training.recipe import Recipe
from harness.training.schedule import UNREPRODUCIBLE
from tests.problems import Made, matched, silent, views

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = {"batch_size": 16, "lr": 1e-2}
JOINT = {**STEPS, "pairs_per_step": 3}
SMALL = {**JOINT, "hidden": [8, 4]}
SETTINGS: dict[str, dict[str, Any]] = {
    "add_encoder": {**SMALL, "pairs_per_step": 2, "held_out": "i0", "condition_updates": 3},
    "additive": STEPS,
    "ape": STEPS,
    "ape_asha": {**STEPS, "eta": 2},
    "ape_halving": {**STEPS, "eta": 2},
    "ape_stacked": STEPS,
    "encoder_layers": {**JOINT, "space_dim": 5},
    "hyma": SMALL,
    "hyper_align": SMALL,
    "hyper_align_published": {**SMALL, "max_out": 10},
    "low_rank": {**STEPS, "trained": 3},
    "shared_connector": STEPS,
}
IN_RUNGS = ("ape_asha", "ape_halving")
PRECISIONS = ("fp32", "bf16", "fp16", "fp64")
BUDGETS = {"epochs": 1.0, "updates_per_pair": 4.0, "flops": 7e4}
"""FLOPs for one pair."""


@pytest.fixture(scope="module")
def world() -> Made:
    """Two encoders on each side, 48 training images. All pairs have one shape: then what a step costs does not depend
    on which pairs a seed puts into it.
    """
    return matched(views(64, {"i0": 8, "i1": 8}), views(64, {"t0": 6, "t1": 6}, seed=1))


def method_of(name: str, precision: str) -> Method:
    """The method, from settings as a sweep file has them."""
    return build_config(METHODS.get(name), {**SETTINGS[name], "precision": precision}, where=name)


def given(world: Made, method: Method) -> Made:
    """What one cell of the method gets: one pair or all of them."""
    pairs = world.problem.pairs
    return world.of(pairs[:1] if method.kind == "per_pair" else pairs)


def test_every_method_that_trains_within_a_budget_is_here() -> None:
    """Others have this test beside their own (``joint_polished``, ``polished``, ``winner``)."""
    recipes = [name for name in METHODS.names() if issubclass(METHODS.get(name), Recipe)]
    assert sorted(SETTINGS) == [name for name in recipes if takes_budget(METHODS.get(name))]  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in IN_RUNGS])
def test_a_cell_books_what_was_foreseen(world: Made, name: str, precision: str, budget: str) -> None:
    method = method_of(name, precision)
    cell = given(world, method)
    limit = Budget(**{budget: BUDGETS[budget] * (len(cell.problem.pairs) if budget == "flops" else 1)})
    fit = cell.fit(method, seed=1, budget=limit)
    assert fit.diverged is None
    assert set(fit.scores) == set(cell.problem.pairs)
    assert isinstance(method, Estimates)
    planned = method.estimate(cell.problem.sizes, limit)
    assert dict(fit.ledger.flops) == pytest.approx(dict(planned.flops), rel=1e-9)
    assert fit.updates_per_pair == pytest.approx(planned.updates_per_pair)
    assert fit.ledger.updates == pytest.approx(planned.updates_per_pair * len(cell.problem.pairs))
    assert fit.trained_params == planned.trained_params


def race(world: Made, method: ApeInRungs, limit: Budget) -> Ledger:
    """Every pair rung by rung, as a backend runs them; a method without a policy of its own stops none."""
    spent, going = Ledger(), world.problem.pairs
    states: dict[Pair, Mapping[str, Tensor] | None] = dict.fromkeys(going)
    for number, end in enumerate(method.rungs(len(going), limit)):
        scores = {}
        for pair in going:
            problem = replace(world.of([pair]).problem, rung=Rung(end, states[pair]), ledger=spent.part())
            fit = method.fit(problem, limit, seed=1, progress=silent)
            assert fit.diverged is None
            states[pair], scores[pair] = fit.state, fit.scores[pair]
        if isinstance(method, Policy):
            going = tuple(method.keep(number, scores, higher_is_better=True))
    return spent


def with_every_rung(world: Made, method: ApeInRungs, limit: Budget) -> Estimate:
    """What all pairs cost if none is stopped: one training each, scored at the end of every rung."""
    pairs = world.problem.pairs
    one = method.estimate(world.of(pairs[:1]).problem.sizes, limit)
    scored = len(method.rungs(len(pairs), limit)) * world.problem.sizes.score_flops(pairs[0])
    flops = {phase: len(pairs) * spent for phase, spent in {**one.flops, "eval": scored}.items()}
    return replace(one, flops=flops)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", IN_RUNGS)
def test_a_race_books_what_was_foreseen(world: Made, name: str, precision: str, budget: str) -> None:
    method, limit = method_of(name, precision), Budget(**{budget: BUDGETS[budget]})
    assert isinstance(method, ApeInRungs)
    assert len(method.rungs(4, limit)) == 3
    spent = race(world, method, limit)
    if isinstance(method, Policy):
        planned = method.estimate_rungs([world.of([pair]).problem.sizes for pair in world.problem.pairs], limit)
    else:
        planned = with_every_rung(world, method, limit)
    assert dict(spent.flops) == pytest.approx(dict(planned.flops), rel=1e-9)
    assert spent.updates == pytest.approx(planned.updates_per_pair * 4)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_budget_of_seconds_runs_and_says_what_it_is(
    world: Made, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    """On a clock that goes on by a hundredth of a second whenever anybody looks at it."""
    looks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: next(looks) / 100)
    method, limit = method_of(name, precision), Budget(seconds=0.2)
    if isinstance(method, ApeInRungs):
        with pytest.raises(HarnessError, match="cannot be budgeted in seconds"):
            method.rungs(4, limit)
        return
    fit = given(world, method).fit(method, seed=1, budget=limit)
    assert fit.diverged is None
    assert UNREPRODUCIBLE in fit.warnings
    assert fit.ledger.updates > 1
    assert fit.ledger.flops["connector"] > 0
