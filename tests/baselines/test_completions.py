"""Designs, main effects and low-rank completion, and the methods that use them."""

from collections.abc import Callable
from itertools import product
from textwrap import dedent
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.additive import (
    Additive,
    Cover,
    LowRankCompletion,
    cover_size,
    design,
    grid_of,
    link,
    low_rank_rest,
    main_effects,
    unlink,
)
from baselines.ape import Ape
from baselines.shared import SharedConnector
from harness.errors import HarnessError
from harness.method import Budget
from harness.run.stopping import missing
from reports.analysis import analyse
from tests.problems import Made, connectors_of

Maker: TypeAlias = Callable[..., Made]
Views: TypeAlias = Callable[..., Any]
RECIPE = {"batch_size": 32, "lr": 1e-2}


def pairs_of(images: int, texts: int) -> list[tuple[str, str]]:
    return [(f"i{i}", f"t{t}") for i, t in product(range(images), range(texts))]


def connected(pairs: list[tuple[str, str]]) -> bool:
    """Whether the pairs join all their encoders, by walking."""
    seen, todo = set(pairs[0]), list(pairs)
    while any(set(pair) & seen for pair in todo):
        joined = [pair for pair in todo if set(pair) & seen]
        seen |= {encoder for pair in joined for encoder in pair}
        todo = [pair for pair in todo if pair not in joined]
    return not todo


@settings(max_examples=60)
@given(images=st.integers(1, 9), texts=st.integers(1, 5), more=st.integers(0, 45), seed=st.integers(0, 9))
def test_a_design_connects_all_encoders_with_even_exposure(images: int, texts: int, more: int, seed: int) -> None:
    pairs = pairs_of(images, texts)
    count = min(images + texts - 1 + more, len(pairs))
    chosen = design(pairs, count, seed)
    assert len(set(chosen)) == count == len(chosen)
    kept = [pairs[p] for p in chosen]
    assert {e for pair in kept for e in pair} == {e for pair in pairs for e in pair}
    assert connected(kept)
    times = np.bincount(grid_of(pairs)[chosen, 1], minlength=texts)
    assert times.max() - times.min() <= max(2, images // 2)


def test_designs_differ_between_seeds_and_not_within() -> None:
    pairs = pairs_of(6, 4)
    assert design(pairs, 9, 0) == design(pairs, 9, 0)
    assert len({tuple(design(pairs, 9, seed)) for seed in range(10)}) > 5


def test_main_effects_are_exact_on_an_additive_grid_from_a_cover_alone() -> None:
    grid = grid_of(pairs_of(5, 4))
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(5)[grid[:, 0]] + rng.standard_normal(4)[grid[:, 1]] + 2.0
    for seed in range(5):
        chosen = np.array(design(pairs_of(5, 4), 8, seed))
        np.testing.assert_allclose(main_effects(grid, chosen, truth[chosen], 0.0), truth, atol=1e-9)


def test_a_penalty_pulls_effects_to_the_mean() -> None:
    grid = grid_of(pairs_of(3, 3))
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    everything = np.arange(9)
    spread = [np.ptp(main_effects(grid, everything, y, penalty)) for penalty in (0.0, 1.0, 1e6)]
    assert spread[0] == pytest.approx(8.0)
    assert spread[0] > spread[1] > spread[2]
    assert main_effects(grid, everything, y, 1e6) == pytest.approx(5.0, abs=1e-3)


def test_low_rank_completion_recovers_a_rank_one_matrix() -> None:
    pairs = pairs_of(6, 5)
    grid = grid_of(pairs)
    rng = np.random.default_rng(1)
    truth = np.outer(rng.uniform(0.5, 1.5, 6), rng.uniform(0.5, 1.5, 5)).ravel()
    chosen = np.array(design(pairs, 22, 0))
    found = low_rank_rest(grid, chosen, truth[chosen], rank=1, penalty=1e-6, seed=0, sweeps=500)
    np.testing.assert_allclose(found, truth, atol=1e-2)
    unsupported = low_rank_rest(grid, chosen, truth[chosen], rank=1, penalty=100.0, seed=0)
    assert np.abs(unsupported).max() < 0.05


@pytest.mark.parametrize("scores", [[0.2, 0.5, 0.9], [3.0, 10.0, 200.0]])
def test_the_link_has_an_inverse_and_keeps_the_order(scores: list[float]) -> None:
    values, shares = link(np.array(scores))
    assert shares == (max(scores) <= 1)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(unlink(values, shares), scores)


def test_perfect_and_hopeless_scores_stay_finite() -> None:
    assert np.isfinite(link(np.array([0.0, 0.4, 1.0]))[0]).all()


@pytest.mark.parametrize("method", [Additive(**RECIPE), LowRankCompletion(**RECIPE, trained=5)])
def test_trained_pairs_are_apes_and_the_rest_is_predicted(make: Maker, views: Views, method: Cover) -> None:
    made = make(views(120, {"i0": 8, "i1": 9, "i2": 8}), views(120, {"t0": 7, "t1": 6}, seed=1))
    budget = Budget(epochs=3)
    fit = made.fit(method, seed=1, budget=budget)
    connectors = connectors_of(fit)
    trained = design(made.problem.pairs, len(connectors), 1)
    assert set(connectors) == {made.problem.pairs[p] for p in trained}
    assert fit.predicted == set(made.problem.pairs) - set(connectors)
    assert set(fit.scores) == set(made.problem.pairs)
    assert all(0 <= score <= 1 for score in fit.scores.values())
    pair = next(iter(connectors))
    alone = made.of([pair]).fit(Ape(**RECIPE), seed=1, budget=budget)
    torch.testing.assert_close(connectors[pair].tensors, connectors_of(alone)[pair].tensors)
    assert fit.updates_per_pair == pytest.approx(alone.updates_per_pair * len(trained) / 6)
    assert fit.ledger.updates == alone.updates_per_pair * len(trained)


def test_a_full_design_books_what_the_estimate_says(make: Maker, views: Views) -> None:
    made = make(views(120, {"i0": 8, "i1": 9}), views(120, {"t0": 7, "t1": 6}, seed=1))
    method = Additive(**RECIPE, trained=4)
    fit = made.fit(method, budget=Budget(epochs=2))
    estimate = method.estimate(made.problem.sizes, Budget(epochs=2))
    assert dict(fit.ledger.flops) == pytest.approx(dict(estimate.flops))
    assert (fit.updates_per_pair, fit.trained_params) == (estimate.updates_per_pair, estimate.trained_params)
    assert not fit.predicted


def test_a_flop_budget_is_shared_by_the_trained_pairs(make: Maker, views: Views) -> None:
    made = make(views(120, {"i0": 8, "i1": 8}), views(120, {"t0": 8, "t1": 8}, seed=1))
    whole = made.fit(Additive(**RECIPE), budget=Budget(epochs=8)).ledger
    training = whole.total - whole.flops["eval"]
    half = made.fresh().fit(Additive(**RECIPE), budget=Budget(flops=training / 2)).ledger
    assert half.updates == pytest.approx(whole.updates / 2, abs=3)


def test_too_few_pairs_cannot_connect_the_grid(make: Maker, views: Views) -> None:
    sizes = make(views(40, {"i0": 4, "i1": 4}), views(40, {"t0": 4, "t1": 4}, seed=1)).problem.sizes
    assert cover_size(sizes.pairs) == 3
    with pytest.raises(HarnessError, match="takes 3 pairs to connect all encoders"):
        Additive(trained=2).estimate(sizes, Budget(epochs=1))


def test_a_shared_connector_of_one_target_is_apes_problem_and_of_two_a_compromise(make: Maker, views: Views) -> None:
    images, texts = views(160, {"i0": 12, "i1": 12, "i2": 9}), views(160, {"t0": 12}, seed=1)
    made = make(images, texts)
    fit = made.fit(SharedConnector(**RECIPE), budget=Budget(epochs=15))
    weights = {pair: connector.tensors["layers.0.weight"] for pair, connector in connectors_of(fit).items()}
    assert torch.equal(weights["i0", "t0"], weights["i1", "t0"])  # one dimension, one connector
    assert weights["i2", "t0"].shape == (9, 12)
    assert fit.trained_params == (12 * 12 + 12) + (9 * 12 + 9) + 3
    alone = made.of([("i0", "t0")]).fit(Ape(**RECIPE), budget=Budget(epochs=15))
    assert alone.scores["i0", "t0"] > fit.scores["i0", "t0"] > 1 / 40  # better than chance, worse than its own


def test_shared_connector_books_its_estimate(make: Maker, views: Views) -> None:
    made = make(views(120, {"i0": 8, "i1": 8, "i2": 9}), views(120, {"t0": 7, "t1": 6}, seed=1))
    fit = made.fit(SharedConnector(**RECIPE), budget=Budget(epochs=2))
    estimate = SharedConnector(**RECIPE).estimate(made.problem.sizes, Budget(epochs=2))
    assert dict(fit.ledger.flops) == pytest.approx(dict(estimate.flops))
    assert fit.trained_params == estimate.trained_params


def test_a_sweep_of_all_baselines_runs_and_is_analysed(world: Any) -> None:
    methods = """
  ape: {epochs: 1, batch_size: 64}
  additive: {epochs: 1, batch_size: 64}
  shared_connector: {epochs: 1, batch_size: 64}
  ridge: {}
  cca: {}
  procrustes: {}
  mutual_knn: {rows: 60}
  cka: {rows: 60, "null": 2}
  cknna: {rows: 60}
  svcca: {rows: 60, components: 8}
  logme: {rows: 60}
  h_score: {rows: 60}
  unit1: {}
  random: {}
"""
    text = dedent((world.folder / "world.yaml").read_text())
    world.write("world.yaml", text.split("methods:")[0] + "methods:" + methods + text[text.index("reference:") :])
    plan, store = world.run("world.yaml", "seeds=[0]")
    records = store.records(store.manifest()).values()
    assert {(record.label, record.error) for record in records if record.status != "done"} == set()
    assert not missing(plan, store)
    (additive,) = [record for record in records if record.label == "additive"]
    assert len(additive.metrics) == 6
    assert len([entry for entry in additive.metrics if entry.test]) == 4  # 3 + 2 - 1
    summary = analyse(store).summary.methods
    assert summary["additive"].mean_score is not None
    assert summary["additive"].spearman.value is not None
    chance = summary["random"]
    assert (chance.spearman.value, chance.best_pair, chance.flops.total) == (0.0, None, 0.0)
    assert chance.best_pair_hit == pytest.approx(1 / 6)
    assert chance.ndcg.value == pytest.approx(chance.ndcg.chance)


def test_largest_follows_the_stated_parameters_into_the_cells_key(world: Any) -> None:
    facts = ["{id: image00, params: 9.0e+6}", "{id: image01, params: 5.0e+6}"]

    def key(images: list[str], method: str) -> str:
        over = [f"image_encoders=[{', '.join(images)}]", "text_encoders=[{id: text00, params: 1.0e+6}]"]
        plan = world.plan("world.yaml", *over, f"methods={{m: {{method: {method}}}}}", "reference=null", "seeds=[0]")
        return plan.cells[0].key

    other = [facts[0], "{id: image01, params: 50.0e+6}"]
    assert key(facts, "largest") != key(other, "largest")
    assert key(facts, "random") == key(other, "random")
