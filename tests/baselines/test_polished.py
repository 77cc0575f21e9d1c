"""Gradient steps from the closed form: where they start, what they cost, and that they are never a loss."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from baselines.polished import Polished
from baselines.polishing import polish
from baselines.spectral import Spectral
from harness.connectors.low_rank import LowRank
from harness.connectors.mlp import Mlp
from harness.contract.connector import ConnectorKind
from harness.errors import HarnessError
from harness.method import Budget, Connector, Direction, Problem
from harness.objectives.info_nce import InfoNce
from tests.problems import connectors_of, silent

Maker: TypeAlias = Callable[..., Any]
Views: TypeAlias = Callable[..., Any]


def world(make: Maker, views: Views, kind: ConnectorKind | None = None, **more: Any) -> Any:
    """Pairs of two shapes, noisy enough that nothing is perfect."""
    noise = {"i0": 1.0, "i1": 2.0, "t0": 1.0, "t1": 2.0}
    images, texts = views(200, {"i0": 10, "i1": 7}, noise=noise), views(200, {"t0": 8, "t1": 8}, noise=noise, seed=1)
    made = make(images, texts, **more)
    if kind is None:
        return made
    return replace(made, problem=replace(made.problem, sizes=replace(made.problem.sizes, connector=kind)))


def loss_of(problem: Problem, connectors: dict[tuple[str, str], Connector], scale: float) -> float:
    """Mean InfoNCE over the pairs, of one batch of training rows that is as large as can be."""
    batch = next(problem.batches(len(problem.train.image_rows), seed=5))
    objective = problem.objective(logit_scale=scale)
    return float(np.mean([objective.loss(made, pair, batch).item() for pair, made in connectors.items()]))


@pytest.mark.parametrize("kind", [None, Mlp(1, 24), Mlp(2, 30)])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_it_starts_where_the_closed_form_stands(
    make: Maker, views: Views, kind: ConnectorKind | None, direction: Direction
) -> None:
    """With a learning rate of nearly nothing, mapped rows are those of the spectral maps."""
    made = world(make, views, kind, direction=direction)
    starts = connectors_of(made.fit(Spectral()))
    recipe = Polished(lr=1e-9, batch_size=50)
    ended = connectors_of(polish(made.problem, recipe, starts, 1, seed=0, progress=silent))
    for pair, start in starts.items():
        assert ended[pair].kind == made.problem.sizes.connector
        bank = made.problem.train.texts(pair[1]) if direction == "text_to_image" else made.problem.train.images(pair[0])
        torch.testing.assert_close(ended[pair](bank), start(bank), atol=1e-4, rtol=1e-4)


def test_without_steps_it_is_the_closed_form(make: Maker, views: Views) -> None:
    made = world(make, views)
    start, polished = made.fit(Spectral()), made.fresh().fit(Polished(updates=0))
    assert polished.scores == start.scores
    assert dict(polished.ledger.flops) == pytest.approx(dict(made.fresh().fit(Spectral()).ledger.flops))


@pytest.mark.parametrize("kind", [None, Mlp(1, 24)])
def test_steps_lower_the_loss(make: Maker, views: Views, kind: ConnectorKind | None) -> None:
    made = world(make, views, kind)
    starts = connectors_of(made.fit(Spectral()))
    recipe = Polished(batch_size=50, logit_scale=10.0)
    ended = connectors_of(polish(made.problem, recipe, starts, 30, seed=0, progress=silent))
    assert loss_of(made.problem, ended, 10.0) < loss_of(made.problem, starts, 10.0) - 0.02


@pytest.mark.parametrize("metric", ["text_to_image_r1", "median_rank"])
@pytest.mark.parametrize("lr", [2e-2, 1e3])
def test_no_pair_ends_worse_than_it_began(make: Maker, views: Views, metric: str, lr: float) -> None:
    """On validation data, however high the rate is; what did not gain keeps the closed form."""
    made = world(make, views, metric=metric)
    start = made.fit(Spectral())
    fit = made.fresh().fit(Polished(lr=lr, batch_size=50))
    sign = 1 if metric == "text_to_image_r1" else -1
    assert all(sign * fit.scores[pair] >= sign * start.scores[pair] for pair in start.scores)
    for pair, connector in connectors_of(fit).items():
        assert made.problem.score(pair, connector) == fit.scores[pair]
    if lr == 1e3:
        assert fit.scores == start.scores
        assert any("kept the closed form" in warning for warning in fit.warnings)


def test_a_training_that_breaks_down_leaves_the_closed_form(make: Maker, views: Views) -> None:
    made = world(make, views)
    start = made.fit(Spectral())
    fit = made.fresh().fit(Polished(lr=1e38, batch_size=50, clip=None))
    assert fit.scores == start.scores
    assert fit.diverged is None
    assert not fit.lost


@pytest.mark.parametrize(("rows", "steps"), [(256, 12), (3840, 12), (12800, 40), (198_000, 619)])
def test_many_rows_get_more_steps(make: Maker, views: Views, rows: int, steps: int) -> None:
    """Twelve, or two fifths of an epoch of batches of 128; unless the sweep says how many."""
    sizes = replace(world(make, views).problem.sizes, train_images=rows)
    found = {n: Polished(updates=n).estimate(sizes, Budget(epochs=1)) for n in (None, 7)}
    assert {n: estimate.updates_per_pair for n, estimate in found.items()} == {None: steps, 7: 7}


def test_only_the_best_are_polished(make: Maker, views: Views) -> None:
    made = world(make, views)
    start = made.fit(Spectral())
    fit = made.fresh().fit(Polished(only=1, updates=40, batch_size=50))
    best = max(start.scores, key=lambda pair: start.scores[pair])
    assert {pair for pair in start.scores if fit.scores[pair] != start.scores[pair]} <= {best}
    assert fit.updates_per_pair == 10
    assert fit.ledger.updates == 40


@pytest.mark.parametrize("kind", [None, Mlp(1, 24), Mlp(1, 10)])
@pytest.mark.parametrize(
    "method", [Polished(batch_size=50), Polished(batch_size=50, lr=(1e-2, 2e-2), updates=3), Polished(updates=0)]
)
def test_the_estimate_is_what_is_booked(
    make: Maker, views: Views, kind: ConnectorKind | None, method: Polished
) -> None:
    """What is booked holds a step that torch counted, so that the closed forms miss no product."""
    made = world(make, views, kind)
    fit = made.fit(method)
    wanted = method.estimate(made.problem.sizes, Budget(epochs=1))
    assert dict(fit.ledger.flops) == pytest.approx(dict(wanted.flops))
    assert fit.updates_per_pair == wanted.updates_per_pair


def test_polishing_costs_a_few_steps_and_one_more_score(make: Maker, views: Views) -> None:
    sizes = world(make, views).problem.sizes
    few, more = (Polished(updates=n, batch_size=50).estimate(sizes, Budget(epochs=1)).flops for n in (10, 20))
    step = sum(
        sizes.connector.step_flops(sizes.dims(pair), 50) + sum(InfoNce.step_flops(sizes.dims(pair), pair, 50).values())
        for pair in sizes.pairs
    )
    products = {phase: more[phase] - few[phase] for phase in ("connector", "logits", "eval", "solve")}
    assert sum(products.values()) == pytest.approx(10 * step)
    assert products["eval"] == products["solve"] == 0


def test_kinds_that_cannot_start_at_a_map_are_refused(make: Maker, views: Views) -> None:
    with pytest.raises(HarnessError, match="low_rank connector cannot start at a linear map"):
        Polished().estimate(world(make, views, LowRank(2)).problem.sizes, Budget(epochs=1))
    with pytest.raises(HarnessError, match=r"one unit cannot start .*width to 2"):
        Polished().estimate(world(make, views, Mlp(1, 1)).problem.sizes, Budget(epochs=1))


@pytest.mark.parametrize("kind", [Mlp(1, 10), Mlp(2, 10)])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_a_narrow_mlp_starts_at_the_nearest_map_of_fewer_directions(
    make: Maker, views: Views, kind: Mlp, direction: Direction
) -> None:
    """By Eckart and Young its mean square distance is what the directions left out hold; they are the smallest."""
    made = world(make, views, kind, direction=direction)
    starts = connectors_of(made.fit(Spectral()))
    ended = connectors_of(polish(made.problem, Polished(lr=1e-9, batch_size=50), starts, 1, seed=0, progress=silent))
    for pair, start in starts.items():
        bank = made.problem.train.texts(pair[1]) if direction == "text_to_image" else made.problem.train.images(pair[0])
        whole, narrow = start(bank), ended[pair](bank)
        left_out = torch.linalg.svdvals(whole - whole.mean(dim=0))[kind.largest_rank :].square().sum()
        assert min(made.problem.sizes.dims(pair).in_dim, made.problem.sizes.dims(pair).out_dim) > kind.largest_rank
        # The sample is 2 rows for each dimension, so the directions are nearly the best.
        assert left_out * (1 - 1e-4) <= (whole - narrow).square().sum() < 4 * left_out
        assert (whole - narrow).square().sum() < 0.5 * (whole - whole.mean(dim=0)).square().sum()
