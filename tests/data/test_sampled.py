"""Samples of a dataset: nested, of the split that they name, and all that is embedded."""

from pathlib import Path

import numpy as np

from harness.data.load import load_dataset
from harness.data.sampled import SampleConfig, Sampled
from harness.sweep.config import Sweep
from tests.frozen.numbers import run

WORLD = {
    "kind": "synthetic",
    "rows": 240,
    "image_encoders": 2,
    "text_encoders": 2,
    "image_dims": [12],
    "text_dims": [8],
}


def test_a_larger_sample_holds_the_smaller_one():
    whole = load_dataset(WORLD)
    rows = whole.index().splits
    small = Sampled(whole, SampleConfig(train=20, validation=10, test=0)).index().splits
    large = Sampled(whole, SampleConfig(train=50, validation=10_000)).index().splits
    assert [len(small[split]) for split in ("train", "validation", "test")] == [20, 10, 0]
    assert set(small["train"]) < set(large["train"]) < set(rows["train"])
    assert np.array_equal(large["validation"], rows["validation"])
    assert np.array_equal(large["test"], rows["test"])
    other = Sampled(whole, SampleConfig(train=20, seed=1)).index().splits
    assert set(other["train"]) != set(small["train"])


def test_captions_follow_their_images():
    sampled = Sampled(load_dataset({**WORLD, "captions_per_image": 2}), SampleConfig(train=5, validation=4, test=0))
    images, captions = sampled.needed("image"), sampled.needed("text")
    assert images is not None
    assert captions is not None
    assert len(images) == 9
    assert sorted(sampled.index().caption_image[captions].tolist()) == sorted(images.tolist() * 2)


def test_a_sweep_without_test_data_has_validation_numbers_only(tmp_path: Path):
    sweep = {
        "name": "sampled",
        "data": WORLD,
        "sample": {"train": 64, "validation": 20, "test": 0},
        "methods": {"ridge": {}, "ape": {"epochs": 1, "batch_size": 32}},
        "storage": str(tmp_path),
    }
    plan, store = run(Sweep.model_validate(sweep))
    records = [store.record(cell.key) for cell in plan.cells]
    assert {record.status for record in records} == {"done"}
    assert all(entry.validation and not entry.test for record in records for entry in record.metrics)
    assert records[-1].samples_per_pair == 64, "the two batches of 32 that the sample holds"
