"""What methods deliver and promise: by hand, and in simulations with known truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.run.store import RunStore
from reports.analysis import Analysis, analyse
from reports.bootstrap import PairQueries, draw_weights, resampled_scores
from reports.build import build_report
from reports.delivered import Delivered, delivered, surely_better
from reports.paper import pair_step_flops
from reports.scores import ReferenceScores

# Four pairs (2 images x 2 texts), two seeds. ape picks pair 0, whose test scores are .52 and .48; the oracle is pair 1.
APE_VAL = np.array([[0.50, 0.40, 0.30, 0.20]] * 2)
APE_TEST = np.array([[0.52, 0.56, 0.30, 0.20], [0.48, 0.52, 0.30, 0.20]])
# ridge picks pair 1, with test scores .60 and .64.
RIDGE_VAL = np.array([[0.40, 0.55, 0.35, 0.25]] * 2)
RIDGE_TEST = np.array([[0.50, 0.60, 0.40, 0.30], [0.50, 0.64, 0.40, 0.30]])


def run(maker: Any, folder: Path, **options: Any) -> RunStore:
    specs = {
        "ape": maker.Spec(APE_VAL, APE_TEST, flops=100.0, wall_s=4.0),
        "ridge": maker.Spec(
            RIDGE_VAL, RIDGE_TEST, kind="joint", batch_size=None, pairs_per_step=None, updates=0, flops=40.0, wall_s=2.0
        ),
        "cka": maker.Spec(APE_VAL, None, kind="score", batch_size=None, pairs_per_step=None, updates=0, flops=10.0),
    }
    return maker.run(folder / "run", specs, images=2, texts=2, **options)


def test_delivered_mean_and_gap_by_hand(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(run(maker, tmp_path))
    rows = analysis.summary.methods
    assert rows["ape"].delivered.value == pytest.approx(0.50)
    assert rows["ridge"].delivered.value == pytest.approx(0.62)
    assert rows["ridge"].mean_score == pytest.approx(RIDGE_TEST.mean())
    assert rows["ridge"].mean_gap == pytest.approx(APE_TEST.mean() - RIDGE_TEST.mean())
    assert rows["ape"].mean_gap == pytest.approx(0)
    assert rows["cka"].delivered.value is None
    assert rows["cka"].mean_score is None
    found = analysis.methods["ridge"].delivered
    assert found.gain.value == pytest.approx(0.12)
    # Each seed of the one against the other's mean, both ways.
    assert found.gain.per_seed == pytest.approx((0.60 - 0.50, 0.64 - 0.50, 0.62 - 0.52, 0.62 - 0.48))
    for estimate in (found.best, found.mean, found.gain, found.gap):
        low, high = estimate.ci95
        assert low < estimate.value < high
    # Paired: the same images are easy for both, so the difference is known far better than either score.
    width = found.gap.ci95[1] - found.gap.ci95[0]
    assert width < 0.5 * (found.mean.ci95[1] - found.mean.ci95[0])


def test_lower_is_better_turns_the_signs_but_not_the_scores(maker: Any, tmp_path: Path) -> None:
    val, test = np.array([[9.0, 5.0, 21.0, 13.0]] * 2), np.array([[9.0, 5.0, 21.0, 13.0]] * 2)
    specs = {"ape": maker.Spec(val, test), "worse": maker.Spec(val, test + 2, kind="joint")}
    store = maker.run(tmp_path / "run", specs, images=2, texts=2, metric="median_rank", queries=101)
    analysis = analyse(store)
    row = analysis.summary.methods["worse"]
    assert row.delivered.value == pytest.approx(7)
    assert row.mean_gap == pytest.approx(2), "positive is worse"
    assert analysis.methods["worse"].delivered.gain.value == pytest.approx(-2)
    assert row.promises is not None
    assert row.promises.winner is not None
    assert row.promises.winner.gap == pytest.approx(2)


def test_promises_by_hand(maker: Any, tmp_path: Path) -> None:
    rows = analyse(run(maker, tmp_path)).summary.methods
    ridge, cka = rows["ridge"].promises, rows["cka"].promises
    assert ridge is not None and cka is not None
    assert ridge.selection is not None and ridge.winner is not None and ridge.all is not None
    assert ridge.selection.flops_ratio == pytest.approx(400 / 40)
    assert ridge.selection.wall_ratio == pytest.approx(16 / 2)
    assert ridge.selection.spearman == rows["ridge"].spearman.value
    assert ridge.winner.gap == pytest.approx(0.54 - 0.62), (
        "the reference's own score of its best pair, less what is got"
    )
    assert ridge.winner.limit == pytest.approx(4), "four equal trainings, of which one is the pair's"
    assert ridge.all.gap == rows["ridge"].mean_gap
    assert cka.selection is not None
    assert cka.winner is None, "it trains no connector"
    assert cka.all is None


def test_a_method_without_every_connector_does_not_promise_all(maker: Any, tmp_path: Path) -> None:
    partial = RIDGE_TEST.copy()
    partial[:, 3] = np.nan
    specs = {
        "ape": maker.Spec(APE_VAL, APE_TEST),
        "part": maker.Spec(RIDGE_VAL, np.nan_to_num(partial), kind="joint", status={}),
    }
    store = maker.run(tmp_path / "run", specs, images=2, texts=2)
    for cell in (c for c in store.manifest().cells if c.label == "part"):
        record = store.record(cell.key)
        metrics = [m if n < 3 else m.model_copy(update={"test": {}}) for n, m in enumerate(record.metrics)]
        store.write_cell(record.model_copy(update={"metrics": metrics}), store.queries(cell.key))
    promises = analyse(store).summary.methods["part"].promises
    assert promises is not None
    assert promises.winner is not None
    assert promises.all is None


def test_no_reference_no_promise(maker: Any, tmp_path: Path) -> None:
    assert analyse(run(maker, tmp_path, reference=None)).summary.methods["ridge"].promises is None


def stacked(maker: Any, folder: Path) -> Analysis:
    """A grid computed in one cell, of pairs of unlike size."""
    specs = {
        "grid": maker.Spec(APE_VAL, APE_TEST, kind="joint", pairs_per_step=4, flops=1000.0),
        "ridge": maker.Spec(RIDGE_VAL, RIDGE_TEST, kind="joint", flops=40.0),
    }
    store = maker.run(folder / "run", specs, images=2, texts=2, reference="grid")
    manifest = store.manifest()
    images = [e.model_copy(update={"dim": d}) for e, d in zip(manifest.image_encoders, (100, 300), strict=True)]
    methods = {
        label: method.model_copy(update={"is_grid": label == "grid"}) for label, method in manifest.methods.items()
    }
    store.write_manifest(manifest.model_copy(update={"image_encoders": images, "methods": methods}))
    return analyse(store)


def test_the_limit_of_a_grid_in_one_cell_is_the_pairs_part_of_it(maker: Any, tmp_path: Path) -> None:
    analysis = stacked(maker, tmp_path)
    parts = [pair_step_flops(analysis.manifest, pair, 128) for pair in analysis.manifest.pairs]
    promises = analysis.summary.methods["ridge"].promises
    assert promises is not None and promises.winner is not None
    # ridge picks pair 1 (the smaller image encoder); 4 B T I + 4 B^2 I is proportional to I.
    assert promises.winner.limit == pytest.approx(sum(parts) / parts[1])
    assert promises.winner.limit == pytest.approx((100 + 100 + 300 + 300) / 100)


def resampled(hits: np.ndarray, seed: int) -> ReferenceScores:
    """Test scores ``[1, pairs]`` of hits ``[images, pairs]``, with the run's bootstrap."""
    from harness.tasks.retrieval import Retrieval

    images, pairs = hits.shape
    unit = np.arange(images, dtype=np.int32)
    columns = [
        PairQueries({"text_to_image_r5": hits[:, p].astype(np.uint8)}, {"text_to_image": unit}) for p in range(pairs)
    ]
    weights = draw_weights(images, resamples=200, seed=seed)
    draws = resampled_scores(columns, Retrieval.metrics, "text_to_image_r5", weights)[:, None]
    return ReferenceScores(hits.mean(axis=0)[None], np.ones((1, pairs), dtype=bool), True, draws)


def simulated(seed: int, methods: int, lead: float, images: int = 250, pairs: int = 5) -> dict[str, Delivered]:
    """Methods whose connectors are equal to the reference's, or better by ``lead`` on a probit scale."""
    rng = np.random.default_rng(seed)
    quality, ease = 0.3 * rng.standard_normal(pairs), 0.8 * rng.standard_normal((images, 1))

    def scores(extra: float) -> ReferenceScores:
        return resampled(quality + extra + ease + 0.6 * rng.standard_normal((images, pairs)) > 0, seed)

    reference = scores(0.0)
    best = int(quality.argmax())
    return {f"m{n}": delivered(scores(lead), best, reference, best) for n in range(methods)}


def test_equal_connectors_are_rarely_called_better() -> None:
    """Six methods, two questions each, and yet at most one run in twenty has a false claim."""
    trials = 150
    false = sum(any(any(one) for one in surely_better(simulated(seed, 6, 0.0)).values()) for seed in range(trials))
    # 5 % of 150 is 7.5; 16 and more have a probability below 0.3 %.
    assert false <= 15


def test_connectors_that_are_better_are_called_so() -> None:
    found = [surely_better(simulated(seed, 3, 0.4)) for seed in range(20)]
    assert sum(mean for one in found for _, mean in one.values()) >= 54, "of 60"


def test_a_seed_that_disagrees_is_enough_to_doubt() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((400, 3)) < 0.4
    reference, other = resampled(hits, 0), resampled(hits | (rng.random((400, 3)) < 0.2), 0)
    sure = surely_better({"other": delivered(other, 0, reference, 0)})
    assert sure["other"] == (True, True)
    two = ReferenceScores(
        np.stack([other.scores[0] + 0.3, other.scores[0] - 0.3]),
        np.ones((2, 3), dtype=bool),
        True,
        np.repeat(other.draws, 2, axis=1),  # type: ignore[arg-type]
    )
    twice = ReferenceScores(
        np.repeat(reference.scores, 2, axis=0),
        np.ones((2, 3), dtype=bool),
        True,
        np.repeat(reference.draws, 2, axis=1),  # type: ignore[arg-type]
    )
    assert surely_better({"other": delivered(two, 0, twice, 0)})["other"] == (False, False)


def test_tables_views_and_frontier_hold_what_is_delivered(maker: Any, tmp_path: Path) -> None:
    report = build_report(run(maker, tmp_path))
    tables = Path(report.where) / "tables"
    summary = pd.read_csv(tables / "summary.csv").set_index("method")
    assert summary.loc["ridge", "delivered"] == pytest.approx(0.62)
    low, high, gap = (float(summary[name]["ridge"]) for name in ("delivered_low", "delivered_high", "mean_gap_high"))
    assert low < 0.62 < high
    assert gap < 0
    views = pd.read_csv(tables / "views.csv").set_index(["view", "method"])
    assert views.loc[("as_run", "ridge"), "delivered"] == pytest.approx(0.62)
    assert views.loc[("as_run", "ridge"), "mean_gap"] == pytest.approx(APE_TEST.mean() - RIDGE_TEST.mean())
    frontier = pd.read_csv(tables / "frontier.csv").set_index("method")
    assert frontier.loc["ridge", "mean_score"] == pytest.approx(RIDGE_TEST.mean())
    assert frontier.loc["ridge", "best_mean_score_for_flops"]
    assert not frontier.loc["ape", "best_delivered_for_flops"]
    assert {"plots/connectors.png", "plots/connectors.pdf"} <= set(report.files)
    row = next(row for row in report.rows if row.method == "ridge")
    assert row.delivered.startswith("0.620 [")
    assert row.mean_gap.startswith("-0.")
