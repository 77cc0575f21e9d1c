import json
import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harness.encoders.base import Encoder, EncoderSpec, Modality, scheme_of

TEXTS = ["a photo of a cat", "two dogs, running", ""]
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny-clip-for-tests.json"
    file.write_text(json.dumps(CONFIG))
    return file


@pytest.fixture
def reference(tiny: Path) -> open_clip.CLIP:
    """The same model as open_clip makes it: one module with both towers."""
    open_clip.add_model_config(tiny)
    torch.manual_seed(11)
    return cast("open_clip.CLIP", open_clip.create_model(tiny.stem).eval())


def load(spec: EncoderSpec, modality: Modality) -> Encoder:
    return scheme_of(spec).load(spec, modality)


def assert_equals_open_clip(image: Encoder, text: Encoder, model: open_clip.CLIP, pictures: list[Image.Image]) -> None:
    preprocess = cast("Any", open_clip.image_transform(48, is_train=False))  # CLIP's mean and deviation are the default
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(picture.convert("RGB")) for picture in pictures])).numpy()
        texts = model.encode_text(tokens).numpy()
    np.testing.assert_allclose(image.encode(pictures), images, atol=2e-5)
    np.testing.assert_allclose(text.encode(TEXTS), texts, atol=2e-5)


def test_both_towers_of_a_local_checkpoint_equal_open_clips(
    tiny: Path, reference: open_clip.CLIP, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    file = tmp_path / "w.pt"
    torch.save(reference.state_dict(), file)
    spec = EncoderSpec(f"open_clip:{tiny.stem}@{file}", options={"config": str(tiny)})
    image, text = load(spec, "image"), load(spec, "text")
    assert_equals_open_clip(image, text, reference, pictures)
    assert image.info.revision.startswith("file:") and "config:" in image.info.revision


def test_a_folder_with_config_and_weights(
    reference: open_clip.CLIP, tmp_path: Path, pictures: list[Image.Image], fails
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    spec = EncoderSpec(f"open_clip:local-dir:{folder}")
    with pytest.raises(Exception, match="open_clip:local-dir:.*cannot be loaded"):
        load(spec, "text")  # a folder without weights must not pass for a trained model
    save_file(reference.state_dict(), folder / "open_clip_model.safetensors")
    assert_equals_open_clip(load(spec, "image"), load(spec, "text"), reference, pictures)
    assert "open_clip_config.json" in fails(f"open_clip:local-dir:{tmp_path}/none", "text")


@pytest.mark.parametrize("modality", ["image", "text"])
def test_only_the_needed_tower_is_kept_and_described(
    modality: Modality, tiny: Path, reference: open_clip.CLIP, pictures: list[Image.Image]
) -> None:
    spec = EncoderSpec(f"open_clip:{tiny.stem}@none", options={"config": str(tiny), "seed": 4})
    encoder = load(spec, modality)
    assert scheme_of(spec).describe(spec, modality) == encoder.info
    visual = sum(p.numel() for p in reference.visual.parameters())
    whole = sum(p.numel() for p in reference.parameters()) - 1  # the logit scale belongs to neither
    held = sum(p.numel() for p in encoder.module.parameters())  # type: ignore[attr-defined]
    assert held == encoder.info.params == (visual if modality == "image" else whole - visual)
    assert encoder.info.dim == 24 and encoder.info.input_size == ((3, 48, 48) if modality == "image" else None)
    samples = pictures if modality == "image" else TEXTS
    rows = encoder.encode(samples)
    assert rows.shape == (len(samples), 24) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows, load(spec, modality).encode(samples))
    other = EncoderSpec(spec.id, options={**spec.options, "seed": 5})
    assert not np.allclose(rows, load(other, modality).encode(samples), atol=1e-3)
    same = EncoderSpec(f"open_clip:{tiny.stem}@x", options={**spec.options, "pretrained": False})
    np.testing.assert_array_equal(rows, load(same, modality).encode(samples))


def test_text_flops_are_the_closed_form(tiny: Path) -> None:
    spec = EncoderSpec(f"open_clip:{tiny.stem}@none", options={"config": str(tiny)})
    tokens, width, layers = 77, 32, 3
    macs = layers * (12 * tokens * width**2 + 2 * tokens**2 * width) + width * 24
    norms = 5 * (2 * layers + 1) * tokens * width  # fvcore books a layer norm as five per element
    assert load(spec, "text").forward_flops() == 2 * (macs + norms)


def test_image_flops_of_vit_b_32_are_the_published_ones() -> None:
    spec = EncoderSpec("open_clip:ViT-B-32@none")
    assert load(spec, "image").forward_flops() == pytest.approx(2 * 4.41e9, rel=0.01)


def test_random_weights_do_not_warn_or_change_logging(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(EncoderSpec(f"open_clip:{tiny.stem}@none", options={"config": str(tiny)}), "text")
    assert not caplog.records and logging.root.manager.disable == 0


def test_no_hub_fails_in_one_line_after_one_question(calls_to_hub: list[object], fails) -> None:
    weights = fails("open_clip:ViT-B-32@laion2b_s34b_b79k", "image")
    tokenizer = fails("open_clip:ViT-B-16-SigLIP@none", "text")
    assert calls_to_hub == [("127.0.0.1", 9)], "one server, asked once for both"
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not in" in weights and "'none'" in weights
    assert "timm/ViT-B-16-SigLIP is not in" in tokenizer


def test_describe_of_pretrained_weights_needs_no_network(no_hub: Path) -> None:
    spec = EncoderSpec("open_clip:ViT-B-16-SigLIP@webli")
    image = scheme_of(spec).describe(spec, "image")
    assert (image.dim, image.input_size) == (768, (3, 224, 224))
    assert '"mean": [0.5, 0.5, 0.5]' in image.transform and '"resize_mode": "squash"' in image.transform
    assert image.params == pytest.approx(92.9e6, rel=1e-3)  # ViT-B/16 with a pooling head
    roberta = EncoderSpec("open_clip:roberta-ViT-B-32@laion2b_s12b_b32k")  # its text side is defined on the hub
    assert scheme_of(roberta).describe(roberta, "text").dim == 512


def test_bad_names_say_what_would_be_right(tiny: Path, fails) -> None:
    assert "'ViT-B-32'" in fails("open_clip:ViT-B32@openai", "text")
    assert "'openai'" in fails("open_clip:ViT-B-32@open_ai", "image")
    assert "no weights are named" in fails("open_clip:ViT-B-32", "image")
    assert "no such JSON file" in fails("open_clip:x@none", "image", config="x.json")
    assert "not 'other'" in fails("open_clip:other@none", "image", config=str(tiny))
    tiny.write_text("{}")
    assert "lacks embed_dim" in fails(f"open_clip:{tiny.stem}@none", "image", config=str(tiny))
    assert ("ViT-B-32@openai") in scheme_of(EncoderSpec("open_clip:x")).names("text")
