import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of

Picture = Callable[..., Path]
ALL = {"train": 0.5, "validation": 0.25, "test": 0.25}


def load(folder: Path, file: str, **more: Any) -> Dataset:
    return load_dataset({"kind": "manifest", "file": file, **{"split": ALL, **more}}, folder)


def write_csv(folder: Path, *lines: str, name: str = "m.csv") -> str:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


@pytest.fixture
def four(picture: Picture) -> list[str]:
    names = ["a.png", "b.png", "sub/c.jpg", "d.png"]
    for i, name in enumerate(names):
        picture(name, (50 * i, 10, 10))
    return names


def test_csv_with_quotes_and_a_label(tmp_path: Path, four: list[str]):
    rows = ['a.png,"red, mostly",warm', "b.png,second,cold", "sub/c.jpg,third,warm", "d.png,fourth,"]
    data = load(tmp_path, write_csv(tmp_path, "image,caption,kind", *rows), label="kind")
    index = data.index()
    assert data.name == "m"
    assert captions_of(data, range(4)) == ["red, mostly", "second", "third", "fourth"]
    assert index.class_names == ("cold", "warm")
    assert index.labels is not None
    assert index.labels.tolist() == [1, 0, 1, -1]
    red = [np.asarray(image)[0, 0, 0] for image in images_of(data, [3, 0])]
    assert red == [150, 0], "images come in the order that was asked for"


@pytest.mark.parametrize("written", ["../secret.png", "sub/../../secret.png", "{folder}/secret.png"])
def test_a_table_names_no_file_outside_of_its_root_unless_the_sweep_file_allows_it(
    tmp_path: Path, picture: Picture, written: str
):
    secret = picture("secret.png", (9, 9, 9))
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        (root / name).write_bytes(secret.read_bytes())
    name = written.format(folder=tmp_path)
    rows = ["a.png,one", "b.png,two", f"{name},three", "sub/../sub/c.png,four"]
    file = write_csv(root, "image,caption", *rows)
    with pytest.raises(HarnessError, match=r"line 4: image .*secret\.png lies outside of .*root .set root to a folder"):
        load(root, file)
    assert load(root, file, outside_root=True).index().count("image") == 4
    inside = write_csv(root, "image,caption", *rows[:2], rows[3], f"{root}/sub/c.png,five", name="inside.csv")
    assert load(root, inside).index().count("image") == 4, "an absolute path may lie inside"


def test_repeated_rows_columns_and_lists_mean_the_same(tmp_path: Path, four: list[str]):
    # The same two captions per image, in the three ways of writing them.
    repeated = [f"{name},{caption} of {name}" for caption in ("first", "second") for name in four]
    one = load(tmp_path, write_csv(tmp_path, "image,caption", *repeated))
    columns = [f"{name},first of {name},second of {name}" for name in four]
    two = load(tmp_path, write_csv(tmp_path, "image,c1,c2", *columns), captions=["c1", "c2"])
    lines = [json.dumps({"image": name, "texts": [f"{c} of {name}" for c in ("first", "second")]}) for name in four]
    three = load(tmp_path, write_csv(tmp_path, *lines, name="m.jsonl"), captions="texts")
    for data in (one, two, three):
        assert data.index().caption_image.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert captions_of(data, [5, 0]) == ["second of sub/c.jpg", "first of a.png"]
    assert one.digest == two.digest == three.digest


def test_parquet_with_bytes_and_numeric_labels(tmp_path: Path, four: list[str]):
    content = [(tmp_path / name).read_bytes() for name in four]
    frame = pd.DataFrame({"image": content, "caption": [["x", "y"], ["z"], ["u"], ["v"]], "label": [2, 0, 1, 2]})
    frame.to_parquet(tmp_path / "m.parquet")
    plain = load(tmp_path, "m.parquet", label="label")
    assert plain.index().caption_image.tolist() == [0, 0, 1, 2, 3]
    assert plain.index().labels.tolist() == [2, 0, 1, 2]  # type: ignore[union-attr]
    assert plain.index().class_names is None
    # The structure that the datasets library writes.
    nested_image = pd.Series([{"bytes": data, "path": None} for data in content])
    frame.assign(image=nested_image).to_parquet(tmp_path / "hub.parquet")
    nested = load(tmp_path, "hub.parquet", label="label")
    same = zip(images_of(plain, range(4)), images_of(nested, range(4)), strict=True)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in same)


def test_transparent_pictures_are_laid_on_white(tmp_path: Path, four: list[str]):
    from PIL import Image

    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    data = load(tmp_path, write_csv(tmp_path, "image,caption", *[f"{name},x" for name in four]))
    image = images_of(data, [0])[0]
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_split_column_and_a_root(tmp_path: Path, four: list[str]):
    table = tmp_path / "tables"
    table.mkdir()
    rows = [f"{name},x,{split}" for name, split in zip(four, ["train", "val", "TEST", "restval"], strict=True)]
    file = write_csv(table, "image,caption,part", *rows)
    data = load(tmp_path, f"tables/{file}", root=".", split_column="part")
    splits = {name: rows.tolist() for name, rows in data.index().splits.items()}
    assert splits == {"train": [0, 3], "validation": [1], "test": [2]}


def test_groups_stay_together(tmp_path: Path, picture: Picture):
    lines = []
    for i in range(40):
        picture(f"{i}.png", (i, i, i))
        lines.append(f"{i}.png,caption {i},g{i // 4}")
    data = load(tmp_path, write_csv(tmp_path, "image,caption,g", *lines), group="g")
    homes = [{row // 4 for row in rows.tolist()} for rows in data.index().splits.values()]
    assert sum(len(home) for home in homes) == len(set().union(*homes)) == 10


def test_the_digest_follows_content_only(tmp_path: Path, four: list[str], picture: Picture):
    file = write_csv(tmp_path, "image,caption", *[f"{name},x" for name in four])
    before = load(tmp_path, file).digest
    assert load(tmp_path, file).digest == before
    assert load(tmp_path, file, split={"train": 0.25, "validation": 0.25, "test": 0.5}).digest == before, (
        "another split, same rows"
    )
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes() + b"more")
    assert load(tmp_path, file).digest != before


def test_unreadable_images_are_counted_named_and_skipped_only_on_request(tmp_path: Path, four: list[str]):
    whole = (tmp_path / "sub/c.jpg").read_bytes()
    (tmp_path / "sub/c.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.png").write_bytes(b"not a picture")
    file = write_csv(tmp_path, "image,caption", *[f"{name},about {name}" for name in four])
    strict = load(tmp_path, file)
    with pytest.raises(HarnessError, match=r"2 of 4 images cannot be read: b\.png, sub/c\.jpg .*skip_unreadable"):
        images_of(strict, range(4))
    lenient = load(tmp_path, file, skip_unreadable=True, split={"train": 0.5, "validation": 0, "test": 0.5})
    index = lenient.index()
    assert index.skipped == ("b.png", "sub/c.jpg")
    assert index.n_images == 2
    assert captions_of(lenient, range(2)) == ["about a.png", "about d.png"]
    assert len(images_of(lenient, range(2))) == 2


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        (["image,caption"], {}, "the dataset is empty"),
        ([""], {}, "the dataset is empty"),
        (["image,caption", "a.png,x", "b.png, "], {}, "one caption short: line 3, column 'caption' holds no caption"),
        (["image,caption", ",x"], {}, "line 2 has no image"),
        (["image,caption", "a.png,x,y"], {}, "line 2 has 3 fields, the header has 2"),
        (["image,caption", "a.png,x"], {"captions": "captoin"}, "no column 'captoin' .did you mean 'caption'"),
        (["image,caption", "a.png,x", "none.png,y"], {}, "1 of 2 images cannot be read: none.png"),
        (["image,caption,s", "a.png,x,tarin"], {"split_column": "s"}, "image a.png has split 'tarin'"),
        (["image,caption,l", "a.png,x,1", "a.png,y,2"], {"label": "l"}, "has label '2', an earlier row says '1'"),
    ],
)
def test_bad_tables_get_one_clear_line(
    tmp_path: Path, four: list[str], lines: list[str], more: dict[str, Any], message: str
):
    with pytest.raises(HarnessError, match=message) as caught:
        load(tmp_path, write_csv(tmp_path, *lines), **more)
    assert "\n" not in str(caught.value)
    assert "m.csv" in str(caught.value)


def test_bad_files(tmp_path: Path):
    with pytest.raises(HarnessError, match=r"nowhere\.csv: no such file"):
        load(tmp_path, "nowhere.csv")
    with pytest.raises(HarnessError, match=r"line 2 is not JSON"):
        load(tmp_path, write_csv(tmp_path, '{"image": "a"}', "{", name="m.jsonl"))
    (tmp_path / "m.parquet").write_bytes(b"PAR?")
    with pytest.raises(HarnessError, match="not a Parquet file"):
        load(tmp_path, "m.parquet")
    with pytest.raises(HarnessError, match="CSV, JSONL or Parquet"):
        load(tmp_path, "m.xlsx")
    with pytest.raises(HarnessError, match="unknown dataset kind 'manifst' .did you mean 'manifest'"):
        load_dataset({"kind": "manifst"}, tmp_path)
    with pytest.raises(ValidationError) as caught:
        load(tmp_path, "m.csv", captoins="x")
    assert caught.value.errors()[0]["loc"] == ("captoins",)
