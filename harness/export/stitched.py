"""A stitched model: two frozen encoders and the connector between them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from PIL.Image import open as open_image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from harness.connectors.stored import kind_of
from harness.contract.connector import Connector
from harness.data.pictures import to_rgb
from harness.encoders.base import Encoder, EncoderSpec, HasWeights, Modality, scheme_of
from harness.errors import HarnessError
from harness.export.folder import CONFIG, CONNECTOR, FORMAT
from harness.sweep.config import ENCODER_FACTS

Picture: TypeAlias = Image | str | Path
"""A PIL image, or the path of an image file."""

NEEDED = ("image_encoder", "text_encoder", "connector", "direction", "weights")
"""What ``config.json`` must hold for a model to be put together."""


class StitchedModel:
    """Embeds images and texts into one space.

    Args:
        config: What ``config.json`` of the export says.
        connector: The connector.
        device: Where the encoders and the connector compute.
    """

    def __init__(self, config: dict[str, Any], connector: Connector, *, device: str = "cpu") -> None:
        self.config, self._device = config, device
        self._connector = connector.to(device)
        self._image: Encoder | None = None
        self._text: Encoder | None = None

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "StitchedModel":
        """Open an exported folder; the encoders are loaded when first used.

        Raises:
            HarnessError: Not an export, or of another format.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = load_file(folder / CONNECTOR)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise HarnessError(f"is not an exported model: {error}", where=str(folder), fix="harness export") from error
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            found = config.get("format") if isinstance(config, dict) else None
            raise HarnessError(f"is of format {found}, this version reads {FORMAT}", where=str(folder))
        if lacking := [key for key in NEEDED if key not in config]:
            what = f"is not an exported model: {CONFIG} lacks {', '.join(lacking)}"
            raise HarnessError(what, where=str(folder), fix="harness export")
        return cls(config, Connector(kind_of(config["connector"]), tensors), device=device)

    def encode_image(self, images: Picture | Iterable[Picture], batch_size: int = 64) -> Float[Tensor, "n dim"]:
        """L2-normalised ``[n, dim]`` embeddings of one or many pictures: PIL images, or paths of image files.

        One picture gives one row, ``[1, dim]``.

        Raises:
            HarnessError: A file that cannot be read, or something that is no picture.
        """
        if self._image is None:
            self._image = self._encoder("image")
        pictures = [opened(one) for one in _several(images, (Image, str, Path), "pictures")]
        return self._encode(self._image, pictures, batch_size, mapped=self._direction == "image_to_text")

    def encode_text(self, texts: str | Iterable[str], batch_size: int = 64) -> Float[Tensor, "n dim"]:
        """L2-normalised ``[n, dim]`` embeddings of one or many strings; one gives one row, ``[1, dim]``.

        Raises:
            HarnessError: Something that is no string.
        """
        if self._text is None:
            self._text = self._encoder("text")
        strings = _several(texts, (str,), "strings")
        return self._encode(self._text, strings, batch_size, mapped=self._direction == "text_to_image")

    def encode(self, inputs: str | Picture | Iterable[str | Picture], batch_size: int = 64) -> np.ndarray:
        """``[n, dim]`` embeddings as numpy, in the manner of sentence-transformers: texts, or PIL images.

        A string is a text here, also one that names a file: open pictures first, or use ``encode_image``.

        Raises:
            HarnessError: Texts and pictures together, or something that is neither.
        """
        given = _several(inputs, (Image, str), "texts or PIL images")
        if all(isinstance(one, str) for one in given):
            return self.encode_text(given, batch_size).cpu().numpy()
        if any(isinstance(one, str) for one in given):
            raise HarnessError("texts and pictures are encoded in two calls, not in one")
        return self.encode_image(given, batch_size).cpu().numpy()

    @staticmethod
    def similarity(
        images: Float[Tensor, "images dim"], texts: Float[Tensor, "texts dim"]
    ) -> Float[Tensor, "images texts"]:
        """Cosine similarities."""
        return images @ texts.T

    @property
    def _direction(self) -> str:
        return self.config["direction"]

    def _encoder(self, modality: Modality) -> Encoder:
        written = dict(self.config[f"{modality}_encoder"])
        facts = {key: written.pop(key, None) for key in ("id", *ENCODER_FACTS)}
        spec = EncoderSpec(**facts, options=written)
        if ":" not in spec.id:
            raise HarnessError(
                f"{spec.id!r} names embeddings that came with the data, not an encoder that can be loaded",
                where="StitchedModel",
                fix=f"in config.json, name the encoder that made them as scheme:name under {modality}_encoder.id",
            )
        encoder = scheme_of(spec).load(spec, modality, device=self._device)
        trained_with = self.config["weights"].get(modality)
        if trained_with and isinstance(encoder, HasWeights) and encoder.weights_digest() != trained_with:
            raise HarnessError(
                f"has other weights ({encoder.weights_digest()}) than the connector was trained with ({trained_with})",
                where=spec.id,
                fix="name the revision that was current then",
            )
        return encoder

    @torch.inference_mode()
    def _encode(self, encoder: Encoder, samples: list[Any], batch_size: int, *, mapped: bool) -> Tensor:
        rows = [encoder.encode(samples[i : i + batch_size]) for i in range(0, len(samples), batch_size)]
        whole = np.concatenate(rows) if rows else np.zeros((0, encoder.info.dim), np.float32)
        embedded = functional.normalize(torch.from_numpy(whole).float().to(self._device), dim=-1)
        return functional.normalize(self._connector(embedded), dim=-1) if mapped else embedded


def _several(given: Any, kinds: tuple[type, ...], called: str) -> list[Any]:
    """One or many things of these kinds, as a list."""
    if isinstance(given, kinds):
        return [given]
    try:
        found = list(given)
    except TypeError:
        found = [given]
    for one in found:
        if not isinstance(one, kinds):
            allowed = ", ".join(kind.__name__ for kind in kinds)
            raise HarnessError(f"{called} are wanted ({allowed}, one or many), not {type(one).__name__}")
    return found


def opened(picture: Picture) -> Image:
    """A picture as RGB.

    Raises:
        HarnessError: A file that cannot be read.
    """
    if isinstance(picture, Image):
        return to_rgb(picture)
    try:
        with open_image(picture) as image:
            return to_rgb(image)
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot be read as an image: {error}", where=str(picture)) from error
