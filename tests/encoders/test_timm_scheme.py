import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from harness.encoders.base import Encoder, EncoderSpec, scheme_of

TINY = "timm:test_vit.r160_in1k"


def load(name: str, **options: object) -> Encoder:
    spec = EncoderSpec(name, options=options)
    return scheme_of(spec).load(spec, "image")


def by_hand(model: torch.nn.Module, pictures: list[Image.Image]) -> np.ndarray:
    """timm's documented recipe: resolve_model_data_config, create_transform, forward."""
    transform: Any = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        return torch.cat([model.eval()(transform(p.convert("RGB"))[None]) for p in pictures]).numpy()


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "test_resnet.r160_in1k", "test_efficientnet.r160_in1k"])
def test_random_weights_equal_timm_by_hand(name: str, pictures: list[Image.Image]) -> None:
    encoder = load(f"timm:{name}", pretrained=False, seed=7)
    torch.manual_seed(7)
    wanted = by_hand(timm.create_model(name, pretrained=False, num_classes=0), pictures)
    got = encoder.encode(pictures)
    assert got.dtype == np.float32 and got.shape == (len(pictures), encoder.info.dim)
    np.testing.assert_allclose(got, wanted, atol=2e-5, rtol=1e-4)


def test_seed_decides_random_weights_and_leaves_the_callers_generator(pictures: list[Image.Image]) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    first = load(TINY, pretrained=False, seed=0)
    assert torch.equal(torch.rand(3), wanted)
    rows = first.encode(pictures)
    np.testing.assert_array_equal(rows, load(TINY, pretrained=False, seed=0).encode(pictures))
    other = load(TINY, pretrained=False, seed=1)
    assert not np.allclose(rows, other.encode(pictures), atol=1e-2)
    assert first.info.revision != other.info.revision


def test_checkpoint_replaces_the_hub_and_its_head_is_dropped(tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(5)
    model = timm.create_model("test_vit.r160_in1k", pretrained=False)  # with its 1,000 classes
    file = tmp_path / "weights.safetensors"
    file.write_bytes(save(model.state_dict()))
    encoder = load(TINY, checkpoint=str(file))
    cast("Any", model).reset_classifier(0)
    np.testing.assert_allclose(encoder.encode(pictures), by_hand(model, pictures), atol=2e-5, rtol=1e-4)
    revision = encoder.info.revision
    file.write_bytes(save({name: value + 1 for name, value in model.state_dict().items()}))
    assert load(TINY, checkpoint=str(file)).info.revision != revision


def test_weights_in_the_hub_cache_need_no_hub(cached, calls_to_hub: list[object], pictures: list[Image.Image]) -> None:
    torch.manual_seed(6)
    model = timm.create_model("test_vit.r160_in1k", pretrained=False)
    cached("timm/test_vit.r160_in1k", {"model.safetensors": save(model.state_dict())})
    scheme_of(EncoderSpec(TINY)).check(EncoderSpec(TINY), "image")
    encoder = load(TINY)
    assert calls_to_hub == []
    cast("Any", model).reset_classifier(0)
    np.testing.assert_allclose(encoder.encode(pictures), by_hand(model, pictures), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("offline", [True, False])
def test_no_hub_fails_in_one_line_after_one_question(
    offline: bool, no_hub: Path, calls_to_hub: list[object], fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    message = fails(TINY, "image")
    # The libraries themselves would ask again and again, for a minute.
    assert calls_to_hub == ([] if offline else [("127.0.0.1", 9)])
    assert "timm/test_vit.r160_in1k is not in" in message and str(no_hub) in message
    assert ("HF_HUB_OFFLINE is set" if offline else "127.0.0.1:9 does not answer") in message
    assert "pretrained: false" in message and "HF_HOME" in message


def test_broken_cached_weights_fail_in_one_line(cached) -> None:
    from harness.errors import HarnessError

    buffer = io.BytesIO(b"not a weight file")
    cached("timm/test_vit.r160_in1k", {"model.safetensors": buffer.getvalue()})
    with pytest.raises(HarnessError, match=r"timm:test_vit.*cannot be loaded") as caught:
        load(TINY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "test_vit3.r160_in1k", "mobilenetv3_small_050"])
def test_describe_agrees_with_the_loaded_model(name: str) -> None:
    spec = EncoderSpec(f"timm:{name}", options={"pretrained": False})
    info = scheme_of(spec).describe(spec, "image")
    encoder = scheme_of(spec).load(spec, "image")
    assert encoder.info == info
    assert encoder.encode([Image.new("RGB", (50, 50))]).shape == (1, info.dim)
    assert info.params == sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())


def test_describe_of_pretrained_weights_needs_no_network(no_hub: Path) -> None:
    spec = EncoderSpec("timm:vit_small_patch14_dinov2.lvd142m")
    info = scheme_of(spec).describe(spec, "image")
    assert (info.dim, info.input_size, info.license) == (384, (3, 518, 518), "apache-2.0")
    assert info.params == pytest.approx(22.06e6, rel=1e-3)  # the model card's
    assert "dinov2" in info.revision and "518" in info.transform


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [("resnet18", 1.82), ("vit_small_patch16_224", 4.61), ("mobilenetv3_large_100", 0.22)],
)
def test_forward_flops_are_twice_the_published_macs(name: str, gmacs: float) -> None:
    assert load(f"timm:{name}", pretrained=False).forward_flops() == pytest.approx(2e9 * gmacs, rel=0.02)


def test_bad_names_and_options_say_what_would_be_right(fails) -> None:
    assert "'resnet18'" in fails("timm:resnet8", "image")
    assert "a1_in1k" in fails("timm:resnet18.a1_in1", "image")
    assert "'pretrained'" in fails("timm:resnet18", "image", pretraind=False)
    assert "bool" in fails("timm:resnet18", "image", pretrained="no")
    assert "not of texts" in fails("timm:resnet18", "text")
    assert "no such checkpoint" in fails("timm:resnet18", "image", checkpoint="nowhere.pth")


def test_names_are_image_models_with_weights() -> None:
    scheme = scheme_of(EncoderSpec(TINY))
    assert "resnet18.a1_in1k" in scheme.names("image") and scheme.names("text") == []
