"""Ratios that would mislead are left out: counted savings of a worthless ranking, unlike FLOPs called matched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis import analyse
from reports.schema import CostRatio

TRUTH = np.stack([np.linspace(0.2, 0.75, 12)] * 2)


def test_what_ranks_like_chance_has_no_counted_ratio(maker: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(5).standard_normal((2, 12))
    good = np.clip(TRUTH + 0.01 * noise, 0, 1)
    cheap = {"kind": "joint", "pairs_per_step": 4, "flops": 5.0}
    specs = {
        "ape": maker.Spec(TRUTH, TRUTH),
        "noise": maker.Spec(noise, TRUTH, **cheap),
        "good": maker.Spec(good, TRUTH, **cheap),
    }
    summary = analyse(maker.run(tmp_path / "run", specs, images=4, texts=3)).summary
    assert abs(summary.methods["noise"].spearman.value or 1) < 0.4
    assert summary.views.paper["noise"].cost_ratio == CostRatio()
    assert "no better than a random order" in (summary.views.paper["noise"].note or "")
    assert summary.views.paper["good"].cost_ratio.flops is not None
    assert "here it ranks with Spearman 1.000" in (summary.views.paper["good"].note or "")


@pytest.mark.parametrize(("spent", "compared"), [(37.0, True), (60.5, False)])
def test_matched_flops_are_within_a_tolerance(maker: Any, tmp_path: Path, spent: float, compared: bool) -> None:
    # The grid's checkpoints are at 36 and 144 of FLOPs per seed, the method ends at 37 or at 60.5.
    specs = {
        "ape": maker.Spec(TRUTH, TRUTH, flops=12.0, checkpoints={0.25: TRUTH, 1.0: TRUTH}),
        "hyma": maker.Spec(TRUTH, TRUTH, kind="joint", flops=spent, checkpoints={1.0: TRUTH}),
    }
    analysis = analyse(maker.run(tmp_path / "run", specs, images=4, texts=3))
    view = analysis.summary.views.matched_flops["hyma"]
    assert (view.cost_ratio.flops is not None) == compared
    if not compared:
        assert "not matched: ape has no checkpoint near 60.5 FLOP" in (view.note or "")
        assert np.isnan(analysis.cut_reference["matched_flops"]["hyma"].spearman)


def test_a_side_that_was_best_before_its_end_says_so(maker: Any, tmp_path: Path) -> None:
    over = {0.5: TRUTH + 0.1, 1.0: TRUTH}
    specs = {
        "ape": maker.Spec(TRUTH, TRUTH, flops=12.0, checkpoints={0.5: TRUTH, 1.0: TRUTH}),
        "hyma": maker.Spec(TRUTH, TRUTH, kind="joint", flops=72.0, checkpoints=over),
    }
    view = analyse(maker.run(tmp_path / "run", specs, images=4, texts=3)).summary.views.matched_flops["hyma"]
    assert view.budget.flops == pytest.approx(36)
    assert view.cost_ratio.flops is not None
    assert "hyma was best at 36 FLOP, before it had spent as much" in (view.note or "")
