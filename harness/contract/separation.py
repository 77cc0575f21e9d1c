"""Which candidates the noise does not separate from the best one: multiple comparisons with the best."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, t

LEVEL = 0.95
"""Of the simultaneous interval."""

BLOCK = 64
"""Draws at once."""


class Covariance(Protocol):
    """Covariance of many candidates, of which a few rows are asked for."""

    def variance(self, of: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Of these candidates."""
        ...

    def rows(self, of: Int[np.ndarray, " n"], among: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        """Of these candidates with those."""
        ...


@dataclass(frozen=True)
class Dense:
    """A covariance that is written out.

    Attributes:
        matrix: ``[candidates, candidates]``.
    """

    matrix: Float[np.ndarray, "candidates candidates"]

    def variance(self, of: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """See ``Covariance``."""
        return np.diag(self.matrix)[of]

    def rows(self, of: Int[np.ndarray, " n"], among: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        """See ``Covariance``."""
        return self.matrix[np.ix_(of, among)]


@dataclass(frozen=True)
class Factored:
    """``factor.T @ factor``, and what each candidate varies by for itself: ten thousand need no matrix of squares.

    Attributes:
        factor: ``[rank, candidates]``.
        own: ``[candidates]`` variance.
    """

    factor: Float[np.ndarray, "rank candidates"]
    own: Float[np.ndarray, " candidates"]

    def variance(self, of: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """See ``Covariance``."""
        return (self.factor[:, of] ** 2).sum(axis=0) + self.own[of]

    def rows(self, of: Int[np.ndarray, " n"], among: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        """See ``Covariance``."""
        return self.factor[:, of].T @ self.factor[:, among] + (of[:, None] == among) * self.own[of][:, None]

    def matrix(self, of: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
        """All of it, of these candidates."""
        return self.rows(of, of)


def not_separated(
    mean: Float[np.ndarray, " candidates"],
    draws: Float[np.ndarray, "draws candidates"],
    covariance: Float[np.ndarray, "candidates candidates"] | Factored,
    *,
    freedom: float = math.inf,
    level: float = LEVEL,
    indifference: float = 0.0,
) -> Int[np.ndarray, " kept"]:
    """Candidates whose difference from the best lies within a simultaneous interval, best first.

    Multiple comparisons with the best (Hsu 1981, 1984), with critical values from joint draws of the noise: the
    greatest studentised difference from the draw's own best (max-t; Westfall & Young 1993). Candidates that are
    separated leave, and the others are compared again among themselves until none leaves (Hansen, Lunde & Nason 2011):
    of candidates that are equally good and better than the others, all are kept together with probability ``level``.

    Args:
        mean: Scores, larger is better, all finite.
        draws: Joint draws of their noise, around zero.
        covariance: Of the noise. That of few draws would be too well fitted by the very same draws.
        freedom: Degrees of freedom of the covariance; infinite where it is known.
        level: Of the simultaneous interval.
        indifference: A candidate that cannot be better than the best by more than this leaves too, ties excepted.

    Returns:
        Their positions.
    """
    left = np.arange(len(mean))
    known: Covariance = Dense(covariance) if isinstance(covariance, np.ndarray) else covariance
    while True:
        limit, error = _limit(mean[left], draws[:, left], known, left, level, freedom)
        close = mean[left].max() - mean[left] <= np.maximum(limit * error - indifference, 0.0)
        if close.all():
            return left[np.argsort(-mean[left], kind="stable")]
        left = left[close]


def _limit(
    mean: Float[np.ndarray, " left"],
    draws: Float[np.ndarray, "draws left"],
    covariance: Covariance,
    left: Int[np.ndarray, " left"],
    level: float,
    freedom: float,
) -> tuple[float, Float[np.ndarray, " left"]]:
    """The critical value, and the standard error of each candidate's difference from the best."""
    first, variance = draws.argmax(axis=1), covariance.variance(left)

    def errors(of: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n left"]:
        among = covariance.rows(left[of], left)
        return np.sqrt(np.maximum(variance[of][:, None] + variance - 2 * among, 1e-30))

    greatest = np.empty(len(draws))
    for start in range(0, len(draws), BLOCK):  # ten thousand candidates need no matrix of draws times candidates more
        own = slice(start, start + BLOCK)
        best = draws[own][np.arange(len(first[own])), first[own]]
        greatest[own] = ((best[:, None] - draws[own]) / errors(first[own])).max(axis=1)
    limit = float(np.quantile(greatest, level))
    if math.isfinite(freedom):
        limit = float(-t.ppf(norm.cdf(-limit), freedom))
    return limit, errors(np.array([mean.argmax()]))[0]
