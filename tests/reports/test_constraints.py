"""Constraints on picks, constraint levels and the Pareto set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contract.record import Latency
from harness.errors import HarnessError
from harness.run.records import Manifest
from harness.run.store import RunStore
from harness.sweep.config import Constraints
from harness.sweep.constraints import TESTS
from harness.sweep.planned import EncoderRecord
from reports.analysis import analyse
from reports.constraints import allowed_pairs, levels, pareto
from reports.tables import level_table, pareto_table, rank_table

FACTS = {  # id: dim, parameters, FLOPs of one sample, licence
    "small": (384, 20e6, 2e9, "mit"),
    "large": (1024, 300e6, 90e9, "cc-by-nc"),
    "unknown": (384, None, None, None),
}


def with_facts(store: RunStore, **constraints: Any) -> Manifest:
    """The run's manifest with these image encoders' facts, its text encoders of dimension 768."""
    old = store.manifest()
    names = [encoder.id for encoder in old.image_encoders]
    images = [
        EncoderRecord(id=n, modality="image", dim=d, params=p, flops_per_sample=f, license=licence)
        for n, (d, p, f, licence) in zip(names, FACTS.values(), strict=True)
    ]
    texts = [
        EncoderRecord(id=e.id, modality="text", dim=768, params=int(1e8), flops_per_sample=1e9, license="mit")
        for e in old.text_encoders
    ]
    given = Constraints(**constraints).model_dump(exclude_none=True)
    selection = old.selection.model_copy(update={"constraints": given})
    manifest = old.model_copy(update={"image_encoders": images, "text_encoders": texts, "selection": selection})
    store.write_manifest(manifest)
    return manifest


@pytest.fixture
def store(maker: Any, tmp_path: Path) -> RunStore:
    """Three image by two text encoders; by the reference, the large image encoder is best, the unknown one next."""
    truth = np.array([[0.2, 0.3, 0.8, 0.7, 0.5, 0.6]])
    other = np.array([[0.4, 0.3, 0.5, 0.9, 0.1, 0.2]])
    methods = {"ape": maker.Spec(truth, truth), "other": maker.Spec(other, other)}
    return maker.run(tmp_path / "run", methods, images=3, texts=2)


@pytest.mark.parametrize(
    ("constraints", "kept"),
    [
        ({}, "111111"),
        ({"image_dim": 384}, "110011"),
        ({"image_dim": [384, 1024]}, "111111"),
        ({"max_image_params": 30e6}, "110000"),  # what is not known does not pass
        ({"max_encode_flops": 3e9}, "110000"),  # 2 + 1 GFLOP
        ({"max_encode_flops": 1e12}, "111100"),
        ({"licenses": ["mit"]}, "110000"),
        ({"image_dim": 1024, "text_dim": 768, "max_text_params": 1e8}, "001100"),
    ],
)
def test_constraints_keep_the_pairs_known_to_meet_them(store: RunStore, constraints: Any, kept: str) -> None:
    assert "".join("01"[int(ok)] for ok in allowed_pairs(with_facts(store, **constraints))) == kept


def test_every_constraint_of_the_sweep_file_has_its_test() -> None:
    assert set(TESTS) == set(Constraints.model_fields)


def test_no_pair_left_is_one_clear_line(store: RunStore) -> None:
    with pytest.raises(HarnessError, match="none of the 6 pairs"):
        allowed_pairs(with_facts(store, max_image_params=1.0))


def test_picks_oracle_and_regret_are_among_the_allowed_pairs(store: RunStore) -> None:
    manifest = with_facts(store)
    free = analyse(store).summary
    assert free.methods["other"].best_pair == manifest.pairs[3]
    assert free.methods["other"].oracle_pair == manifest.pairs[2]
    assert free.methods["other"].regret.value == pytest.approx(0.1)
    with_facts(store, image_dim=384)
    bound = analyse(store).summary
    assert bound.methods["other"].best_pair == manifest.pairs[0]
    assert bound.methods["other"].oracle_pair == manifest.pairs[5]
    assert bound.methods["other"].regret.value == pytest.approx(0.4)  # 0.6 - 0.2
    assert bound.interaction_share == free.interaction_share  # the grid is analysed whole


def test_latency_is_of_both_encoders_and_unknown_does_not_pass(store: RunStore) -> None:
    manifest = with_facts(store, max_encode_latency_ms=7.0)

    def timed(encoders: list[EncoderRecord], seconds: tuple[float | None, ...]) -> list[EncoderRecord]:
        return [
            e.model_copy(update={"latency": None if s is None else Latency(seconds_per_sample=s)})
            for e, s in zip(encoders, seconds, strict=True)
        ]

    images = timed(manifest.image_encoders, (0.001, 0.005, None))
    texts = timed(manifest.text_encoders, (0.001, 0.0025))
    manifest = manifest.model_copy(update={"image_encoders": images, "text_encoders": texts})
    assert allowed_pairs(manifest).tolist() == [True, True, True, False, False, False]
    truth = np.array([0.2, 0.3, 0.1, 0.25, 0.9, 0.8])
    assert pareto(manifest, truth) is None, "nothing is known of all pairs"
    known = timed(images, (0.001, 0.005, 0.002))
    found = pareto(manifest.model_copy(update={"image_encoders": known}), truth)
    assert found is not None
    assert found[0] == "encode latency"
    assert found[1] == [(0, pytest.approx(2.0)), (4, pytest.approx(3.0))]


def test_levels_are_dimensions_and_parameter_ranges(store: RunStore) -> None:
    found = {name: inside.tolist() for name, inside in levels(with_facts(store)).items()}
    small, large = [True, True, False, False, False, False], [False, False, True, True, False, False]
    assert found == {
        "image dim 384": [True, True, False, False, True, True],
        "image dim 1024": large,
        "image parameters < 30 M": small,
        "image parameters >= 120 M": large,
    }
    table = level_table(analyse(store))
    assert table is not None
    by_level = {row[0]: list(row[1:]) for row in table.rows}
    assert by_level["image dim 384"][0].endswith(": 0.600")
    assert by_level["image dim 384"][1:] == ["0.600", "0.200"]  # ape picks its best, other the pair it thinks is
    assert by_level["image dim 1024"][1:] == ["0.800", "0.700"]


def test_the_pareto_set_by_hand(store: RunStore) -> None:
    manifest = with_facts(store)
    assert pareto(manifest, np.arange(6.0)) is None  # one encoder's cost is not known
    known = [
        e.model_copy(update={"flops_per_sample": f})
        for e, f in zip(manifest.image_encoders, (4e9, 2e9, 8e9), strict=True)
    ]
    manifest = manifest.model_copy(update={"image_encoders": known})
    kind, points = pareto(manifest, np.array([0.2, 0.3, 0.1, 0.25, 0.9, np.nan])) or ("", [])
    assert kind == "encode FLOPs"
    assert points == [(3, 3e9), (1, 5e9), (4, 9e9)]
    store.write_manifest(manifest)
    table = pareto_table(analyse(store))
    assert table is not None
    assert [row[2] for row in table.rows] == ["0.800"]  # the cheapest encoder is the best one


def test_the_oracle_row_is_perfect_by_definition(store: RunStore) -> None:
    table = rank_table(analyse(store))
    row = dict(zip(table.columns, table.rows[-1], strict=True))
    assert row["method"].startswith("oracle")
    assert (row["Spearman (chance 0)"], row["regret"], row["best-pair hit"]) == ("1.000", "0.000", "1.000")
