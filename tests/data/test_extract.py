import dataclasses
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import embedding as embedding_module
from harness.data import extract as extract_module
from harness.data.bank import bank_path, open_bank
from harness.data.base import Dataset
from harness.data.classes import ClassPrompts
from harness.data.embedding import normalise
from harness.data.extract import describe, extract, extract_rows
from harness.data.load import load_dataset
from harness.data.parts import PartNotes, Parts, SourceNotes
from harness.data.request import BankRequest
from harness.encoders.base import EncoderSpec, scheme_of
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of
from tests.pictures import noise_pictures
from tests.stored import rewrite

SPEC = EncoderSpec("synthetic:16")


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    """Thirty pictures with two captions each."""
    names = noise_pictures(tmp_path, 30, 20)
    lines = ["image,one,two", *(f"{name},caption number {i},another {i}" for i, name in enumerate(names))]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return load_dataset({"kind": "manifest", "file": "m.csv", "captions": ["one", "two"]}, tmp_path)


def stored(path: Path) -> bytes:
    return (path / "embeddings.npy").read_bytes()


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_bank_holds_what_the_encoder_says_normalised(pictures: Dataset, tmp_path: Path, modality: Any):
    seen: list[tuple[int, int]] = []
    bank = extract(
        pictures, SPEC, modality, tmp_path / "r", batch_size=7, shard_rows=16, progress=lambda *at: seen.append(at)
    )
    count = 30 if modality == "image" else 60
    samples: Any = images_of(pictures, range(30)) if modality == "image" else captions_of(pictures, range(60))
    encoder = scheme_of(SPEC).load(SPEC, modality)
    raw = encoder.encode(samples)
    np.testing.assert_allclose(bank.array, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    assert seen[0] == (0, count)
    assert seen[-1] == (count, count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    flops = encoder.forward_flops()
    assert flops is not None
    assert bank.meta.encode_flops == flops * count
    assert bank.meta.encode_seconds > 0
    assert "numpy" in bank.meta.packages
    assert {file.name for file in bank.path.iterdir()} == {".lock", "embeddings.npy", "meta.json"}


def test_latency_is_the_median_of_the_batches_and_no_part_of_the_bank(
    pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Three batches of ten that take 10, 20 and 90 ms, on an own clock; reading the pictures is not counted."""
    clock = iter(np.cumsum([0.0, 1.0, 0.01, 1.0, 0.02, 1.0, 0.09, 1.0]))  # the shard's start and end, and each batch's
    monkeypatch.setattr(embedding_module.time, "perf_counter", lambda: float(next(clock)))
    bank = extract(pictures, SPEC, "image", tmp_path / "one", batch_size=10, shard_rows=30)
    assert bank.meta.latency is not None
    assert bank.meta.latency.model_dump() == {
        "seconds_per_sample": pytest.approx(0.002),
        "batch_size": 10,
        "device": "cpu",
    }
    monkeypatch.undo()
    again = extract(pictures, SPEC, "image", tmp_path / "two", batch_size=10, shard_rows=30)
    assert (again.meta.digest, again.meta.identity) == (bank.meta.digest, bank.meta.identity)


def test_latency_survives_an_interruption(pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    join = extract_module._join
    monkeypatch.setattr(extract_module, "_join", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, SPEC, "text", tmp_path / "one")
    monkeypatch.setattr(extract_module, "_join", join)
    latency = extract(pictures, SPEC, "text", tmp_path / "one").meta.latency
    assert latency is not None
    assert latency.seconds_per_sample > 0


def test_a_bank_made_before_latency_was_measured_opens(pictures: Dataset, tmp_path: Path):
    bank = extract(pictures, SPEC, "text", tmp_path / "one")
    rewrite(bank.path / "meta.json", lambda meta: meta.pop("latency"), sealed=False)
    opened = open_bank(bank.path)
    assert opened.meta.latency is None
    assert len(opened.array) == 60


def test_facts_that_are_stated_fill_what_is_not_known(pictures: Dataset):
    spec = EncoderSpec("synthetic:16", params=5.0, license="mit", flops_per_sample=1.0, seconds_per_sample=0.25)
    known, info = describe(pictures, SPEC, "text"), describe(pictures, spec, "text")
    assert (info.license, info.seconds_per_sample) == ("mit", 0.25)
    assert (info.params, info.flops_per_sample) == (known.params, known.flops_per_sample), "what is known stands"
    assert (info.revision, info.transform) == (known.revision, known.transform)


def test_interrupted_extraction_equals_undisturbed_and_redoes_no_shard(
    pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings: dict[str, Any] = {"batch_size": 5, "shard_rows": 8}
    undisturbed = extract(pictures, SPEC, "image", tmp_path / "one", **settings)

    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(pictures, SPEC, "image", tmp_path / "two", progress=stop, **settings)
    seen: list[int] = []
    resumed = extract(
        pictures, SPEC, "image", tmp_path / "two", progress=lambda done, total: seen.append(done), **settings
    )
    assert seen[0] == 16, "two whole shards were kept"
    assert stored(resumed.path) == stored(undisturbed.path)
    assert resumed.meta.digest == undisturbed.meta.digest
    assert not list(resumed.path.glob("parts"))


def test_a_torn_shard_is_made_again(pictures: Dataset, tmp_path: Path):
    whole = extract(pictures, SPEC, "image", tmp_path / "one", shard_rows=8)

    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(pictures, SPEC, "image", tmp_path / "two", shard_rows=8, progress=stop)
    shard = max((tmp_path / "two").rglob("part-*.npy"), key=lambda file: np.load(file.with_suffix(".rows"))[0])
    shard.write_bytes(shard.read_bytes()[:-10])
    assert stored(extract(pictures, SPEC, "image", tmp_path / "two", shard_rows=8).path) == stored(whole.path)


def test_never_redone(pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = extract(pictures, SPEC, "image", tmp_path)
    modified = (first.path / "embeddings.npy").stat().st_mtime_ns
    monkeypatch.setattr(embedding_module, "_source", lambda *_: pytest.fail("the encoder was loaded"))
    seen: list[tuple[int, int]] = []
    again = extract(pictures, SPEC, "image", tmp_path, progress=lambda *at: seen.append(at))
    assert again == first
    assert seen == [(30, 30)]
    assert (first.path / "embeddings.npy").stat().st_mtime_ns == modified


def test_another_option_is_another_bank(pictures: Dataset, tmp_path: Path):
    one = extract(pictures, SPEC, "text", tmp_path)
    two = extract(pictures, EncoderSpec("synthetic:16", options={"seed": 1}), "text", tmp_path)
    assert one.path != two.path
    assert not np.allclose(one.array, two.array)


def test_float16_within_its_precision(pictures: Dataset, tmp_path: Path):
    full = extract(pictures, SPEC, "image", tmp_path)
    half = extract(pictures, SPEC, "image", tmp_path, dtype="float16")
    assert half.array.dtype == np.float16
    np.testing.assert_allclose(half.take(np.arange(30)), full.array, atol=2**-11)
    assert half.path != full.path


def _extract_in_a_process(folder: str, barrier: Any) -> None:
    data = load_dataset({"kind": "manifest", "file": "m.csv", "captions": ["one", "two"]}, Path(folder))
    barrier.wait()
    extract(data, SPEC, "image", Path(folder), batch_size=3, shard_rows=6)


def test_two_processes_do_not_harm_each_other(pictures: Dataset, tmp_path: Path):
    alone = extract(pictures, SPEC, "image", tmp_path / "alone", batch_size=3, shard_rows=6)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_extract_in_a_process, args=(str(tmp_path), barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    together = extract(pictures, SPEC, "image", tmp_path)
    assert stored(together.path) == stored(alone.path)


def test_own_embeddings_are_imported_with_their_facts(tmp_path: Path, matrices: Callable[..., Path]):
    rows = np.load(matrices("i.npy", 100, 5))
    source = {"file": "i.npy", "flops_per_sample": 10.0, "license": "MIT"}
    config = {"kind": "precomputed", "image": {"mine": source}, "text": {"t": "i.npy"}}
    data = load_dataset(config, tmp_path)
    bank = extract(data, EncoderSpec("mine", params=4.6e6), "image", tmp_path, shard_rows=33)
    np.testing.assert_allclose(bank.array, rows / np.linalg.norm(rows, axis=1, keepdims=True), rtol=1e-6)
    assert (bank.meta.encode_flops, bank.meta.license, bank.meta.params) == (1000.0, "MIT", 4_600_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_rows_are_named(tmp_path: Path, value: float):
    rows = np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    rows[71, 3] = value
    np.save(tmp_path / "i.npy", rows)
    data = load_dataset({"kind": "precomputed", "image": {"mine": "i.npy"}, "text": {"t": "i.npy"}}, tmp_path)
    with pytest.raises(HarnessError, match="image encoder 'mine': row 71 holds NaN or infinity"):
        extract(data, EncoderSpec("mine"), "image", tmp_path, shard_rows=40)


def test_zero_rows_stay_zero_and_are_counted(tmp_path: Path):
    rows = np.ones((10, 4), dtype=np.float32)
    rows[[2, 5]] = 0
    np.save(tmp_path / "i.npy", rows)
    data = load_dataset({"kind": "precomputed", "image": {"i": "i.npy"}, "text": {"t": "i.npy"}}, tmp_path)
    bank = extract(data, EncoderSpec("i"), "image", tmp_path)
    assert bank.meta.zero_rows == 2
    assert np.linalg.norm(bank.array, axis=1).tolist() == [1, 1, 0, 1, 1, 0, 1, 1, 1, 1]


def test_normalise_survives_extreme_sizes():
    rows = np.array([[3e38, 3e38], [1e-40, 0.0], [-3.0, 4.0]], dtype=np.float32)
    np.testing.assert_allclose(normalise(rows), [[0.5**0.5, 0.5**0.5], [1, 0], [-0.6, 0.8]], rtol=1e-6)


def test_prompts_are_extracted_as_captions_are(tmp_path: Path):
    data = ClassPrompts(["cat", "dog"], ["a {class}", "the {class}"])
    bank = extract(data, SPEC, "text", tmp_path)
    assert bank.array.shape == (4, 16)
    with pytest.raises(HarnessError, match="classes has no images to embed"):
        extract(data, SPEC, "image", tmp_path)


def test_unknown_encoders_and_wrong_dimensions(pictures: Dataset, tmp_path: Path):
    world = load_dataset({"kind": "synthetic", "rows": 50, "image_encoders": 2, "text_encoders": 1})
    with pytest.raises(HarnessError, match=r"synthetic brings no image encoder 'imag01' .did you mean 'image01'"):
        describe(world, EncoderSpec("imag01"), "image")
    with pytest.raises(HarnessError, match="has dimension 16, the sweep file says 32"):
        describe(pictures, EncoderSpec("synthetic:16", dim=32), "image")
    assert describe(world, EncoderSpec("image01", params=5.0), "image").params == 5


def test_an_unreadable_image_stops_extraction_with_its_name(pictures: Dataset, tmp_path: Path):
    (tmp_path / "12.png").write_bytes(b"no picture")
    with pytest.raises(HarnessError, match=r"1 of 30 images cannot be read: 12\.png"):
        extract(pictures, SPEC, "image", tmp_path)


def test_a_bank_of_some_rows_is_extended_without_redoing_one(
    pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = extract(pictures, SPEC, "image", tmp_path / "whole", batch_size=4, shard_rows=8)
    embedded: list[int] = []
    samples = type(pictures).samples

    def counted(self: Any, modality: Any, rows: Any) -> Any:
        embedded.extend(rows)
        return samples(self, modality, rows)

    monkeypatch.setattr(type(pictures), "samples", counted)
    settings: dict[str, Any] = {"batch_size": 4, "shard_rows": 8}
    first, second = np.array([3, 29, 11, 4]), np.array([0, 3, 5, 28])
    some = extract_rows(pictures, SPEC, "image", tmp_path / "some", first, **settings)
    np.testing.assert_allclose(some.take(first), whole.take(first), atol=1e-6)
    with pytest.raises(HarnessError, match="row 5 has not been embedded"):
        some.take(np.array([3, 5]))
    more = extract_rows(pictures, SPEC, "image", tmp_path / "some", second, **settings)
    np.testing.assert_allclose(more.take(second), whole.take(second), atol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(more)).take(second), more.take(second))
    full = extract(pictures, SPEC, "image", tmp_path / "some", **settings)
    assert sorted(embedded) == list(range(30)), "every row once"
    np.testing.assert_allclose(full.take(np.arange(30)), whole.take(np.arange(30)), atol=1e-6)
    assert not (full.path / "parts").exists()


def test_rows_of_other_weights_do_not_stand_beside_each_other(tmp_path: Path):
    parts = Parts(tmp_path, 2, "float32")
    parts.begin(SourceNotes(weights="old"))
    parts.add(np.array([0, 1]), np.ones((2, 2), dtype=np.float32), PartNotes())
    parts.begin(SourceNotes(weights="old"))
    assert parts.missing(np.arange(3)).tolist() == [2]
    parts.begin(SourceNotes(weights="new"))
    assert parts.missing(np.arange(3)).tolist() == [0, 1, 2]


def test_the_digest_of_some_rows_outlives_the_extension_to_all(pictures: Dataset, tmp_path: Path):
    rows = np.array([2, 9, 17, 25])
    settings: dict[str, Any] = {"batch_size": 4, "shard_rows": 8}
    info = describe(pictures, SPEC, "image")
    path = bank_path(tmp_path, pictures.name, pictures.digest, info)
    request = BankRequest(pictures, SPEC, info, path, identity="", rows=rows)
    assert (request.done, request.left, request.read_meta()) == (False, 4, None)
    extract_rows(pictures, SPEC, "image", tmp_path, rows, **settings)
    some = request.read_meta()
    extract(pictures, SPEC, "image", tmp_path, **settings)
    whole = request.read_meta()
    assert some is not None
    assert whole is not None
    assert (whole.digest, whole.count) == (some.digest, some.count)
    other = dataclasses.replace(request, rows=np.array([2, 9, 17, 26])).read_meta()
    assert other is not None
    assert other.digest != some.digest


def test_rows_of_the_datas_own_embeddings_that_stand_apart_are_filled_in(tmp_path: Path):
    world = load_dataset({"kind": "synthetic", "rows": 60, "image_encoders": 1, "text_encoders": 1, "image_dims": [8]})
    (name,) = world.own_encoders("image") or {}
    spec = EncoderSpec(name)
    whole = extract(world, spec, "image", tmp_path / "one")

    def stop(done: int, total: int) -> None:
        if done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(world, spec, "image", tmp_path / "two", shard_rows=10, progress=stop)
    parts = sorted((tmp_path / "two").rglob("part-*.npy"), key=lambda file: np.load(file.with_suffix(".rows"))[0])
    parts[1].unlink()
    again = extract(world, spec, "image", tmp_path / "two", shard_rows=40)
    assert np.array_equal(again.take(np.arange(60)), whole.take(np.arange(60)))


def test_a_part_that_was_changed_is_named(pictures: Dataset, tmp_path: Path):
    rows = np.arange(6)
    some = extract_rows(pictures, SPEC, "image", tmp_path, rows, shard_rows=8)
    (file,) = some.path.rglob("part-*.npy")
    array = np.load(file)
    array[2, 3] += 0.25
    np.save(file, array)
    with pytest.raises(HarnessError, match="content does not match its digest"):
        extract_rows(pictures, SPEC, "image", tmp_path, rows).take(rows)
    with pytest.raises(HarnessError, match=f"{file.name}: content does not match its digest"):
        extract(pictures, SPEC, "image", tmp_path)
    file.unlink()
    whole = extract(pictures, SPEC, "image", tmp_path)
    np.testing.assert_allclose(np.linalg.norm(whole.take(rows), axis=1), 1.0, atol=1e-6)
