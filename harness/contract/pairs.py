"""The words that everything else is about: a pair, its sides, and the kinds of methods."""

from typing import Literal, TypeAlias

Pair: TypeAlias = tuple[str, str]
"""(image encoder id, text encoder id)."""

Direction: TypeAlias = Literal["text_to_image", "image_to_text"]
"""Which side the connector maps, and into which space."""

Kind: TypeAlias = Literal["per_pair", "joint", "score"]
"""``per_pair`` and ``joint`` train connectors, one cell per pair or one for all; ``score`` ranks without connectors."""
