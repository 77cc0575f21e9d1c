"""What a config of transformers says of a model before its weights are read, and its towers and image processors."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from PIL import Image as Pil
from PIL.Image import Image
from torch import Tensor, nn

from harness.encoders.common import CAPTION_TOKENS
from harness.encoders.modules import parameters
from harness.encoders.pooling import Grid, HasTowers, PooledPixels, PooledTokens


@dataclass(frozen=True)
class ModelFacts:
    """Facts of one model with one pooling.

    Attributes:
        dim: Dimension of its vectors.
        params: Parameters of the tower that is used.
        input_size: (channels, height, width) of an image model.
        flops: Of the matrix products of one forward; None where it cannot run without weights.
        grid: Patches of an image model.
    """

    dim: int
    params: int
    input_size: tuple[int, int, int] | None
    flops: float | None
    grid: Grid


@functools.lru_cache(maxsize=64)
def facts(folder: str, images: bool, pooling: str, digest: str) -> ModelFacts:
    """Facts of the model in a folder, built without weights.

    Args:
        folder: Holds ``config.json``, and ``preprocessor_config.json`` of an image model.
        images: Whether it is to embed images.
        pooling: See ``harness.encoders.pooling``.
        digest: Changes with these files.

    Raises:
        ValueError: It embeds something else, or has no such pooling.
    """
    del digest
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"), torch.inference_mode():
        whole = AutoModel.from_config(config, trust_remote_code=False, attn_implementation="eager").eval()
        model = tower(whole, images)
        size, grid = _input(folder, model) if images else (None, Grid())
        with FlopCounterMode(display=False) as counter:
            if size is not None:
                pooled = PooledPixels(model, pooling, grid)(torch.zeros(1, *size))
            else:
                # Without a mask: transformers looks into masks, and here is nothing to look at.
                pooled = PooledTokens(model, pooling)(torch.ones(1, CAPTION_TOKENS, dtype=torch.long))
    return ModelFacts(pooled.shape[-1], parameters(model), size, float(counter.get_total_flops()), grid)


def tower(model: Any, images: bool) -> nn.Module:
    """The part of a model that embeds this side: itself, one of two towers, or the encoder before a decoder.

    Raises:
        ValueError: It embeds the other side.
    """
    found: Any = model
    if isinstance(model, HasTowers):
        found = model.vision_model if images else model.text_model
    elif not images and model.config.is_encoder_decoder:
        found = model.get_encoder()
    wanted = "pixel_values" if images else "input_ids"
    if found.main_input_name != wanted:
        raise ValueError(f"{type(model).__name__} takes {found.main_input_name}, not {wanted}")
    return cast("nn.Module", found)


def _input(folder: str, model: Any) -> tuple[tuple[int, int, int], Grid]:
    """Size of what the image processor makes of a picture, and the patches in it."""
    channels, height, width = processor_of(folder, None)(Pil.new("RGB", (64, 48), "white")).shape
    patch = model.config.to_dict().get("patch_size")
    count = (height // patch) * (width // patch) if isinstance(patch, int) and patch > 0 else 0
    return (int(channels), int(height), int(width)), Grid(count)


def processor_of(name: str, revision: str | None) -> Callable[[Image], Tensor]:
    """A model's own image processor: PIL RGB image to ``[3, height, width]``.

    Args:
        name: A folder, or a name of the hub.
        revision: Of the hub.
    """
    from transformers import AutoImageProcessor

    processor: Any = AutoImageProcessor.from_pretrained(name, trust_remote_code=False, revision=revision or "main")
    return lambda image: torch.as_tensor(processor(images=image, return_tensors="pt")["pixel_values"][0])
