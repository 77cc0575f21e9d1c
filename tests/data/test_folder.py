from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of

Picture = Callable[..., Path]


def load(folder: Path, **more: Any) -> Dataset:
    split = {"train": 0.5, "validation": 0, "test": 0.5}
    return load_dataset({"kind": "folder", "root": "root", "split": split, **more}, folder)


@pytest.fixture
def root(tmp_path: Path, picture: Picture) -> Path:
    for name, text in {"dog/1": "a dog\n\n  a brown dog \n", "cat/2": "\ufeffa cat", "cat/a/1": "a kitten\n"}.items():
        picture(f"root/{name}.png").with_suffix(".txt").write_text(text, encoding="utf-8")
    (tmp_path / "root/notes.txt").write_text("no picture has this name")
    picture("root/.thumbnails/1.png")
    return tmp_path / "root"


def test_captions_lie_beside_the_pictures(tmp_path: Path, root: Path):
    data = load(tmp_path)
    index = data.index()
    assert data.name == "root"
    assert index.labels is None
    assert index.caption_image.tolist() == [0, 1, 2, 2]  # cat/2, cat/a/1, dog/1
    assert captions_of(data, range(4)) == ["a cat", "a kitten", "a dog", "a brown dog"]
    assert [image.size for image in images_of(data, range(3))] == [(32, 24)] * 3


def test_folders_are_classes(tmp_path: Path, root: Path):
    index = load(tmp_path, label="folder", captions=False).index()
    assert (index.class_names, index.n_captions) == (("cat", "dog"), 0)
    assert index.labels is not None
    assert index.labels.tolist() == [0, 0, 1]


def test_the_digest_follows_the_content_and_not_the_split(tmp_path: Path, root: Path):
    before = load(tmp_path).digest
    assert load(tmp_path, split={"train": 1, "validation": 0, "test": 0}).digest == before
    (root / "dog/1.txt").write_text("a hound")
    assert load(tmp_path).digest != before


def test_what_is_wrong_is_said(tmp_path: Path, root: Path, picture: Picture):
    with pytest.raises(HarnessError, match="no such folder"):
        load(tmp_path, root="elsewhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarnessError, match="the dataset is empty"):
        load(tmp_path, root="empty")
    (root / "dog/1.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(HarnessError, match="cannot be read as UTF-8 text"):
        load(tmp_path)
    (root / "dog/1.txt").write_text("\n \n")
    with pytest.raises(HarnessError, match=r"1 of 3 images have no caption: dog/1\.png"):
        load(tmp_path)
    picture("root/loose.png")
    with pytest.raises(HarnessError, match=r"1 of 4 images lie in no class folder: loose\.png"):
        load(tmp_path, label="folder", captions=False)


def test_a_damaged_picture_is_named(tmp_path: Path, root: Path):
    (root / "dog/1.png").write_bytes(b"no picture")
    with pytest.raises(HarnessError, match=r"1 of 3 images cannot be read: dog/1\.png"):
        images_of(load(tmp_path), range(3))
