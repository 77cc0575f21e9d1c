"""How much search was needed: image effect, text effect, interaction and seed noise of the reference's scores."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from reports.bootstrap import bca_interval, percentile_interval
from reports.compare import ReferenceScores, seed_mean


@dataclass(frozen=True)
class TwoWay:
    """Shares of the variance of pair scores; they add up to 1 on a full grid.

    Attributes:
        image: Share of the image encoder's main effect.
        text: Share of the text encoder's main effect.
        interaction: Share that is specific to pairs, seed noise removed where there are several seeds.
        ci95: Bootstrap interval of ``interaction`` over test images.
        noise: Variance of one seed's score around its pair (a common shift of a seed removed); NaN with one seed.
        pairs: Pairs in the analysis.
        additive_best: Number of the pair that the two main effects alone would pick.
        best: Number of the pair with the best mean score.
    """

    image: float = float("nan")
    text: float = float("nan")
    interaction: float = float("nan")
    ci95: tuple[float, float] = (float("nan"), float("nan"))
    noise: float = float("nan")
    pairs: int = 0
    additive_best: int | None = None
    best: int | None = None


def two_way(
    truth: ReferenceScores, image: Integer[np.ndarray, " pairs"], text: Integer[np.ndarray, " pairs"]
) -> TwoWay:
    """Two-way analysis of the reference's test scores, full grid or not.

    With ``y`` the mean over S seeds and ``e`` the seed noise, sums of squares are corrected by their expected noise
    ``df x e / S`` and floored at 0. On a grid with holes, main effects are fitted by least squares, the image effect
    first.

    Args:
        truth: The reference's scores; pairs without a number are left out.
        image: Image encoder's number of every pair.
        text: Text encoder's number of every pair.

    Returns:
        NaN where there is no interaction to speak of (one encoder on a side, too few pairs, constant scores).
    """
    known = np.flatnonzero(np.isfinite(truth.mean))
    if len(known) < 3:
        return TwoWay(pairs=len(known))
    one, rows = np.ones((len(known), 1)), np.eye(int(image.max()) + 1)[image[known]]
    both = np.hstack([one, rows, np.eye(int(text.max()) + 1)[text[known]]])
    bases = [_basis(one), _basis(np.hstack([one, rows])), _basis(both)]
    noise, per_mean = _noise(truth.scores[:, known])

    def shares(y: Float[np.ndarray, "draws pairs"]) -> Float[np.ndarray, "3 draws"]:
        """Image, text and interaction shares."""
        explained = [((y @ basis) ** 2).sum(axis=1) for basis in bases]
        ranks = [basis.shape[1] for basis in bases]
        squares = [*np.diff(explained, axis=0), (y**2).sum(axis=1) - explained[-1]]
        freedom = [*np.diff(ranks), len(known) - ranks[-1]]
        clean = np.array([np.maximum(s - df * per_mean, 0.0) for s, df in zip(squares, freedom, strict=True)])
        total = clean.sum(axis=0)
        tiny = total <= 1e-12 * np.maximum((y**2).sum(axis=1), 1e-300)
        return np.where(tiny, np.nan, clean / np.where(tiny, 1.0, total))

    mean = truth.mean[known]
    parts = shares(mean[None])[:, 0]
    # The best pair of the additive model: fitted values of the two main effects.
    fitted = bases[-1] @ (bases[-1].T @ mean)
    picks = int(known[fitted.argmax()]), int(known[mean.argmax()])
    if len(known) == bases[-1].shape[1] or min(len(set(image[known])), len(set(text[known]))) < 2:
        return TwoWay(noise=noise, pairs=len(known), additive_best=picks[0], best=picks[1])
    interval = (float("nan"), float("nan"))
    if truth.draws is not None and truth.left_out is not None:
        drawn = shares(seed_mean(truth.draws)[:, known])[2]
        if parts[2] > 0:
            interval = bca_interval(float(parts[2]), drawn, shares(seed_mean(truth.left_out)[:, known])[2])
        else:  # at its floor, where a bias correction would claim certainty
            interval = (0.0, percentile_interval(drawn)[1])
    return TwoWay(float(parts[0]), float(parts[1]), float(parts[2]), interval, noise, len(known), *picks)


def _basis(design: Float[np.ndarray, "pairs columns"]) -> Float[np.ndarray, "pairs rank"]:
    """Orthonormal basis of the columns' span."""
    u, s, _ = np.linalg.svd(design, full_matrices=False)
    return u[:, s > 1e-9 * s.max()]


def _noise(scores: Float[np.ndarray, "seeds pairs"]) -> tuple[float, float]:
    """Seed variance, and its mean share in a pair's mean over its seeds; (NaN, 0) where no seed can be compared.

    Residuals of ``pair + seed`` effects, fitted by alternating means so that a grid with gaps will do.
    """
    known = np.isfinite(scores)
    per_pair, per_seed = known.sum(axis=0), known.sum(axis=1)
    freedom = known.sum() - (per_pair > 0).sum() - max(0, int((per_seed > 0).sum()) - 1)
    if freedom < 1 or per_pair.max() < 2:
        return float("nan"), 0.0
    rest = np.where(known, scores, 0.0)
    for _ in range(50):
        rest = np.where(known, rest - rest.sum(axis=0) / np.maximum(per_pair, 1), 0.0)
        rest = np.where(known, rest - (rest.sum(axis=1) / np.maximum(per_seed, 1))[:, None], 0.0)
    noise = float((rest**2).sum() / freedom)
    return noise, noise * float((1 / per_pair[per_pair > 0]).mean())
