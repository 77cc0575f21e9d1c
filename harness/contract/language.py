"""Frozen causal language models: what planning knows of one, and what objectives and tasks ask of one.

A sequence is the start token, the prefix that a connector made of an image, the model's prompt if it has one, and the
caption with its end token. Only the caption is predicted. Token tables are ``[captions, tokens]``, cut or padded to one
width with ``PAD``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from harness.contract.language_shape import LanguageShape

PAD = -1
"""Stands in a token table where a caption has no token any more."""


@runtime_checkable
class LanguageModel(Protocol):
    """A loaded, frozen language model on its device."""

    shape: LanguageShape

    @property
    def embedding_norm(self) -> float:
        """Mean L2 norm of its input embeddings: what a prefix should measure."""
        ...

    def losses(
        self, prefix: Float[Tensor, "rows prefix dim"], tokens: Int64[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens"]:
        """Negative log-likelihood of every caption token in nats, 0 where there is none; differentiable in the prefix.

        Args:
            prefix: Stands between the start token and what follows; may be of no position.
            tokens: Rows of a token table, or their first columns where the others are padding.
        """
        ...

    def continuations(self, prefix: Float[Tensor, "rows prefix dim"], most: int) -> list[str]:
        """The greedy caption of every prefix, of so many tokens at most."""
        ...


LoadLanguageModel = Callable[[str, torch.device], LanguageModel]
"""(id, device) -> the model; read once for each process and device."""


@dataclass(frozen=True)
class Language:
    """The language models of a sweep, as objectives and tasks are given them.

    Attributes:
        shapes: Id -> what is known of the model.
        prefix: Input embeddings that the sweep's connectors make of an image.
        load: Reads a model.
        trimmed: Whether a training batch is read only as far as its longest caption goes.
    """

    shapes: Mapping[str, LanguageShape]
    prefix: int
    load: LoadLanguageModel
    trimmed: bool = False
