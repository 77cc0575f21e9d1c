"""Views at smaller budgets: scores, FLOPs and label of one point, and shorter runs where there are any."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.run.store import RunStore
from reports.analysis import Analysis, analyse
from reports.cuts import same_updates

FULL = np.array([[0.5, 0.4, 0.3, 0.2]] * 2)
SWAPPED = np.array([[0.4, 0.5, 0.3, 0.2]] * 2)  # Spearman 0.8, regret 0.1
REVERSED = FULL[:, ::-1].copy()
WORSE = np.array([[0.4, 0.3, 0.3, 0.1]] * 2)  # test scores; mean 0.275, FULL has 0.35


def made(maker: Any, folder: Path, **specs: dict[str, Any]) -> RunStore:
    """A run of ``ape`` (100 updates, four cells of 1000 FLOPs a seed) and others; labels of one method share its name.

    ``ape_2`` is an entry of the ladder of ``ape``.
    """
    ape = {"flops": 1000, "updates": 100, "checkpoints": {0.25: REVERSED - 0.1, 0.5: SWAPPED, 1.0: FULL}}
    entries = {"ape": ape | specs.pop("ape", {})} | specs
    store = maker.run(
        folder / "run",
        {label: maker.Spec(**({"val": FULL, "test": FULL} | spec)) for label, spec in entries.items()},
        images=2,
        texts=2,
    )
    manifest = store.manifest()
    methods = {
        label: planned.model_copy(
            update={"method": label.partition("_")[0], "budget": {"updates_per_pair": float(entries[label]["updates"])}}
        )
        for label, planned in manifest.methods.items()
    }
    store.write_manifest(manifest.model_copy(update={"methods": methods}))
    return store


def analysed(maker: Any, folder: Path, **specs: dict[str, Any]) -> Analysis:
    return analyse(made(maker, folder, **specs))


def hyma(updates: float, **changes: Any) -> dict[str, Any]:
    curve = {"val": SWAPPED, "kind": "joint", "pairs_per_step": 2, "checkpoints": {0.5: REVERSED, 1.0: SWAPPED}}
    return curve | {"updates": updates, "flops": 800, "test": WORSE} | changes


def test_scores_flops_and_label_are_of_one_point(maker: Any, tmp_path: Path) -> None:
    """hyma ends at 60, between ape's 50 and 100: both sides go back to where both have scores."""
    found = analysed(maker, tmp_path, hyma=hyma(60, checkpoints={25 / 60: REVERSED, 50 / 60: FULL, 1.0: SWAPPED}))
    view, cut = found.summary.views.matched_updates["hyma"], found.cut_reference["matched_updates"]["hyma"]
    assert view.budget.updates_per_pair == view.reference_budget.updates_per_pair == pytest.approx(50)
    # Not the 4 x 600 that as many updates as hyma was given would cost ape: its scores there are not known.
    assert view.reference_budget.flops == pytest.approx(4 * 500)
    assert view.budget.flops == pytest.approx(800 * 50 / 60)
    assert (view.spearman, cut.spearman) == (pytest.approx(1.0), pytest.approx(0.8))
    assert view.note is not None
    assert "hyma is cut" in view.note and "ape is cut" in view.note


def test_without_a_common_checkpoint_nothing_is_compared(maker: Any, tmp_path: Path) -> None:
    found = analysed(maker, tmp_path, hyma=hyma(48, checkpoints={1 / 3: REVERSED, 1.0: SWAPPED}))
    view = found.summary.views.matched_updates["hyma"]
    assert view.spearman is None and view.cost_ratio.flops is None
    assert view.budget.updates_per_pair is None
    assert view.note == (
        "no common checkpoint: hyma has scores at 16, 48 and ape has scores at 25, 50, 100 updates per pair"
    )


def test_half_an_update_apart_is_the_same_and_each_side_says_its_own(maker: Any, tmp_path: Path) -> None:
    found = analysed(maker, tmp_path, hyma=hyma(50.4))
    view = found.summary.views.matched_updates["hyma"]
    assert (view.budget.updates_per_pair, view.reference_budget.updates_per_pair) == (
        pytest.approx(50.4),
        pytest.approx(50),
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(50, 50.5, True), (50, 50.6, False), (1.3, 1.0, False), (0.6, 1.0, False), (10.4, 10, True)],
)
def test_what_counts_as_the_same_number_of_updates(one: float, other: float, same: bool) -> None:
    assert same_updates(one, other) is same
    assert same_updates(other, one) is same


def test_a_cut_says_that_the_rate_had_not_decayed_and_knows_no_test_scores(maker: Any, tmp_path: Path) -> None:
    found = analysed(maker, tmp_path, hyma=hyma(50))
    view, cut = found.summary.views.matched_updates["hyma"], found.cut_reference["matched_updates"]["hyma"]
    assert (
        view.note
        == "ape is cut on its curve, where its learning rate had not decayed and its test scores are not known"
    )
    assert np.isnan(cut.delivered) and np.isnan(cut.mean_gap)
    # hyma is at its end: it picks pair 1, whose connector has 0.3.
    assert view.delivered == pytest.approx(0.3)
    assert view.mean_gap == pytest.approx(0.35 - 0.275)


def test_a_shorter_run_stands_for_the_reference(maker: Any, tmp_path: Path) -> None:
    """ape_2 ended at 50 updates with a schedule of its own, better than ape's curve there."""
    short = {"val": FULL, "test": WORSE, "flops": 500, "updates": 50, "checkpoints": {1.0: FULL}}
    found = analysed(maker, tmp_path, hyma=hyma(50), ape_2=short)
    view, cut = found.summary.views.matched_updates["hyma"], found.cut_reference["matched_updates"]["hyma"]
    assert view.note == "ape_2, a shorter run with a schedule of its own, stands for ape"
    assert (cut.label, cut.spearman, cut.delivered) == ("ape_2", pytest.approx(1.0), pytest.approx(0.4))
    assert cut.mean_gap == pytest.approx(0.35 - 0.275)
    assert view.reference_budget.flops == pytest.approx(4 * 500)
    # The ladder's entry itself is a method like any other.
    assert "ape_2" in found.summary.views.matched_updates


@pytest.mark.parametrize(("short", "spent", "label"), [(0.6, 450, "ape_2"), (0.1, 450, "ape_2"), (0.1, 300, "ape")])
def test_a_shorter_run_of_about_the_flops_stands_for_the_curve(
    maker: Any, tmp_path: Path, short: float, spent: float, label: str
) -> None:
    """The curve's best point within the limit spends 500 per cell, at a rate that has not decayed."""
    entry = {"val": np.full((2, 4), short) + FULL / 10, "flops": spent, "updates": 45}
    found = analysed(maker, tmp_path, hyma=hyma(60, flops=2100), ape_2=entry)
    cut = found.cut_reference["matched_flops"]["hyma"]
    assert cut.label == label
    view = found.summary.views.matched_flops["hyma"]
    assert view.reference_budget.flops == pytest.approx(4 * (450 if label == "ape_2" else 500))
    worse = "whose own curve has a better mean validation score there"
    assert (worse in (view.note or "")) == (short == 0.1 and label == "ape_2"), "what the curve had is not hidden"


def test_longer_runs_and_other_settings_stand_for_nobody(maker: Any, tmp_path: Path) -> None:
    """hyma's longer run is no point of hyma, and a grid of another rate is another method."""
    store = made(
        maker,
        tmp_path,
        hyma=hyma(50),
        hyma_8=hyma(100, val=FULL, checkpoints={1.0: FULL}),
        ape_2={"flops": 500, "updates": 50, "checkpoints": {1.0: FULL}},
    )
    manifest = store.manifest()
    other = manifest.methods["ape_2"].model_copy(update={"config": {"lr": 0.5}})
    store.write_manifest(manifest.model_copy(update={"methods": {**manifest.methods, "ape_2": other}}))
    found = analyse(store)
    view = found.summary.views.matched_updates["hyma"]
    assert view.budget.updates_per_pair == pytest.approx(50)
    assert view.spearman == pytest.approx(0.8)
    assert found.cut_reference["matched_updates"]["hyma"].label == "ape"


def test_whole_runs_side_by_side_need_no_remark(maker: Any, tmp_path: Path) -> None:
    found = analysed(maker, tmp_path, hyma=hyma(100))
    assert found.summary.views.matched_updates["hyma"].note is None
    cut = found.cut_reference["matched_updates"]["hyma"]
    assert (cut.delivered, cut.mean_gap) == (pytest.approx(0.5), pytest.approx(0.0))
    as_run = found.summary.views.as_run["hyma"]
    row = found.summary.methods["hyma"]
    assert (as_run.delivered, as_run.mean_gap) == (row.best_pair_score, pytest.approx(row.mean_gap))


def test_a_method_whose_pairs_end_at_different_updates_is_cut_where_all_have_scores(maker: Any, tmp_path: Path) -> None:
    """Under a budget of FLOPs pairs of large encoders end earlier."""
    store = made(maker, tmp_path, hyma=hyma(50), ape_2={"updates": 50, "flops": 500})
    for cell in store.manifest().cells:
        if cell.label == "ape" and cell.pairs[0] == store.manifest().pairs[0]:
            record = store.record(cell.key)
            curve = [*record.curve[:-1], record.curve[-1].model_copy(update={"updates_per_pair": 80.0})]
            store.write_cell(
                record.model_copy(update={"curve": curve, "updates_per_pair": 80.0}), store.queries(cell.key)
            )
    found = analyse(store)
    view = found.summary.views.matched_updates["hyma"]
    assert view.reference_budget.updates_per_pair == pytest.approx(50)
    assert view.reference_budget.flops == pytest.approx(2000)


@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_seconds_of_a_cpu_and_of_a_gpu_make_no_ratio(maker: Any, tmp_path: Path, gpus: float) -> None:
    store = made(maker, tmp_path, hyma=hyma(50))
    for cell in store.manifest().cells:
        if cell.label == "hyma":
            store.write_cell(store.record(cell.key).model_copy(update={"gpus": gpus}), store.queries(cell.key))
    found = analyse(store)
    ratios = [found.summary.methods["hyma"].cost_ratio, found.summary.views.matched_updates["hyma"].cost_ratio]
    assert all(ratio.flops is not None for ratio in ratios)
    assert all((ratio.wall is None) == bool(gpus) for ratio in ratios)
    note = found.summary.views.as_run["hyma"].note
    assert note == ("no ratio of seconds: the two sides ran on different kinds of device" if gpus else None)
