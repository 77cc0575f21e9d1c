"""The two levels of text: a verdict of three short sentences without jargon, and the evidence behind it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.run.records import TuningRecord
from harness.run.store import RunStore
from reports.analysis import Analysis, analyse
from reports.evidence import evidence
from reports.protagonists import protagonists
from reports.tables import rank_table
from reports.verdict import SMOKE, verdict

JARGON = (
    "Spearman",
    "regret",
    "matched",
    "noise ceiling",
    "Kendall",
    "NDCG",
    "bootstrap",
    "reference/method",
    "interval",
)
QUALITY = np.linspace(0.2, 0.6, 6)


def changed(store: RunStore, *, grids: tuple[str, ...] = (), **update: Any) -> RunStore:
    """The run with another manifest: some methods declared grids, further fields replaced."""
    manifest = store.manifest()
    methods = {
        label: method.model_copy(update={"is_grid": label in grids}) for label, method in manifest.methods.items()
    }
    store.write_manifest(manifest.model_copy(update={"methods": methods, **update}))
    return store


def said(analysis: Analysis) -> str:
    return " ".join(sentence for part in evidence(analysis) for sentence in part.sentences)


def better_and_worse(maker: Any, folder: Path, lead: float) -> Analysis:
    """A grid, and a closed form whose connectors are better by ``lead`` on every pair."""
    rng = np.random.default_rng(0)
    test = np.clip(QUALITY + 0.005 * rng.standard_normal((3, 6)), 0, 1)
    specs = {
        "ape": maker.Spec(test, test, flops=100.0),
        "cca": maker.Spec(
            test + lead, test + lead, kind="joint", batch_size=None, pairs_per_step=None, updates=0, flops=30.0
        ),
    }
    store = maker.run(folder / "run", specs, images=3, texts=2, queries=400)
    return analyse(changed(store, grids=("ape",)))


def test_connectors_that_are_better_than_the_grids_are_said_first(maker: Any, tmp_path: Path) -> None:
    analysis = better_and_worse(maker, tmp_path, 0.05)
    which, sure, spent = verdict(analysis)
    assert which.startswith("Stitch image2 + text1 with cca's connector: text_to_image_r5 0.6")
    assert "[0." in which, "the delivered score stands with its interval"
    assert "Its connectors are better than the grid ape's by 0.050 [" in sure
    assert spent == "That cost 30 FLOP and 10.0 s; the grid ape cost 600 FLOP and 60.0 s."
    assert "surely better, counting that every method was looked at" in said(analysis)


def test_the_verdict_is_short_and_plain(maker: Any, tmp_path: Path) -> None:
    for number, lead in enumerate((0.05, 0.0, -0.05)):
        sentences = verdict(better_and_worse(maker, tmp_path / str(number), lead))
        assert len(sentences) == 3
        assert all(len(sentence) < 150 for sentence in sentences), sentences
        assert not any(word in sentence for sentence in sentences for word in JARGON)


def test_where_nothing_is_better_it_is_the_grids_connector_and_what_ranks_as_well_is_named(
    maker: Any, tmp_path: Path
) -> None:
    analysis = better_and_worse(maker, tmp_path, -0.05)
    which, _, spent = verdict(analysis)
    assert "with ape's connector" in which
    assert spent == "That cost 600 FLOP and 60.0 s; cca orders the pairs as well for 30 FLOP and 10.0 s."
    assert "a mean gap of 0.050 [" in said(analysis)


def test_pairs_that_are_close_are_counted_and_a_clear_winner_is_clear(maker: Any, tmp_path: Path) -> None:
    close, clear = QUALITY.copy(), QUALITY.copy()
    close[4], clear[5] = close[5] - 0.002, 0.9
    for name, quality, expected in (
        ("close", close, "1 other pair may be as good."),
        ("clear", clear, "All other pairs are worse on these test data."),
    ):
        both = np.stack([quality, quality])
        store = maker.run(tmp_path / name, {"ape": maker.Spec(both, both)}, images=3, texts=2, queries=2000)
        assert verdict(analyse(store))[1] == expected


def test_a_smoke_run_has_no_verdict(maker: Any, tmp_path: Path) -> None:
    store = changed(maker.run(tmp_path / "run", maker.realistic(3, 2, 2), images=3, texts=2), smoke=True)
    analysis = analyse(store)
    assert verdict(analysis) == [SMOKE]
    assert evidence(analysis) == []


# A grid of twenty pairs and two seeds of which one seed and eight pairs of the other are done.
BIG = np.linspace(0.1, 0.6, 20)


def partial(maker: Any, folder: Path) -> Analysis:
    """ridge picks the best pair of all, which the grid has not come to yet."""
    status = {(1, n): "missing" for n in range(20)} | {(0, n): "missing" for n in range(12, 20)}
    del status[1, 0], status[1, 1]
    twice = np.stack([BIG, BIG])
    specs = {
        "ape": maker.Spec(twice, twice, status=status),
        "ridge": maker.Spec(
            twice, twice + 0.1, kind="joint", batch_size=None, pairs_per_step=None, updates=0, flops=1.0
        ),
    }
    return analyse(changed(maker.run(folder / "run", specs, images=5, texts=4), grids=("ape",)))


def test_a_partial_run_says_so_first_and_counts_what_is_finished(maker: Any, tmp_path: Path) -> None:
    analysis = partial(maker, tmp_path)
    sentences = verdict(analysis)
    assert sentences[0] == "Not finished: ape has scored 12 of 20 pairs so far, 2 of them with both seeds."
    text = said(analysis)
    assert "the best of the 12 of 20 pairs that it has scored is" in text
    assert "mean over 1 seed)" in text
    assert "mean over 2 seeds" not in text
    assert "Only 2 pairs have both seeds." in text
    assert "all 20 pairs" not in text


def test_what_the_grid_has_not_scored_is_not_lost(maker: Any, tmp_path: Path) -> None:
    analysis = partial(maker, tmp_path)
    row = analysis.summary.methods["ridge"]
    assert row.best_pair == analysis.manifest.pairs[19]
    assert row.regret.value is None
    assert row.best_pair_hit is None
    assert row.delivered.value == pytest.approx(0.7)
    assert row.spearman.value == pytest.approx(1), "the ranks are over the pairs that both have"
    text = said(analysis)
    assert "which ape has not scored yet: what that loses or gains is not known" in text
    assert "did not find" not in text


def test_missing_cells_are_one_line(maker: Any, tmp_path: Path) -> None:
    (gap,) = partial(maker, tmp_path).gaps
    assert gap.line == "ape: 26 of 40 cells missing (not run yet)"
    assert len(gap.cells) == 26


def eight_methods(maker: Any, folder: Path) -> Analysis:
    """One joint method that fails, a training-free score that ranks perfectly, connectors good and bad."""
    rng = np.random.default_rng(3)
    truth = np.linspace(0.15, 0.75, 20)
    both = np.clip(truth + 0.004 * rng.standard_normal((2, 20)), 0, 1)

    def scored(noise: float, flops: float, shift: float = 0.0, **more: Any) -> Any:
        val = truth + noise * rng.standard_normal((2, 20))
        test = None if more.get("kind") == "score" else np.stack([truth + shift] * 2)
        still = {"batch_size": None, "pairs_per_step": None, "updates": 0} if "pairs_per_step" not in more else {}
        return maker.Spec(val, test, **({"kind": "joint", "flops": flops} | still | more))

    specs = {
        "ape": maker.Spec(both, both, flops=100.0),
        "hyma": scored(0.5, 900.0, pairs_per_step=4, updates=40),
        "encoder_layers": scored(0.7, 800.0, pairs_per_step=4, updates=40),
        "ridge": scored(0.05, 200.0, shift=-0.05),
        "cca": scored(0.06, 300.0, shift=0.1),
        "cka": scored(0.2, 50.0, kind="score"),
        "logme": scored(0.0, 81.0, kind="score"),
        "random": scored(9.0, 0.0, kind="score"),
    }
    return analyse(changed(maker.run(folder / "run", specs, images=5, texts=4, queries=500), grids=("ape",)))


def test_the_protagonists_are_the_best_connector_the_cheapest_ranking_and_the_joint_method(
    maker: Any, tmp_path: Path
) -> None:
    analysis = eight_methods(maker, tmp_path)
    roles = {p.result.label: p.roles for p in protagonists(analysis)}
    assert roles == {
        "cca": ("best connector",),
        "logme": ("cheapest that ranks as well as the reference",),
        "hyma": ("joint training, the best of 2 such methods",),
    }
    parts = {part.title.partition(":")[0]: " ".join(part.sentences) for part in evidence(analysis)}
    assert "worse than the reference's own ranking" in parts["hyma"], "joint training is spoken of when it fails"
    assert "as good as the reference's own ranking (difference" in parts["logme"]
    assert "It trains no connector." in parts["logme"]
    assert parts["Others"] == "The table has 4 more methods."
    assert parts["The reference"].startswith("By its test scores the best of all 20 pairs is")


def test_choosing_separately_misses_only_a_pair_that_is_separated(maker: Any, tmp_path: Path) -> None:
    # The best pair is of encoders that are poor elsewhere; main effects pick image0 with text1, the second number.
    for name, quality, expected in (
        ("far", [0.60, 0.50, 0.05, 0.80, 0.50, 0.20], "separately misses the best pair here"),
        ("near", [0.606, 0.604, 0.05, 0.61, 0.50, 0.20], "but one that is not separated from it"),
    ):
        both = np.array([quality, quality])
        analysis = analyse(maker.run(tmp_path / name, {"ape": maker.Spec(both, both)}, images=3, texts=2, queries=500))
        parts = analysis.decomposition
        assert (parts.additive_best, parts.best) == (1, 3)
        assert expected in said(analysis)


def with_rates(maker: Any, folder: Path, tuned: bool) -> str:
    """What the evidence says of a grid's learning rate: one set by hand, or picked of two for each pair."""
    both = np.stack([QUALITY, QUALITY])
    store = maker.run(folder / "run", {"ape": maker.Spec(both, both, flops=100.0)}, images=3, texts=2)
    manifest = store.manifest()
    rate = [0.01, 0.02] if tuned else 0.01
    methods = {"ape": manifest.methods["ape"].model_copy(update={"config": {"lr": rate}})}
    store.write_manifest(manifest.model_copy(update={"methods": methods}))
    for number, cell in enumerate(manifest.cells if tuned else ()):
        kept = TuningRecord(tried=[0.01, 0.02], picked=[0.01 if number % 3 else 0.02], flops=40.0)
        store.write_cell(store.record(cell.key).model_copy(update={"tuning": kept}), store.queries(cell.key))
    return said(analyse(store))


def test_an_untuned_grid_is_named_so_and_a_tuned_one_states_what_tuning_took(maker: Any, tmp_path: Path) -> None:
    assert "It is untuned: its learning rate of 0.01 was set by hand" in with_rates(maker, tmp_path / "hand", False)
    text = with_rates(maker, tmp_path / "tuned", True)
    assert "picked for each pair on validation data among 0.01, 0.02 (kept: 0.01 for 8, 0.02 for 4 connectors)" in text
    assert "40 % of its FLOPs went to rates that were not kept" in text


def test_a_difference_over_some_pairs_says_over_which(maker: Any, tmp_path: Path) -> None:
    analysis = partial(maker, tmp_path)
    assert "on average over the 12 pairs that both have" in " ".join(verdict(analysis))
    assert "to ape over the 12 pairs that both have (better)" in said(analysis)
    assert "better than ape's so far" in said(analysis), "the grid may still find a better pair"


def test_no_finished_seed_is_none_of_them(maker: Any, tmp_path: Path) -> None:
    both, status = np.stack([BIG, BIG]), {(1, n): "missing" for n in range(20)} | {(0, 19): "missing"}
    store = maker.run(tmp_path / "run", {"ape": maker.Spec(both, both, status=status)}, images=5, texts=4)
    analysis = analyse(store)
    first = "Not finished: ape has scored 19 of 20 pairs so far, none of them with both seeds."
    assert verdict(analysis)[0] == first
    assert "No pair has both seeds." in said(analysis)


def test_better_than_a_grid_whose_rate_was_set_by_hand_is_said_so_at_once(maker: Any, tmp_path: Path) -> None:
    analysis = better_and_worse(maker, tmp_path, 0.05)
    store = RunStore(str(tmp_path / "run"))
    manifest = store.manifest()
    by_hand = manifest.methods["ape"].model_copy(update={"config": {"lr": 0.01}})
    assert "better than the grid ape's by" in verdict(analysis)[1], "nothing is known of its rate"
    found = analyse(changed_method(store, "ape", by_hand))
    assert "better than the untuned grid ape's by" in verdict(found)[1]


def changed_method(store: RunStore, label: str, method: Any) -> RunStore:
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"methods": manifest.methods | {label: method}}))
    return store


def test_a_mean_gap_is_called_better_or_worse_only_where_its_interval_is(maker: Any, tmp_path: Path) -> None:
    words = {0.05: "(better)", 0.0: "(the same)", -0.05: "(worse)", 0.004: "(neither clearly better nor worse)"}
    for number, (lead, word) in enumerate(words.items()):
        both = np.stack([np.full(6, 0.4) + 0.01 * np.arange(6)] * 2)
        specs = {
            "ape": maker.Spec(both, both),
            "cca": maker.Spec(both, both + lead, kind="joint"),
        }
        store = maker.run(tmp_path / str(number), specs, images=3, texts=2, queries=500)
        assert f"to ape over the same pairs {word}" in said(analyse(store)), lead


def test_the_others_best_connector_is_not_called_the_best(maker: Any, tmp_path: Path) -> None:
    (found,) = [p for p in protagonists(better_and_worse(maker, tmp_path, -0.05)) if "connector" in p.roles[0]]
    assert found.roles[0] == "best connector beside the reference's"


def test_a_grid_that_is_cut_says_that_its_rate_had_not_decayed(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    specs = {
        "ape": maker.Spec(both, both, checkpoints={0.5: both[:, ::-1], 1.0: both}),
        "hyma": maker.Spec(both, both, kind="joint", pairs_per_step=2, flops=3e9, checkpoints={1.0: both}),
    }
    store = maker.run(tmp_path / "run", specs, images=3, texts=2)
    assert "ape stopped early (its learning rate not yet decayed; batch 128, 50 updates" in said(analyse(store))


def test_the_table_of_ranks_says_of_every_method_whether_it_ranks_as_well(maker: Any, tmp_path: Path) -> None:
    analysis = eight_methods(maker, tmp_path)
    table = rank_table(analysis)
    column = table.columns.index("as well as the reference (difference)")
    found = {row[0].split()[0]: row[column] for row in table.rows}
    assert found["logme"].startswith("yes (")
    assert found["hyma"].startswith("no (-")
    assert found["ape"] == found["oracle"] == "–"


def test_before_the_grid_has_begun_the_others_are_heard(maker: Any, tmp_path: Path) -> None:
    both = np.stack([BIG, BIG])
    specs = {
        "ape": maker.Spec(both, both, status={(row, n): "missing" for row in range(2) for n in range(20)}),
        "ridge": maker.Spec(both, both, kind="joint"),
        "cka": maker.Spec(both, None, kind="score"),
    }
    first, meanwhile = verdict(analyse(maker.run(tmp_path / "run", specs, images=5, texts=4)))
    assert first.startswith("Nothing can be said yet: the reference (ape) has no finished pair (0 of 40 cells")
    assert meanwhile.endswith("on test data: ridge picks image4 + text3 (0.600).")
