"""Without a grid: the methods' own scores, where they agree, how sure they are, and which pairs to train next."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.agreement import MOST
from reports.agreement_tables import candidate_table
from reports.analysis import Analysis, analyse
from reports.build import build_report
from reports.evidence import evidence
from reports.tables import overview_table
from reports.verdict import verdict

QUALITY = np.linspace(0.2, 0.75, 12)


def without(maker: Any, folder: Path) -> Any:
    """Two methods that agree on the best pair, and a score that prefers another; no reference."""
    rng = np.random.default_rng(0)
    ridge, cca = (np.stack([QUALITY + noise * rng.standard_normal(12)] * 2) for noise in (0.01, 0.02))
    ridge[:, 11] = cca[:, 11] = 0.9
    other = np.stack([QUALITY] * 2)
    other[:, 4] = 2.0
    still = {"batch_size": None, "pairs_per_step": None, "updates": 0}
    specs = {
        "ridge": maker.Spec(ridge, ridge, kind="joint", **still),
        "cca": maker.Spec(cca, cca, kind="joint", **still),
        "cka": maker.Spec(other, None, kind="score", **still),
        "flat": maker.Spec(np.ones((2, 12)), None, kind="score", **still),
    }
    return maker.run(folder / "run", specs, images=4, texts=3, reference=None, queries=300)


@pytest.fixture
def analysis(maker: Any, tmp_path: Path) -> Analysis:
    return analyse(without(maker, tmp_path))


def test_the_verdict_names_the_common_pick_the_agreement_and_what_to_train(analysis: Analysis) -> None:
    pick, sure, train = verdict(analysis)
    assert pick.startswith("2 of 3 methods that prefer a pair pick image3 + text2; the best connector for it is ")
    assert "text_to_image_r5 0.900 [0." in pick, "whose connector it is, and what it is worth, comes first"
    assert sure.startswith("No grid was trained, so nothing here is checked against one; ")
    assert train == "Train these next: image3 + text2, image1 + text1."


def test_agreement_is_the_rank_correlation_of_the_methods(analysis: Analysis) -> None:
    found = analysis.agreement
    assert found is not None
    means = {label: result.data.ranking.mean(axis=0) for label, result in analysis.methods.items()}
    one, other = found.labels.index("ridge"), found.labels.index("cka")
    expected: float = stats.spearmanr(means["ridge"], means["cka"])[0]  # type: ignore[assignment]
    assert found.spearman[one, other] == pytest.approx(expected)
    assert found.favourite == (11, ["ridge", "cca"])


def test_every_methods_pick_is_a_candidate_and_never_more_than_ten(maker: Any, tmp_path: Path) -> None:
    found = analyse(without(maker, tmp_path)).agreement
    assert found is not None
    assert set(found.picks.values()) <= set(found.candidates)
    close = np.stack([np.full(20, 0.5) + 0.001 * np.arange(20)] * 2)
    specs = {"ridge": maker.Spec(close, close, kind="joint")}
    many = analyse(maker.run(tmp_path / "many", specs, images=5, texts=4, reference=None)).agreement
    assert many is not None
    assert len(many.candidates) == MOST, "twenty pairs that nothing separates"


def test_own_scores_and_how_sure_they_are_stand_in_the_evidence(analysis: Analysis) -> None:
    parts = {part.title: " ".join(part.sentences) for part in evidence(analysis)}
    own = parts["What each method finds"]
    assert "ridge picks image3 + text2: its delivered score is 0.900 [" in own
    assert "1 pair is not separated from its best" in own
    assert "cka picks image1 + text1: it trains no connector" in own
    assert "flat gives all pairs the same score and picks none." in own
    assert "Agreement is no proof" in parts["Where they agree"]


def test_the_page_has_the_tables_and_no_empty_plot(maker: Any, tmp_path: Path) -> None:
    report = build_report(without(maker, tmp_path))
    page = (Path(report.where) / "index.html").read_text(encoding="utf-8")
    assert "Which pairs to train next" in page
    assert "Where the methods agree" in page
    assert "Cost ratios" not in page
    assert not {"plots/frontier.png", "plots/ranks.png"} & set(report.files)
    assert "plots/connectors.png" in report.files


def test_a_method_that_orders_nothing_agrees_with_none(analysis: Analysis) -> None:
    assert analysis.agreement is not None
    assert analysis.agreement.labels == ["ridge", "cca", "cka"]
    assert "flat" not in " ".join(evidence(analysis)[1].sentences), "0 between a flat score and others is no finding"
    assert candidate_table(analysis).columns[-1] == "place by cka (test score)"  # type: ignore[union-attr]


def test_the_first_table_has_no_column_that_takes_a_reference(analysis: Analysis) -> None:
    columns = " ".join(overview_table(analysis).columns)
    assert not any(word in columns for word in ("gap", "Spearman", "regret", "ratio"))
    assert "delivered score" in columns
