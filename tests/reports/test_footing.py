"""One footing for every row: seed s meets the reference's other seeds, whoever made its connectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.analysis import analyse
from reports.compare import compare
from reports.scores import ReferenceScores


def test_a_method_that_reuses_connectors_stands_where_the_reference_does(maker: Any, tmp_path: Path) -> None:
    """Each seed has noise of its own in validation and test: met by itself, it would look better than it is."""
    rng = np.random.default_rng(0)
    quality, noise = np.linspace(0.3, 0.6, 12), 0.1 * rng.standard_normal((3, 12))
    val, test = quality + noise, np.round(200 * np.clip(quality + noise, 0, 1)) / 200  # of 200 queries
    specs = {
        "ape": maker.Spec(val, test),
        "stacked": maker.Spec(val, test, kind="joint"),
        "other": maker.Spec(val[::-1]),
    }
    summary = analyse(maker.run(tmp_path / "run", specs, images=4, texts=3)).summary
    assert summary.methods["stacked"].spearman == summary.methods["ape"].spearman
    assert summary.methods["stacked"].regret == summary.methods["ape"].regret
    assert summary.noise_ceiling.spearman == summary.methods["stacked"].spearman.value
    expected = [
        stats.spearmanr(val[row], test[[other for other in range(3) if other != row]].mean(axis=0))[0]  # type: ignore[index]
        for row in range(3)
    ]
    assert summary.methods["ape"].spearman.per_seed == pytest.approx(expected)


def test_where_one_seed_of_the_reference_has_run_all_others_meet_it() -> None:
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [np.nan] * 4])
    truth = ReferenceScores(scores, np.isfinite(scores), True)
    other = np.array([[0.1, 0.2, 0.4, 0.3]] * 2)
    found = compare(truth, other, np.ones((2, 4), dtype=bool), intervals=False)
    assert found.spearman.per_seed == pytest.approx([0.8, 0.8])
    own = compare(truth, scores, truth.ran, own=True, intervals=False)
    assert np.isnan(own.spearman.per_seed).all()
