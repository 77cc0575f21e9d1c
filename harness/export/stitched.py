"""A stitched model: two frozen encoders and the connector between them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from PIL.Image import open as open_image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from harness.connectors.stored import described, kind_of
from harness.contract.connector import Connector, prefix_length
from harness.contract.language import PAD, LanguageModel
from harness.data.pictures import to_rgb
from harness.encoders.base import Encoder, EncoderSpec, HasWeights, Modality, scheme_of
from harness.encoders.language_models import LoadsLanguageModels
from harness.errors import HarnessError
from harness.export.folder import CONFIG, CONNECTOR, FORMAT, check_free
from harness.sweep.config import ENCODER_FACTS

Picture: TypeAlias = Image | str | Path
"""A PIL image, or the path of an image file."""

NEEDED = ("image_encoder", "text_encoder", "connector", "direction", "weights")
"""What ``config.json`` must hold for a model to be put together."""


@dataclass(frozen=True)
class Loaded:
    """A language model, and what makes its tokens."""

    model: LanguageModel
    tokens: Encoder


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
        self._encoders: dict[Modality, Encoder] = {}
        self._loaded: Loaded | None = None

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

    @classmethod
    def of(
        cls,
        connector: Connector,
        image: str | dict[str, Any],
        text: str | dict[str, Any],
        *,
        direction: str = "text_to_image",
        device: str = "cpu",
    ) -> "StitchedModel":
        """Two encoders with a connector from anywhere, e.g. of ``harness.connectors.released.read_connector``.

        Args:
            connector: Maps the embeddings of one side into the space of the other.
            image: The image encoder as a sweep file writes it: ``scheme:name``, or that as ``id`` with options.
            text: The text encoder.
            direction: ``text_to_image`` or ``image_to_text``: the side that is mapped stands first.
            device: Where the encoders and the connector compute.

        Raises:
            HarnessError: Another direction.
        """
        if direction not in ("text_to_image", "image_to_text"):
            raise HarnessError(f"unknown direction {direction!r}", fix="text_to_image or image_to_text")
        sides = {"image_encoder": image, "text_encoder": text}
        config: dict[str, Any] = {side: {"id": name} if isinstance(name, str) else name for side, name in sides.items()}
        config |= {"format": FORMAT, "connector": described(connector.kind), "direction": direction, "weights": {}}
        return cls(config, connector.frozen(), device=device)

    def save(self, folder: str | Path) -> Path:
        """Write a folder that ``harness.load`` opens, without a model card.

        Raises:
            HarnessError: Something is there already.
        """
        out = check_free(Path(folder))
        out.mkdir(parents=True, exist_ok=True)
        (out / CONNECTOR).write_bytes(save({name: t.cpu() for name, t in self._connector.tensors.items()}))
        (out / CONFIG).write_text(json.dumps(self.config, indent=1) + "\n", encoding="utf-8")
        return out

    def encode_image(self, images: Picture | Iterable[Picture], batch_size: int = 64) -> Float[Tensor, "n dim"]:
        """L2-normalised ``[n, dim]`` embeddings of one or many pictures: PIL images, or paths of image files.

        One picture gives one row, ``[1, dim]``.

        Raises:
            HarnessError: A file that cannot be read, or something that is no picture.
        """
        pictures = [opened(one) for one in _several(images, (Image, str, Path), "pictures")]
        return self.placed(self._embedded("image", pictures, batch_size), "image")

    def encode_text(self, texts: str | Iterable[str], batch_size: int = 64) -> Float[Tensor, "n dim"]:
        """L2-normalised ``[n, dim]`` embeddings of one or many strings; one gives one row, ``[1, dim]``.

        Raises:
            HarnessError: Something that is no string.
        """
        strings = _several(texts, (str,), "strings")
        return self.placed(self._embedded("text", strings, batch_size), "text")

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

    @torch.inference_mode()
    def caption(self, images: Picture | Iterable[Picture], most: int = 24) -> list[str]:
        """The greedy caption of one or many pictures, of so many tokens at most; for a language model only."""
        model = self._language().model
        return model.continuations(self._prefixes(images), most)

    @torch.inference_mode()
    def perplexity(self, images: Picture | Iterable[Picture], texts: str | Iterable[str]) -> np.ndarray:
        """``[n]``: for each picture exp of the mean loss of its text's tokens, the end included.

        Raises:
            HarnessError: Not as many texts as pictures, or the text side is no language model.
        """
        language, prefixes, strings = self._language(), self._prefixes(images), _several(texts, (str,), "strings")
        if len(strings) != len(prefixes):
            raise HarnessError(f"{len(prefixes)} pictures and {len(strings)} texts: give one text for each picture")
        tokens = torch.from_numpy(language.tokens.encode(strings)).long().to(self._device)
        losses = language.model.losses(prefixes, tokens)
        return (losses.double().sum(1) / (tokens != PAD).sum(1)).exp().cpu().numpy()

    def _prefixes(self, images: Picture | Iterable[Picture]) -> Float[Tensor, "n prefix dim"]:
        """What stands before a caption; its length counts, so it is not normalised."""
        pictures = [opened(one) for one in _several(images, (Image, str, Path), "pictures")]
        mapped = self._connector(self._embedded("image", pictures, 64))
        return mapped.view(len(mapped), prefix_length(self._connector.kind), -1)

    def _language(self) -> "Loaded":
        if self._loaded is None:
            spec = self._spec("text")
            scheme = scheme_of(spec)
            if not isinstance(scheme, LoadsLanguageModels):
                raise HarnessError(f"{spec.id} is no language model", where="StitchedModel", fix="use encode_text")
            tokens = scheme.load(spec, "tokens", device=self._device)
            self._loaded = Loaded(scheme.load_model(spec, device=self._device), tokens)
        return self._loaded

    def encoder(self, modality: Modality) -> Encoder:
        """The encoder of one side, read when it is first asked for.

        Raises:
            HarnessError: It cannot be loaded, or has other weights than the connector was trained with.
        """
        if modality not in self._encoders:
            self._encoders[modality] = self._encoder(modality)
        return self._encoders[modality]

    @torch.inference_mode()
    def placed(self, rows: Float[Tensor, "n side_dim"], modality: Modality) -> Float[Tensor, "n dim"]:
        """Rows of one side's encoder in the space that both share, L2-normalised: mapped, where this side is."""
        unit = functional.normalize(rows.float().to(self._device), dim=-1)
        mapped = self.config["direction"].startswith(modality)
        return functional.normalize(self._connector(unit), dim=-1) if mapped else unit

    def _spec(self, modality: Modality) -> EncoderSpec:
        written = dict(self.config[f"{modality}_encoder"])
        facts = {key: written.pop(key, None) for key in ("id", *ENCODER_FACTS)}
        return EncoderSpec(**facts, options=written)

    def _encoder(self, modality: Modality) -> Encoder:
        spec = self._spec(modality)
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
    def _embedded(self, modality: Modality, samples: list[Any], batch_size: int) -> Float[Tensor, "n dim"]:
        encoder = self.encoder(modality)
        rows = [encoder.encode(samples[i : i + batch_size]) for i in range(0, len(samples), batch_size)]
        whole = np.concatenate(rows) if rows else np.zeros((0, encoder.info.dim), np.float32)
        return functional.normalize(torch.from_numpy(whole).float().to(self._device), dim=-1)


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
