"""An exported model is the encoders that its connector was trained with, and no others under the same names."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import harness
from harness.errors import HarnessError
from tests.pictures import captioned_pictures

CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PICTURES = [Image.fromarray(np.full((20, 30, 3), shade, dtype=np.uint8)) for shade in (10, 90, 200)]
TEXTS = ["a dark picture", "a bright one"]


def set_weights(file: Path, seed: int) -> None:
    torch.manual_seed(seed)
    model = open_clip.create_model(file.stem)
    torch.save(model.state_dict(), file)


@pytest.fixture
def exported(temp_project):
    """A connector between both towers of one CLIP model under one id, and the file of its weights."""
    folder = temp_project.folder
    config = folder / "tiny-clip-for-export.json"
    config.write_text(json.dumps(CLIP))
    open_clip.add_model_config(config)
    weights = folder / "tiny-clip-for-export.pt"
    set_weights(weights, 0)
    captioned_pictures(folder, 30)
    encoder = f"{{id: 'open_clip:{config.stem}@{weights}', config: '{config}'}}"
    temp_project.write(
        "clip.yaml",
        f"""
name: clip
data: {{kind: manifest, file: rows.csv, split: {{train: 0.6, validation: 0.2, test: 0.2}}}}
image_encoders: [{encoder}]
text_encoders: [{encoder}]
methods:
  ape: {{epochs: 1, batch_size: 8}}
storage: runs
""",
    )
    temp_project.run("clip.yaml")
    out = folder / "exported"
    code, _, err = temp_project.invoke("export", "clip", "--method", "ape", "--out", str(out))
    assert (code, err) == (0, "")
    return out, weights


def test_both_towers_of_one_model_are_told_apart(exported) -> None:
    folder, weights = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["image_encoder"]["id"] == config["text_encoder"]["id"]
    assert config["weights"]["image"] != config["weights"]["text"]
    model = harness.load(folder)
    whole = cast("open_clip.CLIP", open_clip.create_model(weights.stem, pretrained=str(weights)).eval())
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(weights.stem)(TEXTS)
        texts = torch.nn.functional.normalize(whole.encode_text(tokens), dim=-1)
        mapped = torch.nn.functional.normalize(model._connector(texts), dim=-1)
    torch.testing.assert_close(model.encode_text(TEXTS), mapped, atol=1e-5, rtol=0)
    assert model.similarity(model.encode_image(PICTURES), model.encode_text(TEXTS)).shape == (3, 2)


def test_other_weights_under_the_same_name_are_refused(exported) -> None:
    folder, weights = exported
    trained_with = json.loads((folder / "config.json").read_text())["weights"]
    set_weights(weights, 1)
    model = harness.load(folder)
    for modality, encode in (
        ("image", lambda: model.encode_image(PICTURES)),
        ("text", lambda: model.encode_text(TEXTS)),
    ):
        with pytest.raises(HarnessError) as caught:
            encode()
        told = str(caught.value)
        assert told.startswith(f"open_clip:{weights.stem}@{weights}: has other weights (")
        assert told.endswith(
            f") than the connector was trained with ({trained_with[modality]}) "
            "(name the revision that was current then)"
        )
    set_weights(weights, 0)
    assert harness.load(folder).encode_image(PICTURES).shape == (3, 24)
