"""The race for one pair: against the closed form of all rows, worlds with and without a clear winner, and its costs."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from baselines.polished import Polished
from baselines.spectral import Spectral
from baselines.winner import Winner
from harness.contract.method import METHODS, Recommended
from harness.method import Budget
from tests.problems import connectors_of, views

Maker: TypeAlias = Callable[..., Any]


def clear(make: Maker, **more: Any) -> Any:
    """One encoder of each side sees much more than the others."""
    images = views(400, {"i0": 12, "i1": 12, "i2": 12}, noise={"i0": 4.0, "i1": 0.3, "i2": 3.0})
    texts = views(400, {"t0": 12, "t1": 12}, noise={"t0": 0.3, "t1": 3.0}, seed=1)
    return make(images, texts, **more)


def equal(make: Maker) -> Any:
    """Encoders that see the same with the same noise."""
    images = views(400, {f"i{n}": 12 for n in range(3)}, noise={f"i{n}": 2.0 for n in range(3)})
    return make(images, views(400, {"t0": 12, "t1": 12}, noise={"t0": 2.0, "t1": 2.0}, seed=1))


@pytest.mark.parametrize("metric", ["text_to_image_r1", "mean_r1", "median_rank"])
def test_a_clear_winner_is_found_and_alone_in_the_race(make: Maker, metric: str) -> None:
    fit = clear(make, metric=metric).fit(Winner(sample=60, batch_size=100, updates=2))
    sign = -1 if metric == "median_rank" else 1
    assert max(fit.scores, key=lambda pair: sign * fit.scores[pair]) == ("i1", "t0")
    assert fit.racing[0] == ("i1", "t0")
    if metric != "median_rank":  # which is no mean, and has no intervals here
        assert fit.racing == (("i1", "t0"),)


def test_equal_pairs_stay_in_the_race_together(make: Maker) -> None:
    made = equal(make)
    fit = made.fit(Winner(sample=100, polish=False, at_most_gap=0.0))
    assert set(fit.racing) == set(made.problem.pairs)
    scores = [fit.scores[pair] for pair in fit.racing]
    assert scores == sorted(scores, reverse=True)


def test_the_finalists_keep_the_better_of_few_and_all_rows(make: Maker) -> None:
    made = equal(make)
    few, whole = (made.fresh().fit(Spectral(rows=rows)).scores for rows in (100, "all"))
    fit = made.fresh().fit(Winner(sample=100, finalists=2, polish=False))
    finalists = sorted(few, key=lambda pair: -few[pair])[:2]
    for pair, score in fit.scores.items():
        assert score == (max(few[pair], whole[pair]) if pair in finalists else few[pair])
    for pair, connector in connectors_of(fit).items():
        assert made.problem.score(pair, connector) == fit.scores[pair]


def test_a_single_pair_gets_what_polished_gives_it(make: Maker) -> None:
    made = clear(make).of([("i2", "t1")])
    polished = made.fit(Polished(rows="all", batch_size=100, updates=9))
    fit = made.fresh().fit(Winner(sample=300, batch_size=100, updates=9, rounds=1))
    assert fit.scores == polished.scores


def test_it_stops_when_another_polish_gains_too_little(make: Maker) -> None:
    made = clear(make)
    enough = made.fresh().fit(Winner(sample=60, batch_size=100, updates=2, at_most_gap=1.0))
    assert enough.ledger.updates == 2 * enough.pairs_per_step
    greedy = made.fresh().fit(Winner(sample=60, batch_size=100, updates=2, rounds=3, at_most_gap=0.0))
    assert greedy.ledger.updates == (2 + 4 + 8) * greedy.pairs_per_step
    assert any("still gained" in warning for warning in greedy.warnings)


def test_without_polishing_there_is_no_gradient_step(make: Maker) -> None:
    fit = clear(make).fit(Winner(sample=60, polish=False))
    assert fit.ledger.updates == 0
    assert set(fit.ledger.flops) == {"solve", "eval"}


@pytest.mark.parametrize("finalists", [1, 6])
def test_the_estimate_is_what_is_booked_where_nothing_depends_on_the_race(make: Maker, finalists: int) -> None:
    made = equal(make)
    method = Winner(sample=100, finalists=finalists, batch_size=100, rounds=1, at_most_gap=0.0)
    fit = made.fit(method)
    assert fit.pairs_per_step == finalists
    estimate = method.estimate(made.problem.sizes, Budget(epochs=1))
    booked = {phase: fit.ledger.flops[phase] for phase in ("connector", "logits", "optimizer", "eval")}
    assert booked == pytest.approx({phase: estimate.flops[phase] for phase in booked})
    # Finalists share their encoders' covariances, which the estimate counts for each.
    assert fit.ledger.flops["solve"] <= estimate.flops["solve"] * (1 + 1e-9)
    assert fit.updates_per_pair == pytest.approx(estimate.updates_per_pair)


def test_the_same_seed_gives_the_same_numbers(make: Maker) -> None:
    made = equal(make)
    one, other = (made.fresh().fit(Winner(sample=100, batch_size=100, updates=2), seed=3) for _ in range(2))
    assert one.scores == other.scores
    assert one.racing == other.racing


def test_it_is_registered_for_what_it_hands_over() -> None:
    cls = METHODS.get("winner")
    assert isinstance(cls, Recommended)
    assert set(cls.recommended_for) == {"winner"}
