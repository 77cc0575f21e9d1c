"""Designs, main effects and low-rank completion, and the methods that use them."""

from collections.abc import Callable
from dataclasses import replace
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
    LowRank,
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


@settings(max_examples=60, deadline=None)
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


def predicted_from(
    method: Cover, truth: np.ndarray, images: int, texts: int, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all pairs, completed from the true scores of a design; and whether each pair is outside of it."""
    pairs = pairs_of(images, texts)
    chosen = np.array(design(pairs, count, seed))
    y, shares = link(truth[chosen])
    outside = ~np.isin(np.arange(len(pairs)), chosen)
    return unlink(method.predict(grid_of(pairs), chosen, y, seed), shares), outside


def additive_truth(images: int, texts: int, step: float) -> np.ndarray:
    """Shares whose logits are sums of two effects: 0, 1, 2, ... steps, so that every pair has a near tie."""
    grid = grid_of(pairs_of(images, texts))
    return 1 / (1 + np.exp(-step * (grid[:, 0] + images * grid[:, 1])))


@pytest.mark.parametrize("method", [Additive(penalty=0.0), LowRank(penalty=0.0)])
@pytest.mark.parametrize("step", [1e-7, 0.1])
def test_without_interaction_every_pair_is_exact_and_near_ties_keep_their_order(method: Cover, step: float) -> None:
    truth = additive_truth(5, 4, step)
    for seed in range(4):
        found, outside = predicted_from(method, truth, 5, 4, 12, seed)
        assert outside.sum() == 8
        np.testing.assert_allclose(found, truth, atol=1e-9)
        assert (found.argsort() == truth.argsort()).all()


@pytest.mark.parametrize("method", [Additive(), LowRank(), LowRank(rank=3)])
@pytest.mark.parametrize("score", [0.0, 0.4, 1.0, 37.0])
def test_equal_scores_predict_themselves(method: Cover, score: float) -> None:
    """Nothing but ties: no effect, no interaction, and no division by a spread that is nought."""
    found, outside = predicted_from(method, np.full(20, score), 5, 4, 12)
    # Shares of 0 and 1 are moved in a little, so that a pair that was measured at 1 stays above one that was predicted.
    np.testing.assert_allclose(found[outside], np.clip(score, 1e-4, 1 - 1e-4) if score <= 1 else score, rtol=1e-9)


def test_low_rank_finds_an_interaction_that_main_effects_cannot() -> None:
    grid, rng = grid_of(pairs_of(7, 6)), np.random.default_rng(2)
    affinity = rng.standard_normal(7)[grid[:, 0]] * rng.standard_normal(6)[grid[:, 1]]
    truth = 1 / (1 + np.exp(-(0.5 * rng.standard_normal(7)[grid[:, 0]] + affinity)))
    for seed in range(8):
        additive, low_rank = (predicted_from(method, truth, 7, 6, 36, seed) for method in (Additive(), LowRank()))
        outside = additive[1]
        errors = [float(np.abs(found - truth)[outside].mean()) for found, _ in (additive, low_rank)]
        assert errors[1] < 0.75 * errors[0]


def test_one_seed_gives_both_completions_the_same_pairs_and_connectors(make: Maker, views: Views) -> None:
    made = make(views(80, {"i0": 8, "i1": 9, "i2": 7}), views(80, {"t0": 7, "t1": 6}, seed=1))
    found = {}
    for seed in (0, 1):
        for method in (Additive(**RECIPE, trained=5), LowRank(**RECIPE, trained=5)):
            fit = made.fresh().fit(method, seed=seed, budget=Budget(epochs=2))
            measured = {pair: fit.scores[pair] for pair in connectors_of(fit)}
            tensors = {pair: connector.tensors for pair, connector in connectors_of(fit).items()}
            found[type(method), seed] = measured, tensors, fit.scores
    for seed in (0, 1):
        (scores, tensors, _), (others, other_tensors, _) = found[Additive, seed], found[LowRank, seed]
        assert scores == others
        torch.testing.assert_close(tensors, other_tensors, rtol=0, atol=0)
    assert found[LowRank, 0][2] == made.fresh().fit(LowRank(**RECIPE, trained=5), budget=Budget(epochs=2)).scores
    assert found[Additive, 0][0] != found[Additive, 1][0]


def test_measured_scores_stand_as_they_are_beside_near_ties(make: Maker, views: Views) -> None:
    """The scorer knows the truth: what is measured is the truth, what is predicted is near it, and the order is its."""
    made = make(views(48, {"i0": 5, "i1": 5, "i2": 5}), views(48, {"t0": 4, "t1": 4, "t2": 4}, seed=1))
    truth = dict(zip(made.problem.pairs, additive_truth(3, 3, 1e-6).tolist(), strict=True))
    knowing = Made(replace(made.problem, scorer=lambda pair, connector: truth[pair]))
    fit = knowing.fit(Additive(**RECIPE, penalty=0.0))
    assert len(fit.predicted) == 4
    assert all(fit.scores[pair] == truth[pair] for pair in truth if pair not in fit.predicted)
    assert sorted(fit.scores, key=fit.scores.__getitem__) == sorted(truth, key=truth.__getitem__)


@pytest.mark.parametrize("method", [Additive(**RECIPE), LowRank(**RECIPE, trained=5)])
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
