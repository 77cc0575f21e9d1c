"""Extraction throughput: rows a second of each packaged encoder, and the share that is not the encoder itself."""

import time
from pathlib import Path
from typing import Any

import pytest

from harness.data.base import Dataset
from harness.data.extract import extract
from harness.data.load import load_dataset
from harness.encoders.base import EncoderSpec, Modality, scheme_of

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
    list(dataset.images(range(dataset.index().n_images)))  # rendered once, so that encoders are compared
    return dataset


@pytest.mark.parametrize(("name", "modality"), ENCODERS)
def test_extraction(benchmark: Any, openmoji: Dataset, tmp_path: Path, name: str, modality: Modality) -> None:
    spec = EncoderSpec(name)
    encoder = scheme_of(spec).load(spec, modality)
    samples = list(openmoji.images(range(64))) if modality == "image" else openmoji.captions(range(64))
    encoder.encode(samples)
    start = time.perf_counter()
    encoder.encode(samples)
    alone = 64 / (time.perf_counter() - start)
    benchmark.pedantic(lambda: extract(openmoji, spec, modality, tmp_path), rounds=1)
    index = openmoji.index()
    rows = index.n_images if modality == "image" else index.n_captions
    speed = rows / benchmark.stats.stats.mean
    benchmark.extra_info["rows_per_s"] = speed
    benchmark.extra_info["share_of_encoder_alone"] = speed / alone
