"""Corrections of the closed form that pairs share: where they start, what they cost, whom they reach."""

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from baselines.polished import Polished
from baselines.spectral import Spectral
from harness.connectors.mlp import Mlp
from harness.contract.connector import Connector, Dims
from harness.method import Budget, Direction
from harness.training.counting import counted
from hyma.joint_polished import Corrected, JointPolished, merged
from tests.problems import Made, connectors_of, matched, views

pytestmark = pytest.mark.usefixtures("one_thread")


def world(**more: Any) -> Made:
    """Six pairs of unlike shapes, noisy enough that nothing is perfect."""
    noise = {"i0": 1.0, "i1": 2.0, "i2": 1.0, "t0": 1.0, "t1": 2.0}
    images = views(200, {"i0": 10, "i1": 7, "i2": 12}, noise=noise)
    return matched(images, views(200, {"t0": 8, "t1": 11}, noise=noise, seed=1), **more)


def small(**more: Any) -> JointPolished:
    settings: dict[str, Any] = {"batch_size": 50, "pairs_per_step": 2, "space_dim": 5} | more
    return JointPolished(**settings)


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_it_starts_as_the_closed_form(direction: Direction) -> None:
    """Before the first step every connector is the spectral map to the last bit, and so is every score."""
    made = world(direction=direction)
    start = made.fit(Spectral())
    maps = connectors_of(start)
    trainee = small().trainee(made.problem, maps, seed=0)
    untrained = trainee.connectors(made.problem.pairs)
    for pair, connector in untrained.items():
        for name, tensor in maps[pair].tensors.items():
            assert torch.equal(connector.tensors[name], tensor)
        assert made.problem.score(pair, connector.frozen()) == start.scores[pair]
    fit = made.fresh().fit(small())
    assert fit.curve[0].scores == start.scores
    assert made.fresh().fit(small(updates=0)).scores == start.scores


def test_a_step_applies_what_is_scored() -> None:
    """The three products of a step are the one affine layer that is scored and exported."""
    dims, rng = Dims(8, 10), torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(s.size, generator=rng) for name, s in Corrected(5).shapes(dims).items()}
    rows = torch.randn(20, 8, generator=rng)
    layer = merged(tensors)
    expected = rows @ layer["layers.0.weight"].T + layer["layers.0.bias"]
    torch.testing.assert_close(Connector(Corrected(5), tensors)(rows), expected, atol=1e-4, rtol=1e-4)


def test_the_closed_form_of_a_step_is_what_torch_counts() -> None:
    dims = Dims(8, 10)
    tensors = {name: torch.randn(shape.size) for name, shape in Corrected(5).shapes(dims).items()}
    for name in ("into.weight", "out_of.weight", "out_of.bias"):
        tensors[name].requires_grad_()
    rows = torch.randn(20, 8)
    step = counted(lambda: Connector(Corrected(5), tensors)(rows).sum().backward())
    assert step == Corrected(5).step_flops(dims, 20)


def test_steps_reach_every_pair_and_lower_the_loss() -> None:
    made, calls = world(), count()
    # Every later score is better, so that whatever was trained is handed over.
    rising = replace(made.problem, scorer=lambda pair, connector: float(next(calls)))
    fits = [Made(rising).fresh().fit(small(updates=updates, logit_scale=10.0)) for updates in (0, 30)]
    before, after = map(connectors_of, fits)
    for pair in rising.pairs:
        assert not torch.equal(before[pair].tensors["layers.0.weight"], after[pair].tensors["layers.0.weight"])
    batch = next(rising.batches(len(rising.train.image_rows), seed=5))
    loss = rising.objective(logit_scale=10.0).loss
    old, new = (sum(loss(own[pair], pair, batch).item() for pair in rising.pairs) for own in (before, after))
    assert new < old - 0.1


def test_no_pair_ends_worse_than_it_began() -> None:
    """On validation data, however high the rate is; what did not gain keeps the closed form."""
    for lr in (2e-2, 1e3):
        made = world(metric="median_rank")
        start, fit = made.fit(Spectral()), made.fresh().fit(small(lr=lr))
        assert all(fit.scores[pair] <= start.scores[pair] for pair in start.scores)
        for pair, connector in connectors_of(fit).items():
            assert made.problem.score(pair, connector) == fit.scores[pair]
    assert any("kept the closed form" in warning for warning in fit.warnings)


def test_a_training_that_breaks_down_leaves_the_closed_form() -> None:
    made = world()
    start = made.fit(Spectral())
    fit = made.fresh().fit(small(lr=1e38, clip=None))
    assert fit.scores == start.scores
    assert fit.diverged is None
    assert set(connectors_of(fit)) == set(made.problem.pairs)


def test_a_seed_says_it_all() -> None:
    made = world()
    one, same, other = (made.fresh().fit(small(lr=0.2), seed=seed) for seed in (1, 1, 2))
    weights = [
        np.concatenate([c.tensors["layers.0.weight"].ravel() for c in connectors_of(f).values()])
        for f in (one, same, other)
    ]
    assert one.scores == same.scores
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize(
    "method",
    [small(), small(pairs_per_step=100), small(lr=(1e-2, 2e-2), updates=3), small(updates=0), small(logit_scale=20.0)],
)
def test_the_estimate_is_what_is_booked(method: JointPolished) -> None:
    """What is booked holds a step that torch counted, so that the closed forms miss no product."""
    noise = {"i0": 1.0, "i1": 2.0, "t0": 1.0, "t1": 2.0}
    made = matched(views(200, {"i0": 10, "i1": 10}, noise=noise), views(200, {"t0": 8, "t1": 8}, noise=noise, seed=1))
    fit = made.fit(method)
    wanted = method.estimate(made.problem.sizes, Budget(epochs=1))
    assert dict(fit.ledger.flops) == pytest.approx(dict(wanted.flops))
    assert fit.updates_per_pair == wanted.updates_per_pair
    assert fit.trained_params == wanted.trained_params


def test_connectors_are_linear_whatever_is_asked_for() -> None:
    made = world()
    made = replace(made, problem=replace(made.problem, sizes=replace(made.problem.sizes, connector=Mlp(1, 24))))
    fit = made.fit(small())
    assert {connector.kind.name for connector in connectors_of(fit).values()} == {"linear"}
    wanted = small().estimate(made.problem.sizes, Budget(epochs=1))
    assert fit.ledger.total == pytest.approx(sum(wanted.flops.values()), rel=0.05)  # pairs of unlike shapes


def test_an_update_of_a_pair_costs_less_than_polishing_it_where_dimensions_are_large(sizes_of: Any) -> None:
    """Half of the fixed map's product, and thin products beside it."""
    sizes = sizes_of([768] * 4, [768] * 4)

    def step(cls: type[JointPolished] | type[Polished]) -> float:
        few, more = (sum(cls(updates=n).estimate(sizes, Budget(epochs=1)).flops.values()) for n in (2, 4))
        return more - few

    assert step(JointPolished) < 0.75 * step(Polished)
