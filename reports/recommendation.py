"""Which pair to stitch, and whose connector to take: what the verdict is about."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.ranking import oriented
from reports.rows import MethodResult
from reports.schema import Pair
from reports.scores import seed_mean


@dataclass(frozen=True)
class Recommendation:
    """What the report recommends.

    Attributes:
        label: The method whose pick and connector it is.
        pair: The pair.
        better: Its connectors are surely better than the reference's: (the one handed over, the mean over pairs).
        close: Pairs that its test scores do not separate from the best one, best first; None when that is unknown.
    """

    label: str
    pair: Pair
    better: tuple[bool, bool] = (False, False)
    close: list[Pair] | None = None


def recommended(
    results: Mapping[str, MethodResult], better: Mapping[str, tuple[bool, bool]], reference: str
) -> str | None:
    """The method to take the connector from: the reference, unless others' connectors are surely better.

    Of those it is the one whose pick has the best validation score; test scores decide only whether they are better.

    Args:
        results: Label -> result.
        better: Label -> whether its connectors are better; see ``reports.delivered.surely_better``.
        reference: Label of the reference.

    Returns:
        A label; None where the reference hands nothing over.
    """
    if results[reference].summary.best_pair is None:
        return None
    able = [
        label for label, (best, mean) in better.items() if best or (mean and results[label].delivered.gain.value >= 0)
    ]
    return max(able, key=lambda label: _validation(results[label]), default=reference)


def _validation(result: MethodResult) -> float:
    """Mean validation score of the method's pick, larger is better."""
    scores = oriented(seed_mean(result.data.scores), higher_is_better=result.data.score_higher)
    return float(np.nanmax(scores))
