"""Random, largest and unit1."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from baselines.heuristics import Largest, Random, Unit1
from harness.errors import HarnessError
from harness.method import Budget

Maker: TypeAlias = Callable[..., Any]
Views: TypeAlias = Callable[..., Any]


def grid(views: Views, n: int = 40) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return views(n, {"i0": 5, "i1": 6}), views(n, {"t0": 4, "t1": 3}, seed=1)


def test_random_has_no_opinion_and_costs_nothing(make: Maker, views: Views) -> None:
    made = make(*grid(views))
    fit = made.fit(Random())
    assert set(fit.scores) == set(made.problem.pairs)
    assert len(set(fit.scores.values())) == 1
    assert fit.ledger.total == 0


def test_largest_adds_both_sides_parameters(make: Maker, views: Views) -> None:
    params = {"image_params": {"i0": 5e6, "i1": 20e6}, "text_params": {"t0": 100e6, "t1": 1e6}}
    scores = make(*grid(views), **params).fit(Largest()).scores
    assert scores == {("i0", "t0"): 105, ("i0", "t1"): 6, ("i1", "t0"): 120, ("i1", "t1"): 21}


def test_an_unknown_size_is_one_clear_line(make: Maker, views: Views) -> None:
    made = make(*grid(views), image_params={"i0": 5e6, "i1": 6e6}, text_params={"t0": 5e6})
    with pytest.raises(HarnessError, match="parameters of 't1' are not known"):
        Largest().estimate(made.problem.sizes, Budget(epochs=1))


def test_unit1_ranks_by_given_scores_of_any_unit(make: Maker, views: Views) -> None:
    method = Unit1(image_scores={"i0": 80.0, "i1": 90.0}, text_scores={"t0": 0.6, "t1": 0.5})
    scores = make(*grid(views)).fit(method).scores
    assert scores == pytest.approx({("i0", "t0"): 0, ("i0", "t1"): -2, ("i1", "t0"): 2, ("i1", "t1"): 0})


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_probes_prefer_the_encoder_that_shows_the_classes(make: Maker, probe: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=160)
    centres = 3 * rng.standard_normal((3, 8))
    clear, vague = (centres[labels] + noise * rng.standard_normal((160, 8)) for noise in (0.5, 12.0))
    made = make({"clear": clear, "vague": vague}, {"vague": vague, "clear": clear}, labels=labels)
    fit = made.fit(Unit1(probe=probe))  # type: ignore[arg-type]
    best = max(fit.scores, key=lambda pair: fit.scores[pair])
    assert best == ("clear", "clear")
    estimate = Unit1(probe=probe).estimate(made.problem.sizes, Budget(epochs=1))  # type: ignore[arg-type]
    assert fit.ledger.flops["score"] == pytest.approx(estimate.flops["score"])


def test_unlabelled_rows_take_no_part_in_a_probe(make: Maker) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, -1, -1], 20)
    clear = np.where(labels[:, None] == 1, 1.0, -1.0) + 0.1 * rng.standard_normal((80, 4))
    noise = rng.standard_normal((80, 4))
    made = make({"clear": clear, "noise": noise}, {"t0": clear}, labels=labels)
    fit = made.fit(Unit1(text_scores={"t0": 1.0}))
    assert fit.scores["clear", "t0"] > fit.scores["noise", "t0"]
    assert fit.ledger.flops["score"] == 2 * (2.0 * 30 * 10 * 4)  # half of 60 training and of 20 validation rows


def test_nothing_to_rank_by_and_a_misspelt_encoder_are_found_before_anything_runs(make: Maker, views: Views) -> None:
    sizes = make(*grid(views)).problem.sizes
    with pytest.raises(HarnessError, match="no labels to probe with"):
        Unit1().estimate(sizes, Budget(epochs=1))
    with pytest.raises(HarnessError, match="image_scores has no score of 'i1'"):
        Unit1(image_scores={"i0": 1.0}, text_scores={"t0": 1.0, "t1": 1.0}).estimate(sizes, Budget(epochs=1))
