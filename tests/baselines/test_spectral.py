"""The spectral map against explicit inverses, against gradient descent on its loss, and what it must not depend on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from baselines.spectral import Spectral, SpectralSample, cover
from baselines.whitening import PairedRows, symmetric_product, symmetric_product_flops
from harness.contract.method import METHODS, Recommended
from harness.method import Budget, Direction, Fit, Problem
from harness.training.counting import counted
from tests.problems import numbered_sizes

PAIR = ("i0", "t0")
Maker: TypeAlias = Callable[..., Any]
Views: TypeAlias = Callable[..., Any]


def map_of(fit: Fit, pair: tuple[str, str] = PAIR) -> np.ndarray:
    """The map ``[source, target]`` of a fit, its Frobenius norm 1."""
    assert fit.connectors is not None
    weight = fit.connectors[pair].tensors["layers.0.weight"].T.double().numpy()  # type: ignore[union-attr]
    return weight / np.linalg.norm(weight)


def moments(problem: Problem, pair: tuple[str, str] = PAIR) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """C_ss, C_tt, C_st over captions, each replaced by the mean of its image's, and the target's mean, in float64."""
    train = problem.train
    texts = train.texts(pair[1]).double().numpy()
    x = np.stack([texts[train.caption_image == image].mean(0) for image in train.caption_image])
    y = train.images(pair[0], train.caption_image).double().numpy()
    if problem.sizes.direction == "image_to_text":
        x, y = y, x
    mean = y.mean(0)
    x, y = x - x.mean(0), y - mean
    return x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x), mean


def explicit(problem: Problem, source: float, target: float) -> np.ndarray:
    """``C_ss^-1 C_st C_tt^-1`` with penalties, by explicit inverses; Frobenius norm 1."""
    c_ss, c_tt, c_st, _ = moments(problem)
    inverses = [
        np.linalg.inv(c + penalty * np.trace(c) / len(c) * np.eye(len(c)))
        for c, penalty in ((c_ss, source), (c_tt, target))
    ]
    found = inverses[0] @ c_st @ inverses[1]
    return found / np.linalg.norm(found)


def several_captions(make: Maker, views: Views, images: int = 60, dims: tuple[int, int] = (5, 4), **more: Any) -> Any:
    owner = np.random.default_rng(0).integers(0, images, size=images)
    owner = np.sort(np.concatenate([owner, np.arange(images)]))  # one to several captions each
    texts = {name: x[owner] for name, x in views(images, {"t0": dims[1]}, seed=1).items()}
    return make(views(images, {"i0": dims[0]}), texts, owner=owner, **more)


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("dims", [(5, 4), (70, 4), (5, 60), (70, 60)])  # 45 training images: also fewer rows than dims
def test_it_is_the_map_of_explicit_inverses(
    make: Maker, views: Views, direction: Direction, dims: tuple[int, int]
) -> None:
    made = several_captions(make, views, dims=dims, direction=direction)
    fit = made.fit(Spectral(penalties=((0.3, 3.0),), centre=False))
    np.testing.assert_allclose(map_of(fit), explicit(made.problem, 0.3, 3.0), atol=2e-5)


def test_it_minimises_the_spectral_contrastive_loss(make: Maker, views: Views) -> None:
    noise = {"i0": 1.0, "t0": 1.0}
    made = make(views(80, {"i0": 5}, noise=noise), views(80, {"t0": 4}, noise=noise, seed=1))
    train = made.problem.train
    x, y = train.texts("t0").double(), train.images("i0").double()
    x, y = x - x.mean(0), y - y.mean(0)
    a = torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([a], lr=1, max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        similarity = x @ a @ y.T  # positive pairs on the diagonal, all combinations as independent ones
        value = -2 * similarity.diagonal().mean() + similarity.square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    wanted = a.detach().numpy()
    fit = made.fit(Spectral(penalties=((1e-6, 1e-6),), centre=False))
    np.testing.assert_allclose(map_of(fit), wanted / np.linalg.norm(wanted), atol=1e-3)


@pytest.mark.parametrize("images", [60, 4])  # also fewer captions than dimensions
def test_all_captions_are_rows_of_their_own(make: Maker, views: Views, images: int) -> None:
    made = several_captions(make, views, images)
    train = made.problem.train
    x, y = train.texts("t0").double().numpy(), train.images("i0", train.caption_image).double().numpy()
    c = np.cov(np.hstack([x, y]).T, bias=True)
    inverse_s, inverse_t = (
        np.linalg.inv(m + 0.3 * np.trace(m) / len(m) * np.eye(len(m))) for m in (c[:4, :4], c[4:, 4:])
    )
    wanted = inverse_s @ c[:4, 4:] @ inverse_t
    fit = made.fit(Spectral(penalties=((0.3, 0.3),), captions="all", centre=False))
    np.testing.assert_allclose(map_of(fit), wanted / np.linalg.norm(wanted), atol=2e-5)


def test_mapped_rows_are_centred_and_blind_to_the_targets_mean(make: Maker, views: Views) -> None:
    made = several_captions(make, views)
    fit = made.fit(Spectral())
    assert fit.connectors is not None
    mean = moments(made.problem)[3]
    mapped = fit.connectors[PAIR](made.problem.train.texts("t0"))  # type: ignore[operator]
    np.testing.assert_allclose(mapped.mean(0).numpy(), 0, atol=1e-5)
    np.testing.assert_allclose(mapped.numpy() @ mean, 0, atol=1e-5)


def test_turning_a_side_turns_the_map(make: Maker, views: Views) -> None:
    """The penalties see eigenvalues only, so that coordinates do not matter."""
    images, texts = views(60, {"i0": 5}), views(60, {"t0": 4}, seed=1)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    one = map_of(make(images, texts).fit(Spectral()))
    other = map_of(make(images, {"t0": texts["t0"] @ turn}).fit(Spectral()))
    np.testing.assert_allclose(other, turn.T @ one, atol=1e-5)


def test_a_pair_does_not_depend_on_the_others(make: Maker, views: Views) -> None:
    made = make(views(60, {"i0": 5, "i1": 70, "i2": 5}), views(60, {"t0": 4, "t1": 6}, seed=1))
    whole = made.fit(Spectral())
    ragged = made.of([("i0", "t0"), ("i1", "t1"), ("i2", "t1"), ("i2", "t0")]).fit(Spectral())
    for pair in ragged.scores:
        np.testing.assert_allclose(map_of(ragged, pair), map_of(whole, pair), atol=1e-5)
        assert ragged.scores[pair] == whole.scores[pair]


def test_the_sample_is_the_same_for_every_encoder_and_seed_and_grows_by_rows(make: Maker, views: Views) -> None:
    made = several_captions(make, views, images=80)
    samples = [set(PairedRows(made.problem, rows)._at.tolist()) for rows in (8, 20, 60)]
    assert [len(sample) for sample in samples] == [8, 20, 60]
    assert samples[0] < samples[1] < samples[2] == set(range(60))
    assert samples[0] != set(range(8))
    one, other = (made.fresh().fit(Spectral(rows=20), seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(map_of(one), map_of(other))
    assert np.abs(map_of(one) - map_of(made.fresh().fit(Spectral(rows="all")))).max() > 1e-3


def test_chunks_and_threads_change_nothing(make: Maker, views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    made = several_captions(make, views)
    whole = map_of(made.fit(Spectral()))
    monkeypatch.setattr("baselines.whitening.CHUNK", 7)
    np.testing.assert_allclose(map_of(made.fresh().fit(Spectral())), whole, atol=1e-6)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        np.testing.assert_allclose(map_of(made.fresh().fit(Spectral())), whole, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_one_choice_of_penalties_for_all_pairs(make: Maker, views: Views) -> None:
    noise = {"i0": 3.0, "i1": 3.0, "t0": 3.0, "t1": 3.0}
    made = make(
        views(80, {"i0": 20, "i1": 30}, noise=noise),
        views(80, {"t0": 30, "t1": 20}, noise=noise, seed=1),
        metric="median_rank",  # lower is better
    )
    candidates = ((1e-3, 1e-3), (1.0, 1.0), (100.0, 100.0))
    few = cover(made.problem.sizes)
    alone = {c: made.fresh().fit(Spectral(penalties=(c,))) for c in candidates}
    means = {c: sum(fit.scores[pair] for pair in few) for c, fit in alone.items()}
    assert len(set(means.values())) == 3
    best = min(candidates, key=lambda c: means[c])
    assert made.fresh().fit(Spectral(penalties=candidates)).scores == alone[best].scores


def test_the_cover_holds_every_encoder_in_few_pairs() -> None:
    sizes = numbered_sizes([4] * 5, [4] * 3)
    few = cover(sizes)
    assert {encoder for pair in few for encoder in pair} == {encoder for pair in sizes.pairs for encoder in pair}
    assert len(few) == 5
    ragged = replace(sizes, pairs=(("i0", "t0"), ("i1", "t0"), ("i1", "t1")))
    assert cover(ragged) == (("i0", "t0"), ("i1", "t1"))


SETTINGS = [
    Spectral(),
    Spectral(rows=20),
    Spectral(captions="all"),
    Spectral(penalties=((0.3, 3.0), (1.0, 3.0))),
    SpectralSample(),
]


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_the_estimate_is_what_is_booked(make: Maker, views: Views, method: Spectral, direction: Direction) -> None:
    made = make(views(60, {"i0": 5, "i1": 70}), views(60, {"t0": 4, "t1": 50}, seed=1), direction=direction)
    fit = made.fit(method)
    wanted = method.estimate(made.problem.sizes, Budget(epochs=1))
    assert dict(fit.ledger.flops) == pytest.approx(dict(wanted.flops))
    assert fit.trained_params == wanted.trained_params


def test_a_symmetric_product_is_one_and_costs_less() -> None:
    x = torch.randn(40, 26, dtype=torch.float64)
    torch.testing.assert_close(symmetric_product(x), x.T @ x)
    assert counted(lambda: symmetric_product(x)) == symmetric_product_flops(40, 26) < 0.7 * 2 * 40 * 26 * 26


def test_more_pairs_cost_products_and_no_factorisations() -> None:
    """FLOPs of the encoders grow with N + M, those of the pairs with N x M."""

    def solve(images: int, texts: int) -> float:
        return Spectral().estimate(numbered_sizes([64] * images, [64] * texts), Budget(epochs=1)).flops["solve"]

    of_pair = 2 * 256 * 64 * 64 + 2 * 64 * 64
    assert solve(4, 3) - 12 * of_pair == pytest.approx((4 + 3) / 2 * (solve(1, 1) - of_pair))


def test_the_better_encoders_rank_first(make: Maker, views: Views) -> None:
    images = views(400, {"i0": 12, "i1": 12, "i2": 12}, noise={"i0": 0.1, "i1": 1.0, "i2": 4.0})
    texts = views(400, {"t0": 12, "t1": 12}, noise={"t0": 0.1, "t1": 3.0}, seed=1)
    scores = make(images, texts).fit(SpectralSample()).scores
    assert max(scores, key=lambda pair: scores[pair]) == ("i0", "t0")
    assert scores["i0", "t0"] > scores["i1", "t0"] > scores["i2", "t0"]


def test_it_says_what_it_is_recommended_for() -> None:
    found = {name: METHODS.get(name) for name in ("spectral", "spectral_sample", "ridge")}
    said = {name: cls.recommended_for if isinstance(cls, Recommended) else () for name, cls in found.items()}
    assert said == {"spectral": ("all",), "spectral_sample": ("selection",), "ridge": ()}
