from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError

Matrices = Callable[..., Path]


def load(folder: Path, **more: Any) -> Dataset:
    return load_dataset({"kind": "precomputed", **more}, folder)


def test_every_format_gives_the_rows_that_were_written(tmp_path: Path):
    rows = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    tensor = torch.from_numpy(rows)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "half.npy", rows.astype(np.float16))
    torch.save(tensor, tmp_path / "bare.pt")
    torch.save(tensor, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "embeddings": tensor, "other": tensor + 1}, tmp_path / "named.pt")
    torch.save(tensor.bfloat16(), tmp_path / "brain.pt")
    save_file({"x": rows}, tmp_path / "one.safetensors")
    save_file({"x": rows, "ids": np.arange(40)}, tmp_path / "only_matrix.safetensors")
    np.save(tmp_path / "s0.npy", rows[:15])
    np.save(tmp_path / "s1.npy", rows[15:])
    files = {path.stem: path.name for path in tmp_path.iterdir() if path.stem not in ("s0", "s1")}
    data = load(
        tmp_path, image={**files, "shards": ["s0.npy", "s1.npy"]}, text={"t": {"file": "a.npy", "params": 4.6e6}}
    )
    assert set(data.own_encoders("image") or ()) == {*files, "shards"}
    for encoder in [*files, "shards"]:
        tolerance = 2**-7 * np.abs(rows).max() if encoder in ("brain", "half") else 0
        np.testing.assert_allclose(data.embeddings(encoder, "image", 10, 20), rows[10:20], atol=tolerance)
    info = data.own_encoders("image") or {}
    assert info["shards"].revision == info["a"].revision, "cutting into shards changes no content"
    assert info["half"].revision != info["a"].revision
    assert (data.own_encoders("text") or {})["t"].params == 4_600_000


def test_published_tensors_load_as_they_are(tmp_path: Path):
    # One bare tensor per encoder, in row order, one caption per image, as the CC3M-558K embeddings are published.
    for name, dim in (("vit_small", 384), ("vit_large", 1024), ("minilm", 384)):
        torch.save(torch.randn(64, dim, generator=torch.Generator().manual_seed(dim)), tmp_path / f"{name}.pt")
    data = load(tmp_path, image={"s": "vit_small.pt", "l": "vit_large.pt"}, text={"m": "minilm.pt"})
    index = data.index()
    assert (index.n_images, index.n_captions) == (64, 64)
    assert index.caption_image.tolist() == list(range(64))
    assert {name: info.dim for name, info in (data.own_encoders("image") or {}).items()} == {"s": 384, "l": 1024}
    stored = torch.load(tmp_path / "vit_large.pt", weights_only=True).numpy()
    assert np.array_equal(data.embeddings("l", "image", 5, 9), stored[5:9])


def test_captions_by_count_or_by_index(tmp_path: Path, matrices: Matrices):
    matrices("i.npy", 20, 3)
    matrices("t.npy", 100, 3)
    regular = load(tmp_path, image={"i": "i.npy"}, text={"t": "t.npy"}, captions_per_image=5)
    assert regular.index().caption_image.tolist() == [i for i in range(20) for _ in range(5)]
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 5))
    np.save(tmp_path / "index.npy", rows)
    irregular = load(tmp_path, image={"i": "i.npy"}, text={"t": "t.npy"}, image_index="index.npy")
    assert np.array_equal(irregular.index().caption_image, rows)
    assert regular.digest != irregular.digest


def test_another_encoder_changes_no_identity(tmp_path: Path, matrices: Matrices):
    for i, name in enumerate(("i.npy", "t.npy", "j.npy")):
        matrices(name, 30, 4, seed=i)
    before = load(tmp_path, image={"i": "i.npy"}, text={"t": "t.npy"})
    after = load(tmp_path, image={"j": "j.npy", "i": "i.npy"}, text={"t": "t.npy"})
    assert before.digest == after.digest
    assert (before.own_encoders("image") or {})["i"] == (after.own_encoders("image") or {})["i"]
    matrices("i.npy", 30, 4, seed=9)
    changed = load(tmp_path, image={"i": "i.npy"}, text={"t": "t.npy"})
    assert (changed.own_encoders("image") or {})["i"].revision != (before.own_encoders("image") or {})["i"].revision


def test_labels_class_text_and_groups(tmp_path: Path, matrices: Matrices):
    matrices("i.npy", 30, 4)
    matrices("t.npy", 30, 4)
    names = matrices("c.npy", 3, 4)
    np.save(tmp_path / "labels.npy", np.arange(30) % 3)
    np.save(tmp_path / "groups.npy", np.arange(30) // 2)
    parts = {"image": {"i": "i.npy"}, "text": {"t": "t.npy"}, "labels": "labels.npy"}
    data = load(tmp_path, **parts, class_text={"t": "c.npy"}, groups="groups.npy")
    assert np.array_equal(data.class_embeddings("t"), np.load(names))  # type: ignore[arg-type]
    assert all(row ^ 1 in rows for rows in data.index().splits.values() for row in rows), "twins stay together"
    plain = load(tmp_path, **parts)
    assert plain.class_embeddings("t") is None
    # The class names are part of what a text encoder says.
    assert (plain.own_encoders("text") or {})["t"].revision != (data.own_encoders("text") or {})["t"].revision
    np.save(tmp_path / "labels.npy", np.arange(30) % 4)
    with pytest.raises(HarnessError, match="class number 3, but class_text t has 3 classes"):
        load(tmp_path, **parts, class_text={"t": "c.npy"})


def test_counts_that_differ_are_named(tmp_path: Path, matrices: Matrices):
    for name, rows in (("a.npy", 10), ("b.npy", 11), ("t.npy", 10), ("t49.npy", 49)):
        matrices(name, rows, 4)
    with pytest.raises(HarnessError, match="image row counts differ: a 10, b 11"):
        load(tmp_path, image={"a": "a.npy", "b": "b.npy"}, text={"t": "t.npy"})
    with pytest.raises(HarnessError, match=r"11 image rows \(b\) x 1 captions per image, but 10 text rows \(t\)"):
        load(tmp_path, image={"b": "b.npy"}, text={"t": "t.npy"})
    with pytest.raises(
        HarnessError, match="one caption short: 10 image rows .* x 5 captions per image, but 49 text rows"
    ):
        load(tmp_path, image={"a": "a.npy"}, text={"t": "t49.npy"}, captions_per_image=5)
    np.save(tmp_path / "index.npy", np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8]))
    with pytest.raises(HarnessError, match="one caption short: image row 9 has none"):
        load(tmp_path, image={"a": "a.npy"}, text={"t": "t.npy"}, image_index="index.npy")
    np.save(tmp_path / "index.npy", np.arange(1, 11))
    with pytest.raises(HarnessError, match="entry 9 is 10, there are 10 images"):
        load(tmp_path, image={"a": "a.npy"}, text={"t": "t.npy"}, image_index="index.npy")


def test_files_that_are_no_embeddings(tmp_path: Path, matrices: Matrices):
    good = {"t": matrices("t.npy", 10, 4).name}
    np.save(tmp_path / "vector.npy", np.zeros(10))
    np.save(tmp_path / "ints.npy", np.zeros((10, 4), dtype=np.int8))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "narrow.npy", np.zeros((10, 3)))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    (tmp_path / "noise.pt").write_bytes(b"no tensor at all")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": torch.ones(10, 4), "b": torch.ones(10, 4)}, tmp_path / "two.pt")
    cases = {
        "nowhere.npy": "no such file",
        "vector.npy": r"must be \[rows, dim\], is \[10\]",
        "ints.npy": "must hold floats, holds int8",
        "objects.npy": "not a plain .npy array",
        "noise.pt": "not a plain tensor file",
        "list.pt": "holds a list, not a tensor",
        "two.pt": "which tensor is meant. it holds a, b",
        "t.csv": r"cannot read \.csv",
    }
    for name, message in cases.items():
        with pytest.raises(HarnessError, match=message) as caught:
            load(tmp_path, image={"i": name}, text=good)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(HarnessError, match="has 3 columns, t.npy has 4"):
        load(tmp_path, image={"i": ["t.npy", "narrow.npy"]}, text=good)
    with pytest.raises(HarnessError, match="the dataset is empty: no image rows"):
        load(tmp_path, image={"i": "empty.npy"}, text=good)


def test_a_tensor_file_cannot_run_code(tmp_path: Path, matrices: Matrices):
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "was_here",)  # type: ignore[return-value]

    torch.save(Evil(), tmp_path / "evil.pt")
    with pytest.raises(HarnessError, match="not a plain tensor file"):
        load(tmp_path, image={"i": "evil.pt"}, text={"t": matrices("t.npy", 10, 4).name})
    assert not (tmp_path / "was_here").exists()


def test_fields_that_contradict_each_other(tmp_path: Path, matrices: Matrices):
    matrices("x.npy", 10, 4)
    parts = {"image": {"i": "x.npy"}, "text": {"minilm": "x.npy"}}
    for more, message in (
        ({"class_text": {"minilm": "x.npy"}}, "class_text needs labels"),
        ({"labels": "l.npy", "class_text": {"minilmm": "x.npy"}}, "did you mean 'minilm'"),
        ({"captions_per_image": 1, "image_index": "l.npy"}, "not both"),
    ):
        with pytest.raises(ValidationError, match=message):
            load(tmp_path, **parts, **more)
    with pytest.raises(ValidationError) as caught:
        load(tmp_path, image={"i": {"file": "x.npy", "parms": 3}}, text=parts["text"])
    assert caught.value.errors()[0]["loc"] == ("image", "i", "parms")
