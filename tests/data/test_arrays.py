"""Stored embeddings: any slice is that of the whole, however it is cut into files; what is no embedding is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from harness.data.arrays import check_kind, open_stored, open_vector
from harness.errors import HarnessError, MissingData

SUFFIXES = (".npy", ".pt", ".pth", ".safetensors")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


def write(path: Path, rows: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".safetensors":
        save_file({"embeddings": rows}, path)
    else:
        torch.save(torch.from_numpy(rows), path)
    return path


@given(
    counts=st.lists(st.tuples(st.integers(1, 5), st.sampled_from(SUFFIXES)), min_size=1, max_size=4),
    start=st.integers(0, 20),
    length=st.integers(0, 20),
    half=st.booleans(),
)
def test_a_slice_across_shards_is_that_of_the_whole(
    folder: Path, counts: list[tuple[int, str]], start: int, length: int, half: bool
) -> None:
    total = sum(count for count, _ in counts)
    rows = np.random.default_rng(total).standard_normal((total, 3)).astype(np.float16 if half else np.float32)
    ends = np.cumsum([count for count, _ in counts])
    files = [
        write(folder / f"s{n}{suffix}", part)
        for n, ((_, suffix), part) in enumerate(zip(counts, np.split(rows, ends[:-1]), strict=True))
    ]
    stored = open_stored(files)
    assert (stored.count, stored.dim) == (total, 3)
    found = stored.read(start, start + length)
    np.testing.assert_array_equal(found, rows[start : start + length])
    assert found.shape == rows[start : start + length].shape
    assert stored.digest() == open_stored([write(folder / "whole.npy", rows)]).digest()


def test_a_digest_sees_a_single_changed_bit_and_the_order_of_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    one_bit = rows.copy()
    one_bit.view(np.uint32)[3, 1] ^= 1
    variants = [rows, one_bit, rows[::-1].copy(), rows.astype(np.float64), rows.reshape(4, 6)]
    digests = {open_stored([write(tmp_path / f"{n}.npy", array)]).digest() for n, array in enumerate(variants)}
    assert len(digests) == len(variants)


def test_an_array_in_the_order_of_columns_or_of_other_bytes_reads_the_same(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    np.save(tmp_path / "columns.npy", np.asfortranarray(rows))
    np.save(tmp_path / "swapped.npy", rows.astype(">f4"))
    for name in ("columns.npy", "swapped.npy"):
        np.testing.assert_array_equal(open_stored([tmp_path / name]).read(1, 5), rows[1:5])


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (
            {"a": torch.ones(2, 3), "b": torch.ones(2, 3)},
            "which tensor is meant? it holds a, b (keep one, as 'emb",
        ),
        ({"a": torch.ones(2), "b": torch.ones(3)}, "which tensor is meant? it holds a, b"),
        ({"a": torch.ones(2)}, "must be [rows, dim], is [2]"),
        ({"a": torch.ones(2, 3, 4)}, "must be [rows, dim], is [2, 3, 4]"),
        ({"a": torch.ones(2, 3, dtype=torch.int32)}, "must hold floats, holds "),
        ({"a": torch.ones(2, 3).to(torch.float8_e4m3fn)}, "must hold floats, holds "),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_that_are_no_embeddings(
    tmp_path: Path, suffix: str, tensors: dict[str, torch.Tensor], told: str
) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save(tensors, path) if suffix == ".pt" else save_tensors(tensors, path)
    with pytest.raises(HarnessError) as caught:
        open_stored([path])
    assert str(caught.value).startswith(f"{path}: {told}")


def test_the_tensor_that_is_meant_is_the_one_of_a_usual_name_or_the_only_matrix(tmp_path: Path) -> None:
    ones, twos = torch.ones(2, 3), 2 * torch.ones(2, 3)
    torch.save({"other": twos, "features": ones}, tmp_path / "named.pt")
    torch.save({"bias": torch.zeros(3), "made_up": ones, "epoch": 4}, tmp_path / "matrix.pt")
    for name in ("named.pt", "matrix.pt"):
        np.testing.assert_array_equal(open_stored([tmp_path / name]).read(0, 2), ones.numpy())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x93NUMPY\x01\x00v\x00{'descr'", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        open_stored([path])
    assert str(caught.value).startswith(f"{path}: not a ")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"none\.npy: no such file"):
        open_stored([tmp_path / "none.npy"])
    for name in ("x.txt", "x"):
        with pytest.raises(HarnessError, match=r"cannot read .*\(known: \.npy, \.pt, \.pth, \.safetensors\)"):
            check_kind(tmp_path / name)
    check_kind(tmp_path / "X.NPY")
    a, b = np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)
    with pytest.raises(HarnessError, match=r"b\.npy: has 4 columns, a\.npy has 3"):
        open_stored([write(tmp_path / "a.npy", a), write(tmp_path / "b.npy", b)])


def test_a_vector_is_of_whole_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([3, 1, 2], dtype=np.uint8))
    assert open_vector(tmp_path / "v.npy").tolist() == [3, 1, 2]
    for wrong, told in (
        (np.array([0.5]), r"must be a vector of integers, is float64\[1\]"),
        (np.zeros((2, 2), int), r"must be a vector of integers, is int64\[2, 2\]"),
        (np.array(["a"]), "must be a vector of integers"),
        (np.array([True]), "must be a vector of integers, is bool"),
    ):
        np.save(tmp_path / "w.npy", wrong)
        with pytest.raises(HarnessError, match=told):
            open_vector(tmp_path / "w.npy")
    with pytest.raises(MissingData):
        open_vector(tmp_path / "none.npy")


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(HarnessError, match=r"x\.npy: not a plain \.npy array"):
        open_stored([tmp_path / "x.npy"])


def test_an_archive_of_arrays_under_the_name_of_one_is_named(tmp_path: Path) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, a=np.ones((2, 3), np.float32))
    with pytest.raises(HarnessError, match=r"x\.npy: not a plain \.npy array: it is an archive of arrays"):
        open_stored([tmp_path / "x.npy"])
