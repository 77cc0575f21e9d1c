"""Near ties and grids without interaction, from the stored queries to what the report says."""

import json
from typing import Any

import numpy as np
import pytest

from reports.analysis import analyse
from reports.cost_tables import view_notes
from reports.evidence import evidence
from reports.overview import TIE, overview_rows
from reports.search import search_needed
from reports.verdict import verdict

ADDITIVE = (0.3 + np.add.outer([0.0, 0.1, 0.2], [0.0, 0.05])).ravel()
"""Recalls of three image and two text encoders that add up; the last pair is best."""


def analysed(maker: Any, folder: Any, *seeds: np.ndarray, val: np.ndarray | None = None, queries: int = 1000) -> Any:
    test = np.stack(seeds)
    spec = maker.Spec(test if val is None else np.stack([val] * len(seeds)), test)
    return analyse(maker.run(folder / "run", {"ape": spec}, images=3, texts=2, queries=queries))


def test_twins_are_both_named_and_the_first_in_plan_order_is_picked(maker: Any, tmp_path: Any) -> None:
    quality = ADDITIVE.copy()
    quality[4] = quality[5]
    analysis = analysed(maker, tmp_path, quality, quality, val=quality)
    pairs = analysis.manifest.pairs
    assert analysis.summary.methods["ape"].best_pair == pairs[4]
    assert analysis.summary.methods["ape"].oracle_pair == pairs[4]
    assert set(analysis.ties) == {pairs[4], pairs[5]}
    assert "1 other pair may be as good." in " ".join(verdict(analysis))
    assert analysis.summary.methods["ape"].regret.value == 0, "either of them loses nothing"
    assert analysis.summary.methods["ape"].best_pair_hit == 1


def test_a_pick_that_is_worse_by_less_than_one_query_is_a_loss_and_is_not_separated(maker: Any, tmp_path: Any) -> None:
    quality = ADDITIVE.copy()
    quality[4] = quality[5] - 0.001  # one of a thousand queries
    validation = quality.copy()
    validation[4] = quality[5] + 0.01
    analysis = analysed(maker, tmp_path, quality, quality, val=validation)
    row, pairs = analysis.summary.methods["ape"], analysis.manifest.pairs
    assert (row.best_pair, row.oracle_pair) == (pairs[4], pairs[5])
    assert row.regret.value == pytest.approx(0.001)
    assert row.best_pair_hit == 0
    assert pairs[4] in analysis.ties


@pytest.mark.parametrize(("gap", "queries", "separated"), [(0.02, 60, False), (0.02, 20_000, True), (0.2, 1000, True)])
def test_more_queries_separate_what_few_do_not(
    maker: Any, tmp_path: Any, gap: float, queries: int, separated: bool
) -> None:
    quality = np.r_[np.full(4, 0.1), 0.5 - gap, 0.5]
    analysis = analysed(maker, tmp_path, quality, quality, queries=queries)
    assert (analysis.manifest.pairs[4] not in analysis.ties) == separated
    assert analysis.manifest.pairs[5] == analysis.ties[0]


def test_pairs_that_all_tie_pick_nothing_and_are_said_to(maker: Any, tmp_path: Any) -> None:
    flat = np.full(6, 0.4)
    analysis = analysed(maker, tmp_path, flat, flat)
    row = analysis.summary.methods["ape"]
    assert row.best_pair is None
    assert row.spearman.value is None, "a constant truth has no order"
    assert np.isnan(analysis.decomposition.interaction)
    assert "cannot be said" in search_needed(analysis)
    text = json.loads(analysis.summary.model_dump_json(by_alias=True))
    assert text["interaction_share"]["value"] is None


def test_a_grid_without_interaction_says_that_encoders_can_be_chosen_one_by_one(maker: Any, tmp_path: Any) -> None:
    analysis = analysed(maker, tmp_path, ADDITIVE, ADDITIVE, queries=2000)
    share, parts = analysis.summary.interaction_share, analysis.decomposition
    assert share.value == pytest.approx(0, abs=0.02)
    assert share.ci95[0] == 0, "nothing says that there is any"
    assert parts.image == pytest.approx(4 * 0.1**2 / (4 * 0.1**2 + 6 * 0.025**2), abs=0.03), "sums of squares by hand"
    assert parts.additive_best == parts.best == 5
    assert "separately finds the best pair here" in search_needed(analysis)


def test_an_interaction_of_one_pair_is_measured_by_hand(maker: Any, tmp_path: Any) -> None:
    """One pair better by d than its encoders say leaves, of a 3 x 2 grid, d^2 (1 - 1/3)(1 - 1/2) of interaction."""
    quality = ADDITIVE.copy()
    quality[0] += 0.3
    table = quality.reshape(3, 2)
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    left = ((table - rows - columns + table.mean()) ** 2).sum()
    assert left == pytest.approx(0.3**2 * (2 / 3) * (1 / 2))
    analysis = analysed(maker, tmp_path, quality, quality, queries=5000)
    share = analysis.summary.interaction_share
    assert share.value == pytest.approx(left / ((table - table.mean()) ** 2).sum(), abs=0.02)
    assert share.ci95[0] > 0.1
    assert share.ci95[0] <= share.value <= share.ci95[1]


def test_seeds_that_disagree_widen_what_is_not_separated(maker: Any, tmp_path: Any) -> None:
    """Queries without number say nothing of what another seed would give."""
    steady = np.r_[np.full(4, 0.1), 0.46, 0.5]
    up, down = steady.copy(), steady.copy()
    up[4], down[4] = 0.56, 0.36
    alike = analysed(maker, tmp_path / "alike", steady, steady, queries=20_000)
    apart = analysed(maker, tmp_path / "apart", up, down, queries=20_000)
    pair = alike.manifest.pairs[4]
    assert pair not in alike.ties
    assert pair in apart.ties


def test_a_metric_that_cannot_tell_the_pairs_apart_recommends_none_and_says_why(maker: Any, tmp_path: Any) -> None:
    full = np.full(6, 1.0)
    sentences = verdict(analysed(maker, tmp_path, full, full))
    assert sentences[0] == (
        "No pair can be recommended: ape has the same text_to_image_r5, 1.000, for all 6 pairs on validation data."
    )
    assert not any("Nothing can be said yet" in sentence for sentence in sentences), "every cell is done"


def test_a_pick_that_others_tie_with_is_said_to_be_the_first(maker: Any, tmp_path: Any) -> None:
    """A score that counts parameters, say: two pairs share its first place."""
    truth, score = np.linspace(0.2, 0.7, 6), np.array([1.0, 3.0, 2.0, 3.0, 1.0, 2.0])
    flat = np.ones(6)
    specs = {
        "ape": maker.Spec(np.stack([truth] * 2), np.stack([truth] * 2)),
        "largest": maker.Spec(np.stack([score] * 2), None, kind="score", flops=0.0, updates=0),
        "flat": maker.Spec(np.stack([flat] * 2), None, kind="score", flops=0.0, updates=0),
    }
    analysis = analyse(maker.run(tmp_path / "run", specs, images=3, texts=2))
    rows = {row.method: row for row in overview_rows(analysis)}
    assert rows["largest"].best_pair == "image0 + text1 (first of 2 that tie)"
    assert rows["ape (reference)"].best_pair == "image2 + text1"
    assert rows["flat"].best_pair == TIE
    notes = view_notes(analysis, "as_run")
    assert "largest: no ratio of FLOPs: largest spends none." in notes, "a dash has its reason"


def test_equal_best_scores_of_the_reference_are_counted(maker: Any, tmp_path: Any) -> None:
    scores = np.array([0.2, 0.3, 0.4, 0.7, 0.7, 0.7])
    text = " ".join(part for one in evidence(analysed(maker, tmp_path, scores, scores)) for part in one.sentences)
    assert "mean over 2 seeds; 2 other pairs have the same score)" in text
    assert "which it picks on validation data (first of 3 that tie)" in text


def test_why_there_are_no_shares_is_the_reason_that_holds(maker: Any, tmp_path: Any) -> None:
    flat = analysed(maker, tmp_path / "flat", np.full(6, 0.4), np.full(6, 0.4))
    assert "differ between pairs by no more than noise" in search_needed(flat), "the grid is whole"
    both = np.stack([np.linspace(0.2, 0.4, 3)] * 2)
    one = maker.run(tmp_path / "one", {"ape": maker.Spec(both, both)}, images=3, texts=1)
    assert "takes at least two image and two text encoders" in search_needed(analyse(one))
