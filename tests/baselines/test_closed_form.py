"""Closed forms against numpy's and scipy's own solutions, and against counted FLOPs."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import scipy.linalg
import torch
from harness.flops import counted
from harness.plan import estimates

from baselines.closed_form import Cca, ClosedForm, Procrustes, Ridge
from baselines.linalg import gather_moments, moments_flops
from harness.connectors import connect
from harness.method import Budget, Direction, Problem

PAIR = ("i0", "t0")
Maker: TypeAlias = Callable[..., Any]
Views: TypeAlias = Callable[..., Any]


def training_rows(problem: Problem, pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Every training caption beside its image, in float64: (text, image)."""
    train = problem.train
    return train.texts(pair[1]).double().numpy(), train.images(pair[0], train.caption_image).double().numpy()


@pytest.mark.parametrize("chunk", [7, 1000])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_moments_in_chunks_are_those_of_all_caption_rows(
    make: Maker, views: Views, chunk: int, direction: Direction
) -> None:
    owner = np.sort(np.random.default_rng(0).integers(0, 40, size=90))
    owner = np.sort(np.concatenate([owner, np.arange(40)]))  # one to several captions each
    text = {name: x[owner] for name, x in views(40, {"t0": 4, "t1": 3}, seed=1).items()}
    problem = make(views(40, {"i0": 5, "i1": 6}), text, owner=owner, direction=direction).problem
    found = gather_moments(problem, targets=True, chunk=chunk)
    for pair in problem.pairs:
        x, y = training_rows(problem, pair)
        assert found.rows == len(x) > len(problem.train.image_rows)
        source, target = problem.sizes.sides(pair)
        if direction == "image_to_text":
            x, y = y, x
        both = np.cov(np.hstack([x, y]).T, bias=True)
        d = x.shape[1]
        np.testing.assert_allclose(found.source[source], both[:d, :d], atol=1e-12)
        np.testing.assert_allclose(found.target[target], both[d:, d:], atol=1e-12)
        np.testing.assert_allclose(found.cross[source, target], both[:d, d:], atol=1e-12)
        np.testing.assert_allclose(found.source_mean[source], x.mean(0), atol=1e-12)


def test_ridge_is_the_least_squares_solution_of_augmented_rows(make: Maker, views: Views) -> None:
    made = make(views(60, {"i0": 5}), views(60, {"t0": 4}, seed=1))
    fit = made.fit(Ridge(penalties=(0.3,), centre=False))
    x, y = training_rows(made.problem, PAIR)
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    scale = 0.3 * np.trace(x_c.T @ x_c) / 4
    weights = np.linalg.lstsq(
        np.vstack([x_c, np.sqrt(scale) * np.eye(4)]), np.vstack([y_c, np.zeros((4, 5))]), rcond=None
    )[0]
    assert fit.connectors is not None
    mapped = connect(fit.connectors[PAIR], torch.from_numpy(x).float())
    np.testing.assert_allclose(mapped.numpy(), x_c @ weights, atol=2e-6)


def test_image_to_text_maps_the_other_way(make: Maker, views: Views) -> None:
    images, texts = views(60, {"i0": 15, "i1": 17}), views(60, {"t0": 14}, seed=1)
    made = make(images, texts, direction="image_to_text")
    for method in (Ridge(), Cca(), Procrustes()):
        fit = made.fit(method)
        assert fit.connectors is not None
        assert {pair: tuple(layers[0][0].shape) for pair, layers in fit.connectors.items()} == {
            ("i0", "t0"): (14, 15),
            ("i1", "t0"): (14, 17),
        }
        assert min(fit.scores.values()) > 0.5  # nearly noise-free views of six factors


def test_without_noise_every_closed_form_finds_every_match(make: Maker, views: Views) -> None:
    x = np.random.default_rng(3).standard_normal((120, 16))
    turned = x @ scipy.linalg.qr(np.random.default_rng(4).standard_normal((16, 16)))[0]
    made = make({"i0": x}, {"t0": turned})
    for method in (Ridge(), Cca(), Procrustes()):
        assert made.fit(method).scores[PAIR] == 1.0, method


def test_centring_makes_the_inner_product_blind_to_the_targets_mean(make: Maker, views: Views) -> None:
    made = make(views(60, {"i0": 5}), views(60, {"t0": 4}, seed=1))
    _, y = training_rows(made.problem, PAIR)
    for method in (Ridge(), Cca(), Procrustes()):
        fit = made.fit(method)
        assert fit.connectors is not None
        mapped = connect(fit.connectors[PAIR], made.problem.train.texts("t0"))
        np.testing.assert_allclose(mapped.numpy() @ y.mean(0), 0.0, atol=1e-5 * float(mapped.norm(dim=1).max()))


def test_cca_scores_are_inner_products_of_canonical_variates(make: Maker, views: Views) -> None:
    made = make(views(90, {"i0": 5}), views(90, {"t0": 4}, seed=1))
    x, y = training_rows(made.problem, PAIR)
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    c_ss, c_tt, c_st = (a.T @ b / len(x) for a, b in ((x_c, x_c), (y_c, y_c), (x_c, y_c)))
    c_ss += 0.1 * np.trace(c_ss) / 4 * np.eye(4)
    c_tt += 0.1 * np.trace(c_tt) / 5 * np.eye(5)
    # The textbook way: inverse square roots instead of Cholesky factors.
    root_s, root_t = (np.linalg.inv(np.real(scipy.linalg.sqrtm(c))) for c in (c_ss, c_tt))
    u, rho, vt = np.linalg.svd(root_s @ c_st @ root_t, full_matrices=False)
    for weights, w in (("correlation", rho), ("information", rho / (1 - rho**2))):
        for components in (None, 2):
            kept = slice(components)
            wanted = (x_c @ root_s @ u[:, kept] * w[kept]) @ (y @ root_t @ vt[kept].T).T
            method = Cca(penalties=(0.1,), weights=weights, components=components, centre=False)  # type: ignore[arg-type]
            fit = made.fit(method)
            assert fit.connectors is not None
            mapped = connect(fit.connectors[PAIR], torch.from_numpy(x).float()).double().numpy()
            np.testing.assert_allclose(mapped @ y.T, wanted, atol=1e-4 * np.abs(wanted).max())


def test_procrustes_is_scipys_rotation(make: Maker, views: Views) -> None:
    made = make(views(50, {"i0": 4}), views(50, {"t0": 4}, seed=1))
    x, y = training_rows(made.problem, PAIR)
    rotation, _ = scipy.linalg.orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    fit = made.fit(Procrustes(centre=False))
    assert fit.connectors is not None
    np.testing.assert_allclose(fit.connectors[PAIR][0][0].T, rotation, atol=1e-5)


def test_the_penalty_with_the_best_validation_score_is_kept(make: Maker, views: Views) -> None:
    noise = {"i0": 3.0, "t0": 3.0}
    made = make(views(80, {"i0": 20}, noise=noise), views(80, {"t0": 30}, noise=noise, seed=1), metric="median_rank")
    alone = {p: made.fit(Ridge(penalties=(p,))).scores[PAIR] for p in (1e-6, 1e-2, 1.0, 100.0)}
    assert len(set(alone.values())) > 1
    assert made.fit(Ridge(penalties=tuple(alone))).scores[PAIR] == min(alone.values())  # median rank: lower is better


def test_the_better_encoders_rank_first(make: Maker, views: Views) -> None:
    images = views(400, {"i0": 12, "i1": 12, "i2": 12}, noise={"i0": 0.1, "i1": 1.0, "i2": 4.0})
    texts = views(400, {"t0": 12, "t1": 12}, noise={"t0": 0.1, "t1": 3.0}, seed=1)
    made = make(images, texts)
    for method in (Ridge(), Cca(), Procrustes()):
        scores = made.fit(method).scores
        assert max(scores, key=lambda pair: scores[pair]) == ("i0", "t0")
        assert scores["i0", "t0"] > scores["i1", "t0"] > scores["i2", "t0"]
        assert scores["i0", "t0"] > scores["i0", "t1"]


@pytest.mark.parametrize("method", [Ridge(), Cca(), Cca(weights="correlation"), Cca(components=3), Procrustes()])
def test_the_estimate_is_what_is_booked(make: Maker, views: Views, method: ClosedForm) -> None:
    made = make(views(40, {"i0": 5, "i1": 8}), views(40, {"t0": 4, "t1": 6}, seed=1))
    fit = made.fit(method)
    wanted = method.estimate(made.problem.sizes, Budget(epochs=1))
    assert dict(fit.ledger.flops) == pytest.approx(dict(wanted.flops))
    assert fit.trained_params == wanted.trained_params


def test_counted_products_of_moments_are_those_of_the_closed_form(make: Maker, views: Views) -> None:
    made = make(views(40, {"i0": 5, "i1": 8}), views(40, {"t0": 4, "t1": 6}, seed=1))
    for targets in (False, True):
        ran = counted(lambda targets=targets: gather_moments(made.problem, targets=targets, chunk=16))
        assert ran == moments_flops(made.problem.sizes, targets=targets)


def test_the_seed_changes_nothing(make: Maker, views: Views) -> None:
    made = make(views(40, {"i0": 5}), views(40, {"t0": 4}, seed=1))
    for method in (Ridge(), Cca(), Procrustes()):
        assert made.fit(method, seed=0).scores == made.fit(method, seed=7).scores


def test_text_embeddings_that_are_all_equal_give_a_score_not_a_crash(make: Maker, views: Views) -> None:
    made = make(views(40, {"i0": 5}), {"t0": np.ones((40, 4))})
    for method in (Ridge(), Cca(), Procrustes()):
        assert made.fit(method).scores[PAIR] <= 0.1


def test_a_linear_connector_is_booked_as_one_in_a_sweep_of_deep_ones(world: Any) -> None:
    """Evaluations of what is solved cost the same whatever the others train."""
    deep = "connector={hidden_layers: 1, width: 32}"
    found = []
    for overrides in (("name=flat",), ("name=deep", deep)):
        plan = world.run("world.yaml", "methods={ape: {epochs: 1, batch_size: 64}, ridge: {}}", "seeds=[0]", *overrides)
        ape, ridge = (
            [plan.store.record(cell.key).ledger.flops for cell in plan.cells if cell.label == label]
            for label in ("ape", "ridge")
        )
        planned = estimates(plan)["ridge"].flops
        assert planned is not None
        assert planned["eval"] == ridge[0]["eval"]
        found.append((ridge[0], sum(flops["eval"] for flops in ape), sum(flops["runner_eval"] for flops in ape)))
    (flat, ape_eval, ape_runner), (among_deep, deeper_eval, deeper_runner) = found
    assert among_deep == flat
    assert flat["eval"] == 4 * ape_eval, "four penalties"
    assert flat["runner_eval"] == ape_runner
    assert deeper_eval > ape_eval
    assert deeper_runner > ape_runner
