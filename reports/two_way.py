"""How much search was needed: image effect, text effect and interaction of the reference's scores, noise removed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from harness.contract.separation import Factored
from reports.noise import mean_noise, seed_noise
from reports.scores import ReferenceScores

_HALVINGS = 40
_NOWHERE = (float("nan"), float("nan"))


@dataclass(frozen=True)
class TwoWay:
    """Shares of the variance of pair scores; they add up to 1.

    Attributes:
        image: Share of the image encoder's main effect.
        text: Share of the text encoder's main effect.
        interaction: Share that is specific to pairs.
        ci95: Interval of ``interaction``; NaN where test units cannot be resampled.
        noise: Variance of one seed's score around its pair (a common shift of a seed removed); NaN with one seed.
        pairs: Pairs in the analysis.
        additive_best: Number of the pair that the two main effects alone would pick.
        best: Number of the pair with the best mean score.
    """

    image: float = float("nan")
    text: float = float("nan")
    interaction: float = float("nan")
    ci95: tuple[float, float] = _NOWHERE
    noise: float = float("nan")
    pairs: int = 0
    additive_best: int | None = None
    best: int | None = None


@dataclass(frozen=True)
class _Design:
    """Orthonormal bases ``[pairs, rank]`` of what the image and the text encoder explain; the rest is the pair's own.

    A basis of the rest would be a matrix of pairs times pairs, so it is worked with what the others leave.

    Attributes:
        image: Of the image encoder's effect.
        text: Of what the text encoder's adds.
        both: Of these and the common mean.
    """

    image: np.ndarray
    text: np.ndarray
    both: np.ndarray

    @property
    def has_all(self) -> bool:
        """Whether there is an effect of each kind to speak of."""
        return bool(self.image.shape[1] and self.text.shape[1] and self.both.shape[1] < len(self.both))

    def rest(self, rows: Float[np.ndarray, "*draws pairs"]) -> Float[np.ndarray, "*draws pairs"]:
        """What the pair alone explains."""
        return rows - (rows @ self.both) @ self.both.T

    def squares(self, rows: Float[np.ndarray, "*draws pairs"]) -> Float[np.ndarray, "*draws 3"]:
        """Sums of squares in the three parts."""
        parts = rows @ self.image, rows @ self.text, self.rest(rows)
        return np.stack([(part**2).sum(axis=-1) for part in parts], axis=-1)

    def expected(self, covariance: Factored) -> Float[np.ndarray, "3"]:
        """Expected sums of squares of noise in the three parts."""
        own = covariance.own
        of_effects = [float((own[:, None] * part**2).sum()) for part in (self.image, self.text)]
        of_rest = float(own.sum() - (own[:, None] * self.both**2).sum())
        return self.squares(covariance.factor).sum(axis=0) + np.array([*of_effects, of_rest])


def two_way(
    truth: ReferenceScores,
    image: Integer[np.ndarray, " pairs"],
    text: Integer[np.ndarray, " pairs"],
    *,
    seed: int = 0,
) -> TwoWay:
    """Two-way analysis of the reference's test scores, full grid or not.

    The sums of squares of the pairs' means over seeds are lessened by what noise adds to them on average, the trace of
    its covariance in each part's space: test noise, which the seeds share because they share the test units, by the
    bootstrap, and seed noise by the spread of the seeds (``reports.noise``). What is left is floored at 0. On a grid
    with holes, main effects are fitted by least squares, the image effect first.

    The interval inverts a test (Casella & Berger 2002, section 9.2): it holds the shares under which the measured one
    is neither among the 2.5 % smallest nor the 2.5 % largest of what joint draws of the noise make of such a share. So
    it holds 0 when the truth is additive, and a share at its floor does not claim certainty.

    Args:
        truth: The reference's scores; pairs without a number are left out.
        image: Image encoder's number of every pair.
        text: Text encoder's number of every pair.
        seed: Of the draws of seed noise.

    Returns:
        NaN where there is no interaction to speak of (one encoder on a side, too few pairs, constant scores). Without
        stored queries test noise stays in, and with one seed seed noise does.
    """
    known = np.flatnonzero(np.isfinite(truth.mean))
    if len(known) < 3:
        return TwoWay(pairs=len(known))
    mean, design = truth.mean[known], _design(image[known], text[known])
    measured = seed_noise(truth).measured
    best = int(known[mean.argmax()])
    fitted = mean - design.rest(mean)
    additive_best = int(known[fitted.argmax()])
    nothing = TwoWay(noise=measured, pairs=len(known), additive_best=additive_best, best=best)
    if not design.has_all:
        return nothing
    noise = mean_noise(truth, seed=seed)
    covariance = _seeds_only(truth) if noise is None else noise.covariance
    added = design.expected(Factored(covariance.factor[:, known], covariance.own[known]))
    clean = np.maximum(design.squares(mean) - added, 0.0)
    if clean.sum() <= 1e-12 * (mean**2).sum():
        return nothing
    shares = clean / clean.sum()
    ci95 = _NOWHERE if noise is None else _interval(mean, design, clean, added, noise.draws[:, known])
    of_image, of_text, of_pairs = (float(share) for share in shares)
    return TwoWay(of_image, of_text, of_pairs, ci95, measured, len(known), additive_best, best)


def _seeds_only(truth: ReferenceScores) -> Factored:
    """Covariance of the means without resamples: the measured seed noise, 0 with one seed."""
    noise, count = np.nan_to_num(seed_noise(truth).measured), np.isfinite(truth.scores).sum(axis=0)
    return Factored(np.zeros((1, len(count))), noise / np.maximum(count, 1))


def _design(image: Integer[np.ndarray, " pairs"], text: Integer[np.ndarray, " pairs"]) -> _Design:
    one = np.ones((len(image), 1)) / np.sqrt(len(image))
    rows, columns = (np.eye(int(side.max()) + 1)[side] for side in (image, text))
    found = _added(one, rows)
    more = _added(np.hstack([one, found]), columns)
    return _Design(found, more, np.hstack([one, found, more]))


def _added(basis: Float[np.ndarray, "pairs rank"], columns: Float[np.ndarray, "pairs columns"]) -> np.ndarray:
    """Orthonormal basis ``[pairs, rank]`` of what these columns span beyond a basis."""
    rest = columns - basis @ (basis.T @ columns)
    u, s, _ = np.linalg.svd(rest, full_matrices=False)
    return u[:, s > 1e-9]


def _interval(
    mean: Float[np.ndarray, " pairs"],
    design: _Design,
    clean: Float[np.ndarray, "3"],
    added: Float[np.ndarray, "3"],
    draws: Float[np.ndarray, "draws pairs"],
) -> tuple[float, float]:
    """Shares of the interaction that do not contradict the measured one; see ``two_way``.

    A share is tried with the effects' total as measured: the main effects and the interaction keep their measured
    directions and are scaled to it.
    """
    if not added[2] > 1e-15 * (mean**2).sum():
        return _NOWHERE
    main = np.hstack([design.image, design.text])
    of_mean = mean @ main, design.rest(mean)
    noise = draws @ main, design.rest(draws)
    along = [_direction(own, drawn[0]) for own, drawn in zip(of_mean, noise, strict=True)]
    cross = [own @ direction for own, direction in zip(noise, along, strict=True)]
    length = [(own**2).sum(axis=1) for own in noise]
    expected, total = (added[0] + added[1], added[2]), clean.sum()

    def shares(share: float) -> Float[np.ndarray, " draws"]:
        """What draws of the noise make of a share."""
        scale = (1 - share) * total, share * total
        found = [np.maximum(scale[k] + 2 * np.sqrt(scale[k]) * cross[k] + length[k] - expected[k], 0.0) for k in (0, 1)]
        return found[1] / np.maximum(found[0] + found[1], 1e-300)

    measured = float(clean[2] / total)
    low = _smallest(lambda share: float(np.quantile(shares(share), 0.975)) >= measured)
    high = _smallest(lambda share: float(np.quantile(shares(share), 0.025)) > measured)
    return min(low, measured), max(high, measured)


def _direction(vector: Float[np.ndarray, " rank"], instead: Float[np.ndarray, " rank"]) -> Float[np.ndarray, " rank"]:
    """Unit vector along a vector, or along another where it is 0."""
    chosen = vector if vector.any() else instead
    return chosen / max(float(np.linalg.norm(chosen)), 1e-300)


def _smallest(holds: Callable[[float], bool]) -> float:
    """Smallest share at which something holds that holds for all larger ones; 1 where it never does."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
