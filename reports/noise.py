"""The noise in a method's mean test scores: other test units and other seeds would have given other numbers.

Test noise comes from the bootstrap over units. Seed noise is what is left of the scores when each pair's mean and each
seed's common shift are taken out; with two or three seeds there is nothing to resample, so it is drawn from a normal
distribution of the pooled variance. How a seed happens to do on just these units would be counted in both. Under
the bootstrap a seed's residuals spread by that much more than as measured, and the seed noise is lessened by it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.contract.seeding import stream
from harness.contract.separation import Factored
from reports.scores import ReferenceScores, seed_mean

_SWEEPS = 50
"""Rounds of alternating means; one suffices where no pair lacks a seed."""


@dataclass(frozen=True)
class SeedNoise:
    """Variance of one seed's score around its pair, a common shift of the seed removed.

    Attributes:
        measured: On the test units as they are; NaN where no seed can be compared with another.
        of_units: What of it the bootstrap over test units shows too.
        freedom: Degrees of freedom of ``measured``.
    """

    measured: float
    of_units: float
    freedom: int

    @property
    def pure(self) -> float:
        """What would be left with endless test units; 0 where nothing can be compared."""
        return max(0.0, self.measured - self.of_units) if self.freedom else 0.0

    def drawn(self, rng: np.random.Generator, draws: int) -> Float[np.ndarray, " draws"]:
        """Draws of ``pure``, whose size few degrees of freedom leave uncertain (scaled inverse chi-squared)."""
        if not self.freedom:
            return np.zeros(draws)
        return np.maximum(0.0, self.measured * self.freedom / rng.chisquare(self.freedom, size=draws) - self.of_units)


@dataclass(frozen=True)
class MeanNoise:
    """Noise of the pairs' means over seeds.

    Attributes:
        draws: ``[draws, pairs]`` deviations, test and seed noise together, pairs jointly; NaN for pairs without scores.
        covariance: Of these pairs' means; 0 where a pair has no score.
    """

    draws: Float[np.ndarray, "draws pairs"]
    covariance: Factored


def seed_noise(truth: ReferenceScores) -> SeedNoise:
    """Seed noise of a method's test scores."""
    measured, freedom = residual_variance(truth.scores)
    if freedom < 1:
        return SeedNoise(float("nan"), 0.0, 0)
    again = measured if truth.draws is None else residual_variance(truth.draws)[0].mean()
    return SeedNoise(float(measured), max(0.0, float(again - measured)), freedom)


def residual_variance(scores: Float[np.ndarray, "*draws seeds pairs"]) -> tuple[Float[np.ndarray, "*draws"], int]:
    """Variance of ``residuals`` and its degrees of freedom; NaN and 0 where there is nothing to compare."""
    known = np.isfinite(scores).reshape(-1, *scores.shape[-2:])[0]
    per_pair, per_seed = known.sum(axis=0), known.sum(axis=1)
    freedom = int(known.sum() - (per_pair > 0).sum() - max(0, int((per_seed > 0).sum()) - 1))
    if freedom < 1 or per_pair.max() < 2:
        return np.full(scores.shape[:-2], np.nan), 0
    return np.asarray((residuals(scores) ** 2).sum(axis=(-2, -1)) / freedom), freedom


def residuals(scores: Float[np.ndarray, "*draws seeds pairs"]) -> Float[np.ndarray, "*draws seeds pairs"]:
    """What is left of the scores without each pair's mean and each seed's common shift; 0 where there is no score.

    Fitted by alternating means, so that a grid with gaps will do (the same gaps in all draws).
    """
    known = np.isfinite(scores)
    per_pair, per_seed = known.sum(axis=-2, keepdims=True), known.sum(axis=-1, keepdims=True)
    rest = np.where(known, scores, 0.0)
    whole = bool((known | (per_pair == 0)).all())
    for _ in range(1 if whole else _SWEEPS):
        rest = np.where(known, rest - rest.sum(axis=-2, keepdims=True) / np.maximum(per_pair, 1), 0.0)
        rest = np.where(known, rest - rest.sum(axis=-1, keepdims=True) / np.maximum(per_seed, 1), 0.0)
    return rest


def mean_noise(truth: ReferenceScores, *, seed: int = 0) -> MeanNoise | None:
    """Draws of the noise in ``truth.mean``; None without resamples of the test units.

    Each draw takes its own size of the seed noise (``SeedNoise.drawn``): differences of pairs are then those of a
    t-distribution, as they should be where pairs and seeds are few.
    """
    if truth.draws is None:
        return None
    # In place, because a large grid's draws take 80 MB.
    draws = seed_mean(truth.draws)
    draws -= draws.mean(axis=0)
    factor = np.nan_to_num(draws)
    factor /= np.sqrt(max(1, len(draws) - 1))
    noise, count = seed_noise(truth), np.maximum(np.isfinite(truth.scores).sum(axis=0), 1)
    if noise.freedom:
        rng = stream(seed, "seed noise")
        spread = np.sqrt(noise.drawn(rng, len(draws))[:, None] / count)
        spread *= rng.standard_normal(draws.shape)
        draws += spread
    return MeanNoise(draws, Factored(factor, noise.pure / count))
