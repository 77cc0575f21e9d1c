"""The order of encoders in heatmaps: by their main effects, the best first."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from harness.contract.pairs import Pair
from reports.analysis import Analysis
from reports.ranking import oriented
from reports.scores import seed_mean


def encoder_order(analysis: Analysis) -> tuple[list[str], list[str]]:
    """Image and text encoders by the mean score of their pairs, the best first; those without any last.

    The scores are the reference's test scores; without a reference, or before it has any, the mean over the methods of
    their standardised scores. Encoders that do not meet the same partners are compared by what is left when the
    partners' own means are taken away.
    """
    return by_main_effects(analysis.manifest.pairs, _scores(analysis))


def by_main_effects(pairs: Sequence[Pair], scores: Float[np.ndarray, " pairs"]) -> tuple[list[str], list[str]]:
    """The same from scores, larger is better."""
    images, texts = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    table = np.full((len(images), len(texts)), np.nan)
    for number, (image, text) in enumerate(pairs):
        table[images.index(image), texts.index(text)] = scores[number]
    return _sorted(images, table), _sorted(texts, table.T)


def _sorted(names: list[str], table: np.ndarray) -> list[str]:
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    columns = filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    rest = np.where(known, table - columns, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    effect = np.where(known.any(axis=1), rest, -np.inf)
    return [names[n] for n in np.argsort(-effect, kind="stable")]


def _scores(analysis: Analysis) -> np.ndarray:
    """``[pairs]``, larger is better."""
    if analysis.truth is not None and np.isfinite(analysis.truth.mean).any():
        return np.asarray(analysis.truth.mean)
    rows = [np.full(len(analysis.manifest.pairs), np.nan)]
    for result in analysis.methods.values():
        own = oriented(seed_mean(result.data.scores), higher_is_better=result.data.score_higher)
        known = own[np.isfinite(own)]
        if len(known) and known.std() > 0:
            rows.append((own - known.mean()) / known.std())
    return np.asarray(seed_mean(np.stack(rows)))
