"""What the harness asks of a frozen pretrained encoder: the page an encoder author reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num
from PIL.Image import Image

from harness.contract.language_shape import LanguageShape
from harness.contract.registry import Registry
from harness.errors import HarnessError

Modality = Literal["image", "text", "tokens"]
"""What an encoder embeds; ``tokens`` are captions as a language model reads them."""


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder as the sweep file writes it: ``scheme:name`` plus optional facts and options.

    Attributes:
        id: ``scheme:name``, e.g. ``timm:vit_small_patch16_224.augreg_in21k_ft_in1k``.
        dim: Embedding dimension, stated so that a sweep can be planned where the hub cannot be reached.
        params: Parameter count, stated for the same reason.
        options: Further options of the scheme (e.g. ``pretrained: false``); they are part of the encoder's revision.
        license: Licence of the weights, stated where the scheme does not know it.
        flops_per_sample: Forward FLOPs of one sample, stated where they cannot be counted.
        seconds_per_sample: Seconds of one sample, stated, e.g. for other hardware than the extraction runs on.
    """

    id: str
    dim: int | None = None
    params: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None
    flops_per_sample: float | None = None
    seconds_per_sample: float | None = None

    @property
    def scheme(self) -> str:
        """What stands before the first colon."""
        return self.id.partition(":")[0]

    @property
    def name(self) -> str:
        """What stands after the first colon."""
        return self.id.partition(":")[2]


@dataclass(frozen=True)
class EncoderInfo:
    """What is known of an encoder without reading its weights.

    Attributes:
        id: The id of the sweep file; the name of the encoder everywhere.
        modality: ``"image"``, ``"text"`` or ``"tokens"``.
        dim: Embedding dimension; of ``tokens`` the width of the token table.
        params: Parameter count, None if unknown.
        input_size: (channels, height, width) of an image encoder, None otherwise.
        license: Licence of the weights, if known.
        revision: Changes whenever the weights or the options change.
        transform: Canonical description of the preprocessing (resize, crop, mean, std; tokenizer, max tokens).
        flops_per_sample: Forward FLOPs of one sample, None if not known before the weights are loaded.
        seconds_per_sample: Seconds of one sample where they are stated; else the extraction measures them.
        language: What more is known of a language model, whose ``text`` embedding of a caption is the mean of the input
            embeddings of its tokens; None for an encoder.
    """

    id: str
    modality: Modality
    dim: int
    params: int | None = None
    input_size: tuple[int, int, int] | None = None
    license: str | None = None
    revision: str = ""
    transform: str = ""
    flops_per_sample: float | None = None
    seconds_per_sample: float | None = None
    language: LanguageShape | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a sweep file may state of an encoder."""
        return {
            "dim": self.dim,
            "params": self.params,
            "license": self.license,
            "flops_per_sample": self.flops_per_sample,
            "seconds_per_sample": self.seconds_per_sample,
        }


@runtime_checkable
class Encoder(Protocol):
    """A loaded encoder."""

    info: EncoderInfo

    def encode(self, samples: Sequence[Image] | Sequence[str]) -> Num[np.ndarray, "n dim"]:
        """Embed one batch of PIL images or strings: float32 ``[n, dim]``, not yet normalised; tokens: int32."""
        ...

    def forward_flops(self) -> float | None:
        """Forward FLOPs of one sample (fvcore's MACs doubled); None when the graph cannot be counted."""
        ...


@runtime_checkable
class HasWeights(Protocol):
    """A loaded encoder that can say which weights it has.

    A name such as ``main`` or a model's plain name may mean other weights tomorrow; what was loaded does not change.
    """

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        ...


@runtime_checkable
class Fetches(Protocol):
    """A scheme whose weights may have to be downloaded first."""

    def to_fetch(self, spec: "EncoderSpec", modality: Modality) -> bool:
        """Whether this encoder's weights are neither on this machine nor made here. Asks no server."""
        ...


@runtime_checkable
class Scheme(Protocol):
    """One way to name and load encoders: one file of this folder."""

    def names(self, modality: Modality) -> list[str]:
        """Names that can be listed cheaply (``harness ls encoders``), without the scheme."""
        ...

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """What is known before the weights are read. Downloads nothing.

        Raises:
            HarnessError: Unknown name, or a package that is not installed.
        """
        ...

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail now, within seconds, if the weights cannot be had; called before any work starts. Loads nothing.

        Raises:
            HarnessError: One line says what was tried and what to install or set.
        """
        ...

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Read the weights.

        Raises:
            HarnessError: The weights cannot be had; one line says what was tried and what to install or set.
        """
        ...


SCHEMES: Registry[type[Scheme]] = Registry(
    "encoder scheme",
    {
        "timm": "harness.encoders.timm:TimmScheme",
        "open_clip": "harness.encoders.open_clip:OpenClipScheme",
        "st": "harness.encoders.sentence_transformers:SentenceTransformersScheme",
        "packaged": "harness.encoders.packaged:PackagedScheme",
        "synthetic": "harness.encoders.synthetic:SyntheticScheme",
        "hf": "harness.encoders.hf:HfScheme",
        "local": "harness.encoders.hf:LocalScheme",
    },
    group="harness.encoders",
)


def scheme_of(spec: EncoderSpec) -> Scheme:
    """The scheme object that an encoder's id names.

    Raises:
        HarnessError: The id is not ``scheme:name``, or the scheme is unknown.
    """
    if not spec.scheme or not spec.name:
        known = ", ".join(SCHEMES.names())
        raise HarnessError(f"encoder id {spec.id!r} is not written scheme:name", fix=f"schemes: {known}")
    return SCHEMES.get(spec.scheme)()
