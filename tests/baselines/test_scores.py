"""Training-free scores: hand-worked cases, known identities, nulls, and counted FLOPs."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import scipy.stats
import torch
from harness.flops import counted

from baselines.kernel_scores import Cka, Cknna, MutualKnn, centred, neighbours, u_centred
from baselines.linear_scores import HScore, LogMe, Svcca, directions, log_evidence
from baselines.scores import SampleScore
from harness.method import Budget

Maker: TypeAlias = Callable[..., Any]
Views: TypeAlias = Callable[..., Any]
ALL = [MutualKnn(k=3), Cka(), Cka(debiased=False), Cknna(k=3), Svcca(components=6), LogMe(components=4), HScore()]
SYMMETRIC = [method for method in ALL if not isinstance(method, LogMe)]


def drawn(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dim)))


def rotation(dim: int, seed: int = 1) -> torch.Tensor:
    return torch.linalg.qr(drawn(dim, dim, seed))[0]


def of(method: SampleScore[Any], x: torch.Tensor, y: torch.Tensor) -> float:
    return method.value(method.view(x, is_target=False), method.view(y, is_target=True))


def test_mutual_knn_by_hand() -> None:
    def on_circle(*degrees: float) -> torch.Tensor:
        angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
        return torch.stack([angle.cos(), angle.sin()], 1)

    # Nearest neighbours: 0-1 and 2-3 on the left; 0-1, 2 -> 1 and 3 -> 2 on the right.
    left, right = on_circle(0, 10, 100, 115), on_circle(0, 10, 30, 80)
    assert neighbours(left @ left.T, 1).int().argmax(1).tolist() == [1, 0, 3, 2]
    assert neighbours(right @ right.T, 1).int().argmax(1).tolist() == [1, 0, 1, 2]
    assert of(MutualKnn(k=1), left, right) == pytest.approx(3 / 4)
    assert of(MutualKnn(k=3), left, right) == 1.0  # everybody is everybody's neighbour


@pytest.mark.parametrize("method", [m for m in ALL if not isinstance(m, LogMe | HScore)])
def test_a_rotated_copy_is_fully_alike(method: SampleScore[Any]) -> None:
    x = drawn(60, 6)
    assert of(method, x, x @ rotation(6)) == pytest.approx(1.0)


@pytest.mark.parametrize("method", SYMMETRIC)
def test_symmetric_scores_do_not_mind_the_order_of_the_sides(method: SampleScore[Any]) -> None:
    x, y = drawn(50, 6), drawn(50, 9, seed=2) + drawn(50, 6) @ drawn(6, 9, seed=3)
    assert of(method, x, y) == pytest.approx(of(method, y, x))


@pytest.mark.parametrize("debiased", [True, False])
def test_linear_cka_is_blind_to_scale_and_offset(debiased: bool) -> None:
    x, y = drawn(40, 5), drawn(40, 5) @ drawn(5, 7, seed=4) + drawn(40, 7, seed=5)
    assert of(Cka(debiased=debiased), x, y) == pytest.approx(of(Cka(debiased=debiased), 3 * x + 1, 0.5 * y - 2))


def test_biased_cka_is_kornbliths_feature_formula() -> None:
    x, y = drawn(30, 4), drawn(30, 6, seed=2)
    a, b = x - x.mean(0), y - y.mean(0)
    wanted = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert of(Cka(debiased=False), x, y) == pytest.approx(float(wanted))
    h = torch.eye(30, dtype=torch.float64) - 1 / 30
    torch.testing.assert_close(centred(x @ x.T), h @ x @ x.T @ h)


def test_u_centring_gives_the_unbiased_hsic_of_song_et_al() -> None:
    n = 12
    k, other = (m @ m.T for m in (drawn(n, 3), drawn(n, 5, seed=2)))
    kt, lt = k - torch.diag(k.diagonal()), other - torch.diag(other.diagonal())
    one = torch.ones(n, dtype=torch.float64)
    hsic = torch.trace(kt @ lt) + (one @ kt @ one) * (one @ lt @ one) / ((n - 1) * (n - 2))
    hsic = (hsic - 2 / (n - 2) * (one @ kt @ lt @ one)) / (n * (n - 3))  # equation 5
    found = (u_centred(k) * u_centred(other)).sum() / (n * (n - 3))
    assert float(found) == pytest.approx(float(hsic))


def test_debiased_cka_of_independent_features_is_zero_in_the_mean_and_the_biased_one_is_not() -> None:
    pairs = [(drawn(24, 30, seed=2 * s), drawn(24, 40, seed=2 * s + 1)) for s in range(80)]
    debiased = np.array([of(Cka(), x, y) for x, y in pairs])
    assert abs(debiased.mean()) < 4 * debiased.std() / len(debiased) ** 0.5
    assert abs(debiased.mean()) < 0.02
    assert np.mean([of(Cka(debiased=False), x, y) for x, y in pairs]) > 0.4


def test_cknna_counts_shared_neighbours_only() -> None:
    x = drawn(40, 5)
    y = drawn(40, 5, seed=8)
    method = Cknna(k=39)  # all are neighbours: only the diagonal is left out
    rows_x, rows_y = (m / m.norm(dim=1, keepdim=True) for m in (x, y))
    k, other = (m @ m.T - (m @ m.T).mean(1, keepdim=True) for m in (rows_x, rows_y))
    off = ~torch.eye(40, dtype=torch.bool)
    wanted = (k[off] @ other[off]) / (k[off].norm() * other[off].norm())
    assert of(method, x, y) == pytest.approx(float(wanted))
    assert of(Cknna(k=3), x, y) < 0.5 * of(Cknna(k=3), x, x + 0.3 * y)


def test_principal_directions_span_the_largest_variances() -> None:
    x = drawn(50, 6) * torch.tensor([9.0, 5.0, 1.0, 0.1, 0.1, 0.1], dtype=torch.float64)
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    found = directions(x, 2)
    torch.testing.assert_close(found @ found.T, u[:, :2] @ u[:, :2].T)
    wide = directions(x[:5], 3)  # fewer rows than columns: the Gram matrix instead
    torch.testing.assert_close(wide.T @ wide, torch.eye(3, dtype=torch.float64))
    share = (s**2).cumsum(0) / (s**2).sum()
    assert directions(x, 6, 0.99).shape[1] == int((share < 0.99).sum()) + 1


def test_svcca_is_the_mean_canonical_correlation() -> None:
    x = drawn(400, 3)
    y = torch.cat([x[:, :1], drawn(400, 2, seed=9)], 1)  # one shared direction of three
    found = of(Svcca(components=3, variance=1.0), x, y)
    assert found == pytest.approx(1 / 3, abs=0.08)


def test_log_evidence_is_the_gaussian_marginal_likelihood_at_its_maximum() -> None:
    f, noise = drawn(40, 5), drawn(40, 1, seed=3)
    y = f @ drawn(5, 1, seed=4) + 0.5 * noise
    u, s, _ = torch.linalg.svd(f, full_matrices=False)
    found = log_evidence(u, s**2, y, 5, iterations=500)

    def density(log_alpha: float, log_beta: float) -> float:
        cov = (f @ f.T).numpy() / np.exp(log_alpha) + np.eye(40) / np.exp(log_beta)
        return float(scipy.stats.multivariate_normal(np.zeros(40), cov).logpdf(y[:, 0].numpy())) / 40

    best = scipy.optimize.minimize(lambda p: -density(*p), x0=[0.0, 0.0], method="Nelder-Mead", tol=1e-8)
    assert found == pytest.approx(-best.fun, abs=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_more_signal_scores_higher(method: SampleScore[Any]) -> None:
    x = drawn(200, 8)
    found = [of(method, x, x @ rotation(8) + noise * drawn(200, 8, seed=5)) for noise in (0.1, 0.7, 3.0)]
    assert found[0] > found[1] > found[2]


def test_h_score_is_the_sum_of_squared_canonical_correlations_without_shrinkage() -> None:
    x, y = drawn(300, 4), drawn(300, 4) @ drawn(4, 3, seed=6) + drawn(300, 3, seed=7)
    qx, qy = (torch.linalg.qr(m - m.mean(0))[0] for m in (x, y))
    wanted = float((torch.linalg.svdvals(qx.T @ qy) ** 2).sum())
    assert of(HScore(shrinkage=1e-9), x, y) == pytest.approx(wanted, rel=1e-6)
    assert of(HScore(shrinkage=1.0), x, y) < wanted


@pytest.mark.parametrize("method", ALL)
def test_reordering_a_view_is_the_view_of_the_reordered_rows(method: SampleScore[Any]) -> None:
    x, y, order = drawn(30, 5), drawn(30, 6, seed=2), torch.from_numpy(np.random.default_rng(0).permutation(30))
    source = method.view(x, is_target=False)
    moved = method.reorder(method.view(y, is_target=True), order)
    assert method.value(source, moved) == pytest.approx(of(method, x, y[order]))


def test_the_null_takes_out_what_dimension_alone_gives(make: Maker) -> None:
    rng = np.random.default_rng(0)
    images = {"narrow": rng.standard_normal((160, 4)), "wide": rng.standard_normal((160, 60))}
    made = make(images, {"t0": rng.standard_normal((160, 50))})
    plain = made.fit(Cka(debiased=False)).scores
    assert plain["wide", "t0"] > 2 * plain["narrow", "t0"] > 0.1  # independent of the text, and yet
    above = made.fit(Cka(debiased=False, null=40)).scores
    assert max(map(abs, above.values())) < 0.05
    standard = made.fit(Cka(debiased=False, null=40, calibration="standardise")).scores
    assert max(map(abs, standard.values())) < 4


def test_a_standardised_null_needs_two_pairings() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Cka(null=1, calibration="standardise")


@pytest.mark.parametrize("method", ALL)
def test_scores_rank_pairs_and_follow_the_seed(make: Maker, views: Views, method: SampleScore[Any]) -> None:
    images = views(300, {"i0": 12, "i1": 12, "i2": 12}, noise={"i0": 0.1, "i1": 1.5, "i2": 6.0})
    made = make(images, views(300, {"t0": 12}, seed=1))
    scores = made.fit(method).scores
    assert scores["i0", "t0"] > scores["i1", "t0"] > scores["i2", "t0"]
    small = type(method)(rows=40)
    assert made.fit(small, seed=1).scores == made.fit(small, seed=1).scores
    assert made.fit(small, seed=1).scores != made.fit(small, seed=2).scores


@pytest.mark.parametrize("method", [*ALL, MutualKnn(null=3), LogMe(null=2, rows=20)])
def test_the_estimate_is_what_is_booked(make: Maker, views: Views, method: SampleScore[Any]) -> None:
    made = make(views(60, {"i0": 5, "i1": 8}), views(60, {"t0": 4, "t1": 6}, seed=1))
    booked = dict(made.fit(method).ledger.flops)
    assert booked == pytest.approx(dict(method.estimate(made.problem.sizes, Budget(epochs=1)).flops))
    assert set(booked) == {"score"}


def test_counted_products_are_within_the_closed_form() -> None:
    x, y = drawn(40, 6), drawn(40, 9, seed=2)
    for method in (MutualKnn(k=3), Cka(), Cknna(k=3)):  # a Gram matrix each; the pair's product is element-wise
        ran = counted(lambda m=method: (m.view(x, is_target=False), m.view(y, is_target=True)))
        closed = method.view_flops(40, 6, is_target=False) + method.view_flops(40, 9, is_target=True)
        assert ran == closed
    h = HScore()
    a, b = h.view(x, is_target=False), h.view(y, is_target=True)
    assert counted(lambda: h.value(a, b)) == h.value_flops(40, 6, 9)
    assert counted(lambda: h.view(x, is_target=False)) == h.view_flops(40, 6, is_target=False) - 6**3 / 3 - 6 * 6 * 40
