"""Datasets of Hugging Face's library, from folders on disk."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError, MissingData
from tests.data.samples import captions_of, images_of

datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")

SHADES = (10, 60, 110, 160, 210, 250)


def picture(shade: int) -> Image.Image:
    return Image.fromarray(np.full((6, 8, 3), shade, dtype=np.uint8))


def table(shades: tuple[int, ...] = SHADES, **more: Any) -> Any:
    """Pictures with a list of captions, a class and a group each."""
    columns = {
        "image": [picture(shade) for shade in shades],
        "caption": [[f"shade {shade}", f"grey of {shade} "] for shade in shades],
        "kind": [int(shade > 100) for shade in shades],
        "group": [f"g{n // 2}" for n in range(len(shades))],
        **more,
    }
    features = datasets.Features(
        image=datasets.Image(),
        caption=datasets.Sequence(datasets.Value("string")),
        kind=datasets.ClassLabel(names=["dark", "light"]),
        group=datasets.Value("string"),
        **{name: datasets.Value("string") for name in more},
    )
    return datasets.Dataset.from_dict(columns, features=features)


def load(root: Path, **more: Any) -> Dataset:
    split = {"train": 0.5, "validation": 0, "test": 0.5}
    return load_dataset({"kind": "huggingface", "name": "saved", "split": split, **more}, root)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    table().save_to_disk(str(tmp_path / "saved"))
    return tmp_path


def test_rows_are_pictures_captions_classes_and_groups(saved: Path) -> None:
    data = load(saved, label="kind", group="group")
    index = data.index()
    assert (data.name, index.n_images, index.caption_image.tolist()[:4]) == ("saved", 6, [0, 0, 1, 1])
    assert captions_of(data, [0, 1, 11]) == ["shade 10", "grey of 10", "grey of 250"]
    assert [np.asarray(image)[0, 0].tolist() for image in images_of(data, [5, 0])] == [[250] * 3, [10] * 3]
    assert index.class_names == ("dark", "light")
    assert index.labels is not None and index.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert index.groups is not None and index.groups.tolist() == [0, 0, 1, 1, 2, 2]
    for rows in index.splits.values():
        assert len(rows) % 2 == 0, "a group of two goes to one split"


def test_own_splits_and_a_choice_of_them(tmp_path: Path) -> None:
    parts = {"train": table(SHADES[:3]), "validation": table(SHADES[3:4]), "test": table(SHADES[4:])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    splits = load(tmp_path, own_splits=True).index().splits
    assert {name: rows.tolist() for name, rows in splits.items()} == {
        "train": [0, 1, 2],
        "validation": [3],
        "test": [4, 5],
    }
    assert captions_of(load(tmp_path, take=["test"]), [0]) == ["shade 210"]
    with pytest.raises(HarnessError, match=r"has no split 'tests' \(did you mean 'test'"):
        load(tmp_path, take=["tests"])
    datasets.DatasetDict({"seen": table()}).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(HarnessError, match="the data have a split 'seen'"):
        load(tmp_path, name="other", own_splits=True)


def test_a_folder_of_parquet_files_and_columns_of_one_caption(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    whole = table(title=[f"title {n}" for n in range(6)], other=[f"other {n}" for n in range(6)])
    whole.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    data = load(tmp_path, captions=["title", "other"])
    assert captions_of(data, [0, 1, 2]) == ["title 0", "other 0", "title 1"]
    assert np.asarray(images_of(data, [2])[0])[0, 0, 0] == 110


def test_the_digest_follows_the_content_and_not_the_split_or_the_place(saved: Path, tmp_path: Path) -> None:
    before = load(saved).digest
    assert load(saved, split={"train": 1, "validation": 0, "test": 0}).digest == before
    (saved / "moved").mkdir()
    table().save_to_disk(str(saved / "moved" / "again"))
    assert load(saved, name="moved/again").digest == before
    table((*SHADES[:5], 99)).save_to_disk(str(saved / "changed"))
    assert load(saved, name="changed").digest != before


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"captions": "captions"}, "no column 'captions' (did you mean 'caption'"),
        ({"image": "picture"}, "no column 'picture'"),
        ({"name": "/nowhere"}, "no such folder"),
        ({"name": "./nowhere"}, "no such folder"),
    ],
)
def test_what_is_wrong_is_one_line(saved: Path, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(HarnessError) as caught:
        load(saved, **fields)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_caption_or_picture_is_named(tmp_path: Path) -> None:
    table(other=["a", None, " ", "b", "c", "d"]).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(HarnessError, match=r"2 of 6 images have no caption, or an empty one: train\[1\], train\[2\]"):
        load(tmp_path, captions="other")
    broken = datasets.Dataset.from_dict({"image": [b"no picture", None], "caption": ["a", "b"]})
    broken.save_to_disk(str(tmp_path / "broken"))
    with pytest.raises(HarnessError, match=r"train\[1\] has no picture"):
        load(tmp_path, name="broken")
    broken.select([0]).save_to_disk(str(tmp_path / "unreadable"))
    data = load(tmp_path, name="unreadable", split={"train": 1, "validation": 0, "test": 0})
    with pytest.raises(HarnessError, match=r"1 of 1 images cannot be read: train\[0\]"):
        images_of(data, [0])


def test_a_table_does_not_reach_files_outside_of_the_dataset(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "private.png")
    content = {"image": [str(tmp_path / "private.png")], "caption": ["a"]}
    datasets.Dataset.from_dict(content).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(HarnessError, match="lies outside of the dataset"):
        load(tmp_path)


def test_a_hub_that_does_not_answer_is_one_line_within_seconds(tmp_path: Path, monkeypatch) -> None:
    from harness.encoders import hub

    hub._answers.cache_clear()
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    tried, look_up = [], socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **k: (tried.append(host), look_up(host, *more, **k))[1]
    )
    with pytest.raises(MissingData, match=r"org/pictures: is not in the cache of datasets, and .* does not answer"):
        load(tmp_path, name="org/pictures")
    assert tried == ["127.0.0.1"], "asked once, not again and again"
    assert not datasets.config.HF_HUB_OFFLINE
