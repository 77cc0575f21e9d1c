"""Grids that exist only on paper: sizes for ``harness plan``, without any embedding."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from harness.contract.language_shape import LanguageShape
from harness.data.base import SPLITS, Dataset, Index
from harness.data.digests import digest_json
from harness.data.splits import SplitConfig, split_rows
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError


class LanguageFacts(BaseModel):
    """What a language model's config says, with the matrices of GPT-2's blocks (12 dim^2) unless ``weights`` says.

    Attributes:
        layers: Blocks.
        vocabulary: Tokens.
        context: Longest sequence.
        max_tokens: Captions are cut there, end token included.
        weights: Entries of the weight matrices of all blocks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: Annotated[int, Field(ge=1)]
    vocabulary: Annotated[int, Field(ge=1)]
    context: Annotated[int, Field(ge=1)] = 1024
    max_tokens: Annotated[int, Field(ge=2)] = 32
    weights: Annotated[int, Field(ge=1)] | None = None

    def shape(self, dim: int) -> LanguageShape:
        """The same with the input dimension."""
        weights = self.weights or 12 * self.layers * dim**2
        return LanguageShape(dim, self.layers, dim, weights, self.vocabulary, self.context, self.max_tokens)


class Shape(BaseModel):
    """One encoder on paper.

    Attributes:
        dim: Embedding dimension.
        params: Parameter count.
        flops_per_sample: Forward FLOPs of one sample.
        language: Of a language model on the text side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: Annotated[int, Field(ge=1)]
    params: Annotated[float, Field(gt=0)] | None = None
    flops_per_sample: Annotated[float, Field(gt=0)] | None = None
    language: LanguageFacts | None = None


def _as_shape(value: Any) -> Any:
    return value if isinstance(value, dict | Shape) else {"dim": value}


ShapesByName = Annotated[dict[str, Annotated[Shape, BeforeValidator(_as_shape)]], Field(min_length=1)]


class ShapesConfig(BaseModel):
    """The ``data`` part of kind ``shapes``.

    Attributes:
        name: Name of the dataset.
        rows: Images.
        image: Image encoder id -> dimension, or ``{dim: ..., params: ..., flops_per_sample: ...}``.
        text: The same for text encoders.
        captions_per_image: Captions of every image.
        classes: Classes of the images; 0 for none.
        split: Shares of the rows; by default all are training rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["shapes"] = "shapes"
    name: str = "shapes"
    rows: Annotated[int, Field(ge=1)]
    image: ShapesByName
    text: ShapesByName
    captions_per_image: Annotated[int, Field(ge=1)] = 1
    classes: Annotated[int, Field(ge=0)] = 0
    split: SplitConfig = SplitConfig(train=1, validation=0, test=0)


class ShapesDataset(Dataset):
    """Row counts and dimensions only, for planning."""

    Config: ClassVar[type[ShapesConfig]] = ShapesConfig

    def __init__(self, config: ShapesConfig) -> None:
        self.name, self._config = config.name, config
        sizes = {"shapes": config.rows, "captions_per_image": config.captions_per_image}
        self.digest = digest_json(sizes | ({"classes": config.classes} if config.classes else {}))

    def index(self) -> Index:
        """The rows and splits, each class as often as the next."""
        config, rows = self._config, np.arange(self._config.rows)
        labels = rows % config.classes if config.classes else None
        if config.split.train == 1:  # nothing to draw
            splits = {name: rows if name == "train" else rows[:0] for name in SPLITS}
        else:
            splits = split_rows(config.rows, config.split)
        return Index(len(rows), np.repeat(rows, config.captions_per_image), splits, labels)

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo]:
        """The encoders of this side."""
        return {encoder: _info(encoder, modality, shape) for encoder, shape in self._shapes(modality).items()}

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """Refuse: a grid on paper has sizes and no embeddings."""
        raise self._planning_only()

    def class_embeddings(self, encoder: str) -> np.ndarray | None:
        """Zeros: only how many there are, and their dimension, is known."""
        return np.zeros((self._config.classes, self._shapes("text")[encoder].dim)) if self._config.classes else None

    def _shapes(self, modality: Modality) -> Mapping[str, Shape]:
        return self._config.image if modality == "image" else self._config.text

    def _planning_only(self) -> HarnessError:
        return HarnessError(
            "shapes are for planning only", where=self.name, fix="harness plan, or data of another kind"
        )


def _info(encoder: str, modality: Modality, shape: Shape) -> EncoderInfo:
    params = None if shape.params is None else int(shape.params)
    revision, language = f"shapes:{shape.dim}", shape.language.shape(shape.dim) if shape.language else None
    dim = language.tokens if language and modality == "tokens" else shape.dim
    flops = 0.0 if language else shape.flops_per_sample  # tables of a language model are looked up
    return EncoderInfo(encoder, modality, dim, params, revision=revision, flops_per_sample=flops, language=language)
