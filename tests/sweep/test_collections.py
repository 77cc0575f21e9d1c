"""Collections and files of names in the place of lists of encoders."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.sweep.collections import COLLECTIONS
from harness.sweep.config import Sweep
from harness.sweep.loading import load_sweep
from harness.sweep.schema import sweep_schema

SWEEPS = Path(__file__).parents[2] / "sweeps"


def lists(sweep: Sweep) -> tuple[list[str], list[str]]:
    return [e.id for e in sweep.image_encoders or []], [e.id for e in sweep.text_encoders or []]


def written(folder: Path, image: str, text: str) -> Sweep:
    file = folder / "sweep.yaml"
    data = "{kind: manifest, file: rows.csv}"
    file.write_text(
        f"name: x\ndata: {data}\nimage_encoders: {image}\ntext_encoders: {text}\nmethods: {{ape: {{epochs: 1}}}}\n"
    )
    return load_sweep(file)


@pytest.mark.parametrize(
    ("collection", "file"),
    [("hyma9", "hyma_vlm_27"), ("quickstart", "quickstart"), ("hyper_align30", "hyper_align_scaling")],
)
def test_a_collection_is_what_its_sweep_file_lists(tmp_path: Path, collection: str, file: str) -> None:
    known = load_sweep(SWEEPS / f"{file}.yaml")
    wanted = lists(known) if known.image_encoders else (list(known.data["image"]), list(known.data["text"]))
    assert lists(written(tmp_path, collection, collection)) == wanted
    assert COLLECTIONS[collection].about


def test_a_file_has_one_encoder_a_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# mine\nsynthetic:8\n\n{id: 'synthetic:9', seed: 3}  # another\n")
    sweep = written(tmp_path, "names.txt", "quickstart")
    assert sweep.image_encoders is not None
    assert [(e.id, e.options) for e in sweep.image_encoders] == [("synthetic:8", {}), ("synthetic:9", {"seed": 3})]


@pytest.mark.parametrize(
    ("image", "text", "told"),
    [
        ("hyma", "quickstart", "image_encoders: 'hyma' is neither a collection nor a file of encoders"),
        ("hyma", "quickstart", "did you mean 'hyma9'"),
        ("broken.txt", "quickstart", "broken.txt is no text file of one encoder a line"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, image: str, text: str, told: str) -> None:
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(HarnessError) as caught:
        written(tmp_path, image, text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_language_models_have_no_collection(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: x\ndata: {kind: manifest, file: r.csv}\nlanguage_models: hyma9\nmethods: {ape: {epochs: 1}}\n"
    )
    with pytest.raises(HarnessError, match="language_models: collection 'hyma9' has none"):
        load_sweep(file)


def test_editors_take_a_name_in_the_place_of_a_list() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    value = {
        "name": "x",
        "data": {"kind": "folder", "root": "."},
        "image_encoders": "hyma9",
        "methods": {"ape": {"epochs": 1}},
    }
    jsonschema.validate(value, sweep_schema())
