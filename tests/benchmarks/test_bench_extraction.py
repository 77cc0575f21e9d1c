"""Extraction throughput: rows a second of each packaged encoder, and the share that is not the encoder itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.base import Dataset
from harness.data.extract import extract
from harness.data.load import load_dataset
from harness.encoders.base import EncoderSpec, Modality, scheme_of
from tests.benchmarks.clock import median_seconds

pytestmark = pytest.mark.bench

ENCODERS: list[tuple[str, Modality]] = [
    ("packaged:efficientnet_lite0", "image"),
    ("packaged:untrained_resnet18", "image"),
    ("packaged:pixels16", "image"),
    ("packaged:minilm_l6", "text"),
    ("packaged:paraphrase_minilm_l3", "text"),
    ("packaged:wordllama", "text"),
    ("packaged:glove50", "text"),
]


@pytest.fixture(scope="module")
def openmoji() -> Dataset:
    dataset = load_dataset({"kind": "packaged", "name": "openmoji"})
    list(dataset.samples("image", range(dataset.index().n_images)))  # rendered once, so that encoders are compared
    return dataset


@pytest.mark.parametrize(("name", "modality"), ENCODERS)
def test_extraction(benchmark: Any, openmoji: Dataset, tmp_path: Path, name: str, modality: Modality) -> None:
    spec = EncoderSpec(name)
    encoder = scheme_of(spec).load(spec, modality)
    samples: Any = list(openmoji.samples(modality, range(64)))
    alone = 64 / median_seconds(lambda: encoder.encode(samples), rounds=1)
    benchmark.pedantic(lambda: extract(openmoji, spec, modality, tmp_path), rounds=1)
    speed = openmoji.index().count(modality) / benchmark.stats.stats.mean
    benchmark.extra_info["rows_per_s"] = speed
    benchmark.extra_info["share_of_encoder_alone"] = speed / alone


def test_synthetic_rows(benchmark: Any) -> None:
    """As a ratio to drawing as many normal numbers, which is the least that it takes."""
    data = {"kind": "synthetic", "rows": 12_000, "image_encoders": 1, "text_encoders": 1, "image_dims": [768]}
    rng = np.random.default_rng(0)
    numbers = median_seconds(lambda: rng.standard_normal((12_000, 768), dtype=np.float32), rounds=3)
    benchmark.pedantic(lambda: load_dataset(data).embeddings("image00", "image", 0, 12_000), rounds=3)
    benchmark.extra_info["ratio_to_as_many_numbers"] = benchmark.stats.stats.median / numbers
