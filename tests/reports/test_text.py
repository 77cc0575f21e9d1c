"""The report's sentences: what it calls the cheapest, and of whom it speaks."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from reports.analysis import Analysis, analyse
from reports.text import answer, cheapest, good_enough, headline_methods

QUALITY = np.linspace(0.2, 0.6, 6)
SWAPPED = QUALITY[[1, 0, 2, 3, 5, 4]]
"""Neighbours swapped at both ends: Spearman 1 - 6 * 4 / (6 * 35) with QUALITY."""


def analysed(maker: Any, folder: Path, **others: tuple[np.ndarray, float, str]) -> Analysis:
    """A reference of two seeds, one of which swaps neighbours, and others: (scores, FLOPs per seed, kind)."""
    both = np.stack([QUALITY, SWAPPED])
    specs = {"ape": maker.Spec(both, both, flops=100.0)}
    for label, (scores, flops, kind) in others.items():
        twice = np.stack([scores, scores])
        test = None if kind == "score" else twice
        specs[label] = maker.Spec(twice, test, kind=kind, pairs_per_step=2, updates=50, flops=flops)
    return analyse(maker.run(folder / "run", specs, images=3, texts=2))


def test_the_cheapest_ranks_as_well_as_the_references_own_seeds(maker: Any, tmp_path: Path) -> None:
    analysis = analysed(
        maker,
        tmp_path,
        dear=(QUALITY, 300.0, "joint"),
        fair=(SWAPPED, 50.0, "joint"),
        bad=(QUALITY[::-1].copy(), 1.0, "joint"),
    )
    # One seed's validation ranking against the other's test scores, both ways alike.
    rho: float = stats.spearmanr(QUALITY, SWAPPED)[0]  # type: ignore[assignment]
    least = good_enough(analysis)
    assert least is not None
    assert rho - 0.01 < least <= rho
    found = cheapest(analysis)
    assert found is not None
    assert found.data.label == "fair"
    (sentence,) = [text for text in answer(analysis) if text.startswith("The cheapest method here")]
    assert "is fair with" in sentence
    assert "50 updates" in sentence, "no ratio without its budget"
    assert sentence.count("updates") == 2, "of both sides"
    assert "stopped early" not in sentence, "without a curve of the reference that is not known"


def test_a_reference_that_is_as_good_when_stopped_early_is_named_beside_it(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, SWAPPED])
    ape = maker.Spec(both, both, flops=100.0, checkpoints={0.1: both, 1.0: both})
    twice = np.stack([QUALITY, QUALITY])
    joint = maker.Spec(twice, twice, kind="joint", pairs_per_step=2, updates=50, flops=300.0, checkpoints={1.0: twice})
    analysis = analyse(maker.run(tmp_path / "run", {"ape": ape, "joint": joint}, images=3, texts=2))
    (sentence,) = [text for text in answer(analysis) if text.startswith("The cheapest method here")]
    assert "is joint with" in sentence
    # A tenth of 100 FLOPs for each of six pairs; the first checkpoint already ranks as the last one does.
    assert "So does the reference itself, simply stopped early" in sentence
    assert sentence.endswith("60 FLOP.")


def test_where_nothing_is_as_good_it_says_so(maker: Any, tmp_path: Path) -> None:
    analysis = analysed(maker, tmp_path, bad=(QUALITY[::-1].copy(), 1.0, "joint"))
    assert any(text.startswith("No cheaper method of this run ranks the pairs as well") for text in answer(analysis))


def test_of_many_methods_it_speaks_of_the_cheapest_and_the_best(maker: Any, tmp_path: Path) -> None:
    analysis = analysed(
        maker,
        tmp_path,
        bad=(QUALITY[::-1].copy(), 1.0, "joint"),
        score=(SWAPPED, 2.0, "score"),
        best=(QUALITY, 300.0, "joint"),
        fair=(SWAPPED, 50.0, "joint"),
    )
    assert [result.data.label for result in headline_methods(analysis)] == ["score", "best"]
    said = " ".join(answer(analysis))
    assert "by its own score" in said
    assert "The table below has 2 more methods" in said
