"""What an encoder costs is known before its weights are there, and is what a count of the loaded one says."""

import pytest

from harness.encoders.base import EncoderSpec, scheme_of


@pytest.mark.parametrize("name", ["timm:test_vit.r160_in1k", "timm:test_efficientnet.r160_in1k", "timm:resnet18"])
def test_planned_flops_are_the_counted_ones(name: str) -> None:
    spec = EncoderSpec(name, options={"pretrained": False})
    planned = scheme_of(spec).describe(spec, "image").flops_per_sample
    # fvcore also counts normalisation, which is no matrix product.
    assert planned == pytest.approx(scheme_of(spec).load(spec, "image").forward_flops(), rel=0.06)


def test_a_published_size_is_met() -> None:
    """ViT-S/16 at 224 pixels: 4.6 GMAC (Touvron et al. 2021, table 1)."""
    spec = EncoderSpec("timm:deit_small_patch16_224.fb_in1k")
    assert scheme_of(spec).describe(spec, "image").flops_per_sample == pytest.approx(2 * 4.6e9, rel=0.01)
