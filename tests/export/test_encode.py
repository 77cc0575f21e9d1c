"""The stitched model takes one or many, pictures or their paths, and says what is wrong in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.connectors.linear import Linear
from harness.contract.connector import Connector
from harness.errors import HarnessError
from harness.export.stitched import StitchedModel


@pytest.fixture
def model() -> StitchedModel:
    config = {
        "image_encoder": {"id": "synthetic:6"},
        "text_encoder": {"id": "synthetic:5"},
        "direction": "text_to_image",
        "weights": {},
    }
    torch.manual_seed(0)
    return StitchedModel(
        config, Connector(Linear(), {"layers.0.weight": torch.randn(6, 5), "layers.0.bias": torch.zeros(6)})
    )


def test_one_text_is_one_row(model: StitchedModel) -> None:
    one, many = model.encode_text("a red apple"), model.encode_text(["a red apple", "a tree"])
    assert one.shape == (1, 6)
    torch.testing.assert_close(one, many[:1])


def test_one_picture_its_path_and_many_are_the_same_rows(model: StitchedModel, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture, file = Image.fromarray(pixels), tmp_path / "apple.png"
    picture.save(file)
    wanted = model.encode_image([picture])
    for given in (picture, file, str(file), [file], (str(file),), iter([picture])):
        torch.testing.assert_close(model.encode_image(given), wanted)


def test_what_is_no_picture_or_text_is_named(model: StitchedModel, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"nothing\.png: cannot be read as an image"):
        model.encode_image(tmp_path / "nothing.png")
    with pytest.raises(HarnessError, match="pictures are wanted .*, not int"):
        model.encode_image(3)  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="strings are wanted .*, not float"):
        model.encode_text(["a", 1.0])  # type: ignore[list-item]


def test_encode_takes_texts_or_pictures_in_the_manner_of_sentence_transformers(model: StitchedModel) -> None:
    texts = model.encode(["a red apple", "a boat"])
    assert isinstance(texts, np.ndarray)
    assert np.array_equal(texts, model.encode_text(["a red apple", "a boat"]).numpy())
    np.testing.assert_allclose(model.encode("a boat"), texts[1:], atol=1e-6)
    picture = Image.new("RGB", (8, 8), "red")
    assert np.array_equal(model.encode([picture]), model.encode_image(picture).numpy())
    with pytest.raises(HarnessError, match="in two calls"):
        model.encode(["a boat", picture])
    with pytest.raises(HarnessError, match="texts or PIL images are wanted"):
        model.encode(3)  # type: ignore[arg-type]
