"""Several learning rates in one pass: what a pair keeps is what the run at its rate gives, and all of it is booked."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from baselines.additive import Additive
from baselines.ape import Ape
from baselines.shared import SharedConnector
from baselines.stacked import ApeStacked
from harness.errors import HarnessError
from harness.method import Budget, Connector, Fit, Method, Pair
from hyma.add_encoder import AddEncoder
from hyma.encoder_layers import EncoderLayers
from hyma.hyper_align import HyperAlign
from hyma.method import Hyma
from tests.problems import Made, Table, connectors_of

RATES = (5e-4, 1e-2, 1e-1)

COMMON: dict[str, Any] = {"batch_size": 32, "clip": 0.5, "warmup": 0.2, "weight_decay": 0.1}
JOINT: dict[str, Any] = {**COMMON, "pairs_per_step": 3}
METHODS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ape": (Ape, COMMON),
    "ape_stacked": (ApeStacked, COMMON),
    "shared_connector": (SharedConnector, COMMON),
    "additive": (Additive, COMMON),
    "encoder_layers": (EncoderLayers, {**JOINT, "space_dim": 6}),
    "hyma": (Hyma, {**JOINT, "hidden": (16, 8)}),
    "hyper_align": (HyperAlign, {**JOINT, "hidden": (16, 8)}),
}
EPOCHS = Budget(epochs=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small only lose by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def real(make: Callable[..., Made], views: Callable[..., dict[str, np.ndarray]]) -> Made:
    """3 x 2 encoders of 160 images."""
    images = views(160, {"i0": 10, "i1": 10, "i2": 14}, seed=1)
    return make(images, views(160, {"t0": 8, "t1": 8}, noise={"t1": 1.0}, seed=2), metric="text_to_image_r5")


@pytest.fixture
def grid(real: Made) -> Made:
    """The same under a score by which pairs want different rates: t0's the longest way from zero, t1's the shortest."""

    def score(pair: Pair, connector: Connector) -> float:
        norm = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in connector.tensors.values()))
        return norm if pair[1] == "t0" else -norm

    return Made(replace(real.problem, scorer=score))


def pairs_of(name: str, grid: Made) -> Made:
    """What one cell of this method holds."""
    return grid.of(grid.problem.pairs[:1]) if name == "ape" else grid.fresh()


Runs = tuple[dict[float, Fit], Fit]
"""What the runs at each rate by itself give, and the one at all of them."""


@pytest.fixture(scope="module")
def done() -> dict[str, Runs]:
    """Runs that several tests look at."""
    return {}


@pytest.fixture
def runs(grid: Made, done: dict[str, Runs]) -> Callable[[str], Runs]:
    """Method -> its runs."""

    def found(name: str) -> Runs:
        if name not in done:
            done[name] = alone_and_together(name, pairs_of(name, grid))
        return done[name]

    return found


def alone_and_together(name: str, made: Made, **settings: Any) -> Runs:
    cls, own = METHODS[name]
    alone = {lr: made.fresh().fit(cls(lr=lr, **own, **settings), seed=1, budget=EPOCHS) for lr in RATES}
    return alone, made.fresh().fit(cls(lr=RATES, **own, **settings), seed=1, budget=EPOCHS)


def best_rates(alone: dict[float, Fit], *, sign: float = 1.0) -> dict[Pair, float]:
    """Each pair's rate of the best validation score, the lowest of equals."""
    scores = {lr: fit.scores for lr, fit in alone.items() if not fit.diverged}
    trained = connectors_of(next(iter(alone.values())))
    return {pair: max(scores, key=lambda lr: (sign * scores[lr][pair], -lr)) for pair in trained}


def assert_same_connectors(fit: Fit, expected: dict[Pair, Fit]) -> None:
    made = connectors_of(fit)
    assert made.keys() == expected.keys()
    for pair, own in expected.items():
        theirs = connectors_of(own)[pair].tensors
        assert made[pair].tensors.keys() == theirs.keys()
        assert all(torch.equal(made[pair].tensors[name], theirs[name]) for name in theirs), pair


@pytest.mark.parametrize("name", METHODS)
def test_a_pair_keeps_exactly_what_the_run_at_its_best_rate_gives(name: str, runs: Callable[[str], Runs]) -> None:
    alone, fit = runs(name)
    best = best_rates(alone)
    assert fit.tuning is not None
    assert fit.tuning.tried == RATES
    assert fit.tuning.picked == best
    assert name == "ape" or len(set(best.values())) > 1, "the pairs must differ for this to show anything"
    assert_same_connectors(fit, {pair: alone[lr] for pair, lr in best.items()})
    assert {pair: fit.scores[pair] for pair in best} == {pair: alone[lr].scores[pair] for pair, lr in best.items()}


@pytest.mark.parametrize("name", METHODS)
def test_all_rates_are_booked_and_planned(name: str, grid: Made, runs: Callable[[str], Runs]) -> None:
    alone, fit = runs(name)
    for phase in fit.ledger.flops:
        assert fit.ledger.flops[phase] == sum(own.ledger.flops[phase] for own in alone.values())
    assert fit.ledger.updates == sum(own.ledger.updates for own in alone.values())
    for own in alone.values():
        assert (fit.updates_per_pair, fit.samples_per_pair) == (own.updates_per_pair, own.samples_per_pair)
        assert fit.trained_params == own.trained_params
    assert fit.tuning is not None
    assert fit.tuning.flops == pytest.approx(fit.ledger.total * 2 / 3), "of three equally dear rates one is kept"
    cls, settings = METHODS[name]
    planned = cls(lr=RATES, **settings).estimate(pairs_of(name, grid).problem.sizes, EPOCHS)
    if name != "additive":  # planned for a design of average pairs
        assert dict(planned.flops) == pytest.approx(dict(fit.ledger.flops), rel=1e-9)
    assert planned.updates_per_pair == pytest.approx(fit.updates_per_pair)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "additive"])
def test_the_curve_has_the_scores_of_what_is_kept_and_the_flops_of_all(name: str, runs: Callable[[str], Runs]) -> None:
    alone, fit = runs(name)
    best = best_rates(alone)
    curves = {lr: {point.step: point for point in own.curve} for lr, own in alone.items()}
    assert [point.step for point in fit.curve] == list(curves[RATES[0]])
    assert len(fit.curve) > 1
    for point in fit.curve:
        assert point.scores == {pair: curves[lr][point.step].scores[pair] for pair, lr in best.items()}
        assert point.flops == sum(curve[point.step].flops for curve in curves.values())
        assert point.updates_per_pair == curves[RATES[0]][point.step].updates_per_pair
    assert fit.curve[-1].flops == fit.ledger.total


@pytest.mark.parametrize("name", METHODS)
def test_a_list_of_one_rate_is_that_rate(name: str, grid: Made) -> None:
    cls, settings = METHODS[name]
    made = pairs_of(name, grid)
    one, listed = (made.fresh().fit(cls(lr=lr, **settings), seed=1, budget=EPOCHS) for lr in (1e-2, (1e-2,)))
    assert_same_connectors(listed, dict.fromkeys(connectors_of(one), one))
    assert (listed.scores, dict(listed.ledger.flops)) == (one.scores, dict(one.ledger.flops))
    assert one.tuning is not None
    assert one.tuning.tried == (1e-2,)
    assert one.tuning.flops == 0
    assert set(one.tuning.picked.values()) == {1e-2}
    assert not [note for note in one.warnings if "tried" in note]


@pytest.mark.parametrize("name", ["ape_stacked", "hyma"])
def test_one_rate_for_all_pairs_is_the_one_of_the_best_mean_score(name: str, grid: Made) -> None:
    alone, fit = alone_and_together(name, grid, tune="shared")
    means = {lr: np.mean(list(own.scores.values())) for lr, own in alone.items()}
    best = max(means, key=lambda lr: means[lr])
    assert fit.tuning is not None
    assert fit.tuning.shared
    assert set(fit.tuning.picked.values()) == {best}
    assert_same_connectors(fit, dict.fromkeys(grid.problem.pairs, alone[best]))


def test_where_lower_is_better_the_lowest_score_is_picked(
    make: Callable[..., Made], views: Callable[..., dict[str, np.ndarray]]
) -> None:
    made = make(views(160, {"i0": 10}, seed=1), views(160, {"t0": 8}, noise={"t0": 1.0}, seed=2), metric="median_rank")
    alone, fit = alone_and_together("ape", made)
    scores = [own.scores["i0", "t0"] for own in alone.values()]
    assert len(set(scores)) > 1
    assert fit.scores["i0", "t0"] == min(scores)


@pytest.mark.parametrize("name", ["ape", "ape_stacked", "encoder_layers", "hyma"])
def test_a_rate_that_diverges_does_not_touch_the_others(name: str, grid: Made) -> None:
    cls, settings = METHODS[name]
    made, wild = pairs_of(name, grid), {**settings, "clip": None}
    rates = (5e-3, 1e-2, 1e38)
    alone = {lr: made.fresh().fit(cls(lr=lr, **wild), seed=1, budget=EPOCHS) for lr in rates}
    broken = alone[1e38].diverged
    assert broken is not None
    fit = made.fresh().fit(cls(lr=rates, **wild), seed=1, budget=EPOCHS)
    assert fit.diverged is None
    assert not fit.lost
    best = best_rates(alone)
    assert fit.tuning is not None
    assert fit.tuning.picked == best
    assert_same_connectors(fit, {pair: alone[lr] for pair, lr in best.items()})
    assert fit.ledger.total == sum(own.ledger.total for own in alone.values()), "it costs until it breaks down"
    assert fit.curve[-1].flops == fit.ledger.total
    assert f"the rate 1e+38 was not picked: it {broken}" in fit.warnings
    assert not [note for note in fit.warnings if "largest tried" in note], "a larger one was tried"


def test_when_all_rates_diverge_so_does_the_cell(grid: Made) -> None:
    fit = grid.fit(Hyma(lr=(1e37, 1e38), **JOINT, hidden=(16, 8)), budget=EPOCHS)
    assert fit.diverged is not None


def test_pairs_that_are_lost_at_every_rate_are_lost(grid: Made) -> None:
    bank = grid.problem.train.text_banks["t1"]
    assert isinstance(bank, Table)
    bank.rows[7] = np.nan
    fit = grid.fit(ApeStacked(lr=RATES, **COMMON), budget=EPOCHS)
    assert {pair[1] for pair in fit.lost} == {"t1"}
    assert len(fit.lost) == 3
    assert {pair[1] for pair in fit.scores} == {"t0"}
    assert fit.tuning is not None
    assert fit.tuning.picked.keys() == fit.scores.keys()


def test_each_batch_is_read_once_for_all_rates(grid: Made) -> None:
    problem = replace(grid.problem, scorer=lambda pair, connector: 0.0)
    banks = [*problem.train.image_banks.values(), *problem.train.text_banks.values()]

    def rows_read(method: Method) -> int:
        before = sum(bank.rows_read for bank in banks if isinstance(bank, Table))
        Made(problem).fresh().fit(method)
        return sum(bank.rows_read for bank in banks if isinstance(bank, Table)) - before

    for cls, settings in (METHODS[name] for name in ("ape_stacked", "hyma", "hyper_align")):
        assert rows_read(cls(lr=RATES, **settings)) == rows_read(cls(lr=1e-2, **settings)) > 0


def test_flops_are_of_all_rates_together(grid: Made) -> None:
    """Three rates within a budget go as far as one within a third of it."""
    for name in ("ape_stacked", "hyma"):
        cls, settings = METHODS[name]
        third = grid.fresh().fit(cls(lr=1e-2, **settings), budget=Budget(flops=3e6))
        fit = grid.fresh().fit(cls(lr=RATES, **settings), budget=Budget(flops=9e6))
        assert fit.updates_per_pair == third.updates_per_pair > 4
        spent = sum(flops for phase, flops in fit.ledger.flops.items() if phase != "eval")
        assert 8e6 < spent <= 9.1e6


def test_seconds_are_of_all_rates_together(grid: Made) -> None:
    fit = grid.fit(ApeStacked(lr=RATES, **COMMON), budget=Budget(seconds=0.2))
    assert fit.ledger.updates == fit.updates_per_pair * len(grid.problem.pairs) * len(RATES)
    assert fit.curve[-1].seconds >= 0.2
    assert fit.tuning is not None
    assert fit.tuning.flops == pytest.approx(fit.ledger.total * 2 / 3)


def test_a_best_rate_at_the_edge_is_mentioned(grid: Made) -> None:
    def notes(*rates: float, **settings: Any) -> list[str]:
        fit = grid.fresh().fit(ApeStacked(lr=rates, **COMMON, **settings), budget=EPOCHS)
        return [note for note in fit.warnings if "tried" in note]

    of_half = "for 3 of 6 pairs"
    assert notes(1e-2, 1e-1) == [
        f"the best rate is the largest tried, 0.1, {of_half}",
        f"the best rate is the smallest tried, 0.01, {of_half}",
    ]
    assert len(notes(1e-2, 1e-1, tune="shared")) == 1
    assert notes(1e-2) == []


def test_rates_of_single_pairs_are_known_too(grid: Made) -> None:
    fit = grid.fit(ApeStacked(lr=1e-2, lrs={"i0": 5e-3, "i1 + t1": 1e-3}, **COMMON))
    assert fit.tuning is not None
    assert fit.tuning.tried == (1e-2,)
    own = {("i0", "t0"): 5e-3, ("i0", "t1"): 5e-3, ("i1", "t1"): 1e-3}
    assert fit.tuning.picked == dict.fromkeys(grid.problem.pairs, 1e-2) | own


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (Ape, {"tune": "shared"}, "each is trained alone; use ape_stacked"),
        (Additive, {"tune": "shared"}, "each is trained alone; use ape_stacked"),
        (ApeStacked, {"lrs": {"i0": 1e-3}}, "lrs gives pairs rates of their own, and lr several"),
        (AddEncoder, {"held_out": "i0"}, "fitted to one joint run; give lr one rate"),
    ],
)
def test_what_cannot_be_tuned_is_refused(cls: type[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, HarnessError), match=message):
        cls(lr=RATES, **settings)
