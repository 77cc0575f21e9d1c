"""A world with known truth: encoders are noisy, partial, mildly nonlinear views of shared latent factors.

Image r has latent factors ``z_r ~ N(0, I)`` of ``latent`` dimensions; caption c of image r has ``z_r + caption_noise *
N(0, I)``. Encoder e sees factor k with gain ``g_ek`` (0 for factors it is blind to) and noise ``s_e``; it turns what it
sees into its own ``dim`` directions by a random orthonormal ``Q_e``, squashes every coordinate and adds an offset:

    y = squash(sqrt(dim / seen) * (Q_e (g_e * z + s_e * N(0, I)) + h * N(0, I))) + o_e,    s_e^2 = (1 - q_e) / q_e

with quality ``q_e`` in (0, 1). The squash is strictly monotone, so it hides nothing; it only keeps a linear connector
from being exact. What two encoders share is therefore known in closed form (see ``SyntheticDataset.truth``).

``g_e``, ``Q_e`` and ``o_e`` of two encoders are unrelated, unless the world has families: the encoders of one are then
noisy variants of each other, as models trained from one another are.

The factors are Gaussian, unless the world has ``tails`` (the factors of each image times a random size of its own:
Student's t) or ``products`` (some factors are products of two others: uncorrelated with them, and yet nothing new).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.data.base import Dataset, Index
from harness.data.digests import digest_json
from harness.data.splits import SplitConfig, split_rows
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError

_VERSION = 1
_BLOCK = 1024  # rows drawn together; a change changes every embedding
_ISOTROPIC = 0.05  # h: noise in directions that carry no factor
_BLIND = 0.2  # share of the factors that an encoder does not see
_GAIN_SPREAD = 0.35  # standard deviation of log gains
_OFFSET = 0.3
# Streams of random numbers.
_LATENTS, _CAPTIONS, _CLASSES, _QUALITIES, _VIEW, _NOISE, _CLASS_NOISE, _FAMILY, _TAILS = range(9)

Quality = Annotated[float, Field(gt=0, lt=1)]
Size = Annotated[int, Field(ge=1)]
Params = Annotated[float, Field(gt=0)]


class SyntheticConfig(BaseModel):
    """The ``data`` part of kind ``synthetic``.

    Attributes:
        name: Name of the dataset.
        rows: Images.
        image_encoders: Number of image encoders, named ``image00``, ``image01``, ...
        text_encoders: Number of text encoders, named ``text00``, ...
        image_names: Other names, one for each, e.g. of the encoders that these stand in for.
        text_names: The same for text.
        image_dims: Their dimensions, repeated in turn.
        text_dims: The same for text.
        image_params: Parameter counts stated for them, repeated in turn, for reports and constraints; they change no
            embedding.
        text_params: The same for text.
        image_qualities: Qualities, repeated in turn; by default spread over 0.25 to 0.9 in an order drawn by the seed.
        text_qualities: The same for text.
        image_families: Families of the image encoders: number n is of family n mod ``image_families``, which must be
            a multiple of the number of ``image_dims``, so that a family has one dimension. None: all are unrelated.
        text_families: The same for text.
        family_noise: How far the variants of a family lie from it, relative to what they share: 0 gives them the same
            factors, gains and coordinates (their qualities and noise still differ), 1 as much of their own.
        latent: Number of latent factors.
        captions_per_image: Captions of every image.
        caption_noise: Standard deviation of what a caption says beside its image.
        nonlinearity: 0 (linear) to below 1.
        tails: Degrees of freedom of the factors' Student's t distribution, scaled to unit variance; None: Gaussian.
        products: Share of the factors that are products of two of the others.
        classes: Number of classes for zero-shot classification; 0 for none.
        seed: Seed of the world.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["synthetic"] = "synthetic"
    name: str = "synthetic"
    rows: Size
    image_encoders: Size
    text_encoders: Size
    image_names: list[str] | None = None
    text_names: list[str] | None = None
    image_dims: Annotated[list[Size], Field(min_length=1)] = [64]
    text_dims: Annotated[list[Size], Field(min_length=1)] = [64]
    image_params: Annotated[list[Params], Field(min_length=1)] | None = None
    text_params: Annotated[list[Params], Field(min_length=1)] | None = None
    image_qualities: Annotated[list[Quality], Field(min_length=1)] | None = None
    text_qualities: Annotated[list[Quality], Field(min_length=1)] | None = None
    image_families: Size | None = None
    text_families: Size | None = None
    family_noise: Annotated[float, Field(ge=0)] = 0.3
    latent: Size = 32
    captions_per_image: Size = 1
    caption_noise: Annotated[float, Field(ge=0)] = 0.3
    nonlinearity: Annotated[float, Field(ge=0, lt=1)] = 0.3
    tails: Annotated[float, Field(gt=2)] | None = None
    products: Annotated[float, Field(ge=0, lt=1)] = 0.0
    classes: Annotated[int, Field(ge=0)] = 10
    seed: Annotated[int, Field(ge=0)] = 0
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _has_room(self) -> "SyntheticConfig":
        if self.classes == 1:
            raise ValueError("classes must be 0 or at least 2")
        if self.products and self.latent - round(self.products * self.latent) < 3:
            raise ValueError(f"products {self.products:g} leaves fewer than 3 of {self.latent} factors to multiply")
        for names, count in ((self.image_names, self.image_encoders), (self.text_names, self.text_encoders)):
            if names is not None and len(set(names)) != count:
                raise ValueError(f"{len(set(names))} different names for {count} encoders")
        for side, families, dims in (
            ("image", self.image_families, self.image_dims),
            ("text", self.text_families, self.text_dims),
        ):
            if families is not None and families % len(dims):
                raise ValueError(f"{side}_families {families} is no multiple of the {len(dims)} {side}_dims")
        return self


@dataclass(frozen=True)
class SyntheticView:
    """What makes the embeddings of one encoder of the world.

    Attributes:
        quality: ``q`` in (0, 1).
        gains: ``[latent]`` gains, 0 where it is blind.
        noise: Standard deviation ``s`` of the noise on every seen factor.
        directions: ``[dim, seen]`` orthonormal directions of the seen factors.
        offset: ``[dim]`` constant part of every embedding.
    """

    quality: float
    gains: Float[np.ndarray, " latent"]
    noise: float
    directions: Float[np.ndarray, "dim seen"]
    offset: Float[np.ndarray, " dim"]

    @property
    def reliability(self) -> Float[np.ndarray, " latent"]:
        """Squared correlation of each factor with what the encoder shows of it."""
        return self.gains**2 / (self.gains**2 + self.noise**2 + _ISOTROPIC**2)


class SyntheticDataset(Dataset):
    """A synthetic world of chosen size with known truth.

    Every encoder has its own stream of random numbers, and any slice of rows is the same however it is asked for.
    """

    Config: ClassVar[type[SyntheticConfig]] = SyntheticConfig

    def __init__(self, config: SyntheticConfig) -> None:
        self.name, self._config = config.name, config
        # Numbers of encoders are left out: one more encoder changes nothing for those that are already there.
        world = {"rows", "latent", "captions_per_image", "caption_noise", "classes", "seed"}
        # What is not Gaussian enters where it is asked for, so that other worlds keep their digests.
        bent = config.model_dump(include={"tails", "products"}, exclude_defaults=True)
        self._world = digest_json({"version": _VERSION, **config.model_dump(include=world - {"rows"}), **bent})
        self.digest = digest_json({"version": _VERSION, **config.model_dump(include=world), **bent})
        caption_image = np.repeat(np.arange(config.rows), config.captions_per_image)
        class_names = tuple(f"class{c:02d}" for c in range(config.classes)) or None
        splits = split_rows(config.rows, config.split)
        self._index = Index(config.rows, caption_image, splits, self._labels(), class_names)
        self._block = lru_cache(maxsize=8)(self._draw_block)
        self._view = lru_cache(maxsize=None)(self._draw_view)
        self._names = lru_cache(maxsize=None)(self._name_all)
        self._own = lru_cache(maxsize=None)(self._inform)

    def index(self) -> Index:
        """The rows and splits."""
        return self._index

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo]:
        """The image encoders ``image00``, ... or the text encoders ``text00``, ..."""
        return self._own(modality)

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> Float[np.ndarray, "rows dim"]:
        """Rows [start, stop) of an encoder's embeddings, float32."""
        number = self._names(modality).index(encoder)
        parts = []
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            first = block * _BLOCK
            rows = self._block(modality, number, block)
            parts.append(rows[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def class_embeddings(self, encoder: str) -> Float[np.ndarray, "classes dim"] | None:
        """A text encoder's embeddings of the class prototypes; None in a world without classes."""
        if not self._config.classes:
            return None
        number = self._names("text").index(encoder)
        rng = self._rng(_CLASS_NOISE, number)
        return self._show(self._view("text", number), self._prototypes(), rng)

    def truth(self) -> dict[tuple[str, str], float]:
        """What the two encoders of every pair share, in nats: the true ranking of the pairs.

        The mutual information between an image's and its caption's embeddings, before the L2 normalisation. Factor k
        reaches the image encoder with squared correlation ``a_k = g^2 / (g^2 + s^2 + h^2)`` and the text encoder with
        ``b_k = g^2 / (g^2 (1 + caption_noise^2) + s^2 + h^2)``; the canonical correlations of the pair are
        ``sqrt(a_k b_k)``, so that ``I = -1/2 sum_k log(1 - a_k b_k)``. Monotone squashing does not change it.

        Raises:
            HarnessError: The factors are not Gaussian, and there is no closed form.
        """
        if self._config.tails is not None or self._config.products:
            raise HarnessError(
                "what encoders share is known for Gaussian factors only", where="data", fix="no tails or products"
            )
        images = {name: self._view("image", i).reliability for i, name in enumerate(self._names("image"))}
        texts = {name: self._caption_reliability(i) for i, name in enumerate(self._names("text"))}
        return {
            (image, text): float(-0.5 * np.log1p(-a * b).sum())
            for image, a in images.items()
            for text, b in texts.items()
        }

    def view(self, encoder: str) -> SyntheticView:
        """This encoder's quality, gains, noise, directions and offset."""
        modality: Modality = "image" if encoder in self._names("image") else "text"
        return self._view(modality, self._names(modality).index(encoder))

    def _caption_reliability(self, number: int) -> np.ndarray:
        view = self._view("text", number)
        signal = view.gains**2
        return signal / (signal * (1 + self._config.caption_noise**2) + view.noise**2 + _ISOTROPIC**2)

    def _inform(self, modality: Modality) -> Mapping[str, EncoderInfo]:
        return {encoder: self._info(modality, i) for i, encoder in enumerate(self._names(modality))}

    def _name_all(self, modality: Modality) -> list[str]:
        given = self._config.image_names if modality == "image" else self._config.text_names
        if given is not None:
            return given
        count = self._config.image_encoders if modality == "image" else self._config.text_encoders
        return [f"{modality}{i:02d}" for i in range(count)]

    def _dim(self, modality: Modality, number: int) -> int:
        dims = self._config.image_dims if modality == "image" else self._config.text_dims
        return dims[number % len(dims)]

    def _info(self, modality: Modality, number: int) -> EncoderInfo:
        dim = self._dim(modality, number)
        quality = self._view(modality, number).quality
        identity = [self._world, modality, number, dim, quality, self._config.nonlinearity]
        if (families := self._families(modality)) is not None:
            identity += [families, self._config.family_noise]
        name = self._names(modality)[number]
        stated = self._config.image_params if modality == "image" else self._config.text_params
        params = int(stated[number % len(stated)]) if stated else None
        return EncoderInfo(name, modality, dim, params, revision=digest_json(identity), transform="synthetic")

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, *stream])

    def _quality(self, modality: Modality, number: int) -> float:
        config = self._config
        given = config.image_qualities if modality == "image" else config.text_qualities
        if given is not None:
            return given[number % len(given)]
        count = len(self._names(modality))
        rng = self._rng(_QUALITIES, int(modality == "text"))
        places = (rng.permutation(count) + rng.random(count)) / count  # one in every part of the range, some close
        return float(0.25 + 0.65 * places[number])

    def _families(self, modality: Modality) -> int | None:
        return self._config.image_families if modality == "image" else self._config.text_families

    def _draw_view(self, modality: Modality, number: int) -> SyntheticView:
        quality, dim, latent = self._quality(modality, number), self._dim(modality, number), self._config.latent
        rng = self._rng(_VIEW, int(modality == "text"), number)
        families = self._families(modality)
        if families is None:
            factors, gains, directions, offset = _draw_frame(rng, dim, latent)
        else:
            family = self._rng(_FAMILY, int(modality == "text"), number % families)
            noise = self._config.family_noise
            factors, *shared = _draw_frame(family, dim, latent)
            _, *own = _draw_frame(rng, dim, latent)
            both = [(a + noise * b) / math.hypot(1, noise) for a, b in zip(shared, own, strict=True)]
            gains, directions, offset = both[0], _nearest_frame(both[1]), both[2]
        placed = np.zeros(latent)
        placed[factors] = np.exp(_GAIN_SPREAD * gains)
        return SyntheticView(quality, placed, math.sqrt((1 - quality) / quality), directions, _OFFSET * offset)

    def _show(self, view: SyntheticView, latents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Embeddings of these latents, ``[rows, dim]`` float32."""
        dim, seen = view.directions.shape
        noise = view.noise * rng.standard_normal((len(latents), seen))
        signal = (latents * view.gains)[:, view.gains > 0] + noise
        # float32 from here on: these are the large arrays.
        shown = signal.astype(np.float32) @ view.directions.T.astype(np.float32)
        shown += np.float32(_ISOTROPIC) * rng.standard_normal((len(latents), dim), dtype=np.float32)
        shown *= np.float32(math.sqrt(dim / seen))
        bend = np.float32(self._config.nonlinearity)
        if bend:
            shown += bend * (np.tanh(shown) - shown)
        return shown + view.offset.astype(np.float32)

    def _latents(self, block: int) -> np.ndarray:
        """Latents of one whole block of images; the rows past the last image are drawn too, and not used."""
        config = self._config
        drawn = self._rng(_LATENTS, block).standard_normal((_BLOCK, config.latent))
        if plain := config.latent - round(config.products * config.latent):
            of = np.arange(config.latent - plain)
            drawn[:, plain:] = drawn[:, of % plain] * drawn[:, (of + 1 + of // plain) % plain]
        if config.tails is not None:
            size = self._rng(_TAILS, block).chisquare(config.tails, _BLOCK) / (config.tails - 2)
            drawn /= np.sqrt(size)[:, None]
        return drawn

    def _draw_block(self, modality: Modality, number: int, block: int) -> np.ndarray:
        rng = self._rng(_NOISE, int(modality == "text"), number, block)
        if modality == "image":
            return self._show(self._view(modality, number), self._latents(block), rng)[
                : self._config.rows - block * _BLOCK
            ]
        image_rows = np.arange(block * _BLOCK, (block + 1) * _BLOCK) // self._config.captions_per_image
        first = int(image_rows[0]) // _BLOCK
        drawn = np.concatenate([self._latents(b) for b in range(first, int(image_rows[-1]) // _BLOCK + 1)])
        said = self._rng(_CAPTIONS, block).standard_normal((_BLOCK, self._config.latent))
        latents = drawn[image_rows - first * _BLOCK] + self._config.caption_noise * said
        count = self._config.rows * self._config.captions_per_image
        return self._show(self._view(modality, number), latents, rng)[: count - block * _BLOCK]

    def _prototypes(self) -> np.ndarray:
        """``[classes, latent]`` prototypes, as long as a typical latent."""
        prototypes = self._rng(_CLASSES).standard_normal((self._config.classes, self._config.latent))
        return prototypes * (math.sqrt(self._config.latent) / np.linalg.norm(prototypes, axis=1, keepdims=True))

    def _labels(self) -> np.ndarray | None:
        """The class of an image is the prototype that its latents point to most."""
        if not self._config.classes:
            return None
        prototypes = self._prototypes()
        blocks = range(-(-self._config.rows // _BLOCK))
        labels = [np.argmax(self._latents(block) @ prototypes.T, axis=1) for block in blocks]
        return np.concatenate(labels)[: self._config.rows].astype(np.int64)


def _draw_frame(rng: np.random.Generator, dim: int, latent: int) -> tuple[np.ndarray, ...]:
    """Seen factors, their log gains (standard normal), orthonormal directions ``[dim, seen]``, offset (the same)."""
    seen = min(dim, max(1, round((1 - _BLIND) * latent)))
    gains = rng.standard_normal(seen)
    factors = rng.permutation(latent)[:seen]
    directions = np.linalg.qr(rng.standard_normal((dim, seen)))[0]
    return factors, gains, directions, rng.standard_normal(dim)


def _nearest_frame(matrix: np.ndarray) -> np.ndarray:
    """The matrix of orthonormal columns that is nearest to this one (polar decomposition)."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right
