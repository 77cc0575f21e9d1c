"""Each caution appears in the run that it is about, and not in a sound one."""

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.run.store import RunStore
from reports.analysis import analyse
from reports.cautions import cautions

QUALITY = np.linspace(0.2, 0.6, 12)


def told(store: RunStore, **update: Any) -> list[str]:
    store.write_manifest(store.manifest().model_copy(update=update))
    return cautions(analyse(store))


def one(found: list[str], start: str) -> str:
    (sentence,) = [text for text in found if start in text]
    return sentence


def test_a_sound_run_has_nothing_to_be_careful_of(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    curve = {0.25: 0.9 * both, 0.5: 0.95 * both, 1.0: both}
    specs = {
        "ape": maker.Spec(both, both, checkpoints=curve),
        "hyma": maker.Spec(both, both + 0.05, kind="joint", pairs_per_step=12, updates=100),
    }
    assert told(maker.run(tmp_path / "run", specs, images=4, texts=3)) == []


def test_an_undertrained_reference_is_named_with_the_pair_that_shows_it(maker: Any, tmp_path: Path) -> None:
    low, high = np.stack([QUALITY / 5] * 2), np.stack([QUALITY + 0.2] * 2)
    specs = {
        "ape": maker.Spec(low, low, updates=32),
        "ridge": maker.Spec(high, high, kind="joint", batch_size=None, pairs_per_step=None, updates=0),
    }
    sentence = one(told(maker.run(tmp_path / "run", specs, images=4, texts=3)), "looks undertrained")
    assert "ape reaches 0.120 after 32 updates per pair where ridge has 0.800 on the same pair" in sentence
    assert "image3 + text2" in sentence


def test_a_reference_that_still_rises_may_be_undertrained(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    specs = {"ape": maker.Spec(both, both, checkpoints={0.25: 0.3 * both, 0.5: 0.6 * both, 1.0: both})}
    sentence = one(told(maker.run(tmp_path / "run", specs, images=4, texts=3)), "may be undertrained")
    assert "from 0.240 at 50 updates per pair to 0.400 at 100" in sentence


def test_a_reference_with_hardly_any_update_is_warned_of(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    found = told(maker.run(tmp_path / "run", {"ape": maker.Spec(both, both, updates=12)}, images=4, texts=3))
    assert "ape, the reference, gives each pair 12 updates" in one(found, "hardly any training")


def test_unlike_training_at_equal_epochs_is_told_in_updates(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    specs = {
        "ape": maker.Spec(both, both, updates=320),
        "hyma": maker.Spec(both, both, kind="joint", pairs_per_step=2, updates=1.3),
        "wide": maker.Spec(both, both, kind="joint", pairs_per_step=2, updates=0.64),
    }
    sentence = one(told(maker.run(tmp_path / "run", specs, images=4, texts=3)), "are not the same training")
    assert "320 for ape, 1.3 for hyma, 0.64 for wide" in sentence


@pytest.mark.parametrize("pairs", [4, 6])
def test_a_rank_correlation_over_few_pairs_says_what_chance_does(maker: Any, tmp_path: Path, pairs: int) -> None:
    both = np.stack([QUALITY[:pairs]] * 2)
    specs = {"ape": maker.Spec(both, both), "hyma": maker.Spec(both, both, kind="joint")}
    sentence = one(told(maker.run(tmp_path / "run", specs, images=pairs // 2, texts=2)), "say little")
    assert f"one in {math.factorial(pairs)} agrees perfectly" in sentence
    orders = list(permutations(range(pairs)))
    drawn = [float(np.corrcoef(order, range(pairs))[0, 1]) for order in orders]
    limit = min(value for value in set(drawn) if np.mean([one >= value - 1e-9 for one in drawn]) <= 0.05)
    assert f"has a rank correlation of {limit:.2f}" in sentence


def test_a_metric_without_room_is_named(maker: Any, tmp_path: Path) -> None:
    both = np.stack([np.array([1.0, 1.0, 1.0, *QUALITY[:9]])] * 2)
    found = told(maker.run(tmp_path / "run", {"ape": maker.Spec(both, both)}, images=4, texts=3))
    assert "ape has 3 of 12 pairs at its best value, 1" in one(found, "has no room left")


def test_captions_of_several_images_are_counted(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    store = maker.run(tmp_path / "run", {"ape": maker.Spec(both, both)}, images=4, texts=3)
    found = told(store, repeated_captions=7)
    assert one(found, "word for word").startswith("7 test captions belong")


def test_a_smoke_run_needs_no_caution(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY, QUALITY])
    store = maker.run(tmp_path / "run", {"ape": maker.Spec(both, both, updates=1)}, images=4, texts=3)
    assert told(store, smoke=True) == []


def test_a_reference_whose_seeds_disagree_is_no_yardstick(maker: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = 0.4 + 0.05 * rng.standard_normal((2, 12))
    found = told(maker.run(tmp_path / "run", {"ape": maker.Spec(noise, noise)}, images=4, texts=3))
    assert "ape's own seeds do not agree on the order of the pairs" in one(found, "do not agree")


def test_cautions_stand_beside_the_verdict_and_use_no_word_of_the_trade(maker: Any, tmp_path: Path) -> None:
    both = np.stack([QUALITY[:4]] * 2)
    specs = {"ape": maker.Spec(both, both, updates=3), "hyma": maker.Spec(both, both, kind="joint", updates=1)}
    found = told(maker.run(tmp_path / "run", specs, images=2, texts=2))
    assert len(found) >= 3
    assert not any(word in text for text in found for word in ("Spearman", "regret", "matched"))
