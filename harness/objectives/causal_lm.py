"""The causal loss of a caption behind the prefix that a connector makes of its image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.connector import Connector, Dims
from harness.contract.language import PAD, Language
from harness.contract.objective import LogitScale, ObjectiveSetting
from harness.contract.pairs import Pair
from harness.contract.split import Batch
from harness.errors import HarnessError


@dataclass(frozen=True)
class CausalLmKind:
    """The objective ``causal_lm`` with the language models of a sweep.

    Attributes:
        language: The models.
    """

    language: Language

    def __call__(self, setting: ObjectiveSetting) -> "CausalLm":
        """The objective of one training."""
        return CausalLm(setting, self.language)

    def step_flops(self, dims: Dims, pair: Pair, batch_size: int) -> Mapping[str, float]:
        """The model forward and backward to its inputs, head and logits of the caption's tokens included."""
        return {"logits": self.language.shapes[pair[1]].step_flops(batch_size, self.language.prefix)}

    def target_norm(self, pair: Pair, device: torch.device) -> float:
        """See ``ScalesTargets``: the length of the model's own input embeddings."""
        return self.language.load(pair[1], device).embedding_norm

    def trained_params(self, pairs: int, logit_scale: LogitScale) -> int:
        """None: the language model is frozen, and there is no temperature."""
        return 0


class CausalLm:
    """Mean negative log-likelihood of the tokens of a batch's captions, each behind its image's prefix.

    Args:
        setting: Where to compute. A temperature plays no part.
        language: The language models; without them there is nothing to minimise.
    """

    def __init__(self, setting: ObjectiveSetting, language: Language | None = None) -> None:
        if language is None:
            raise needs_language_models()
        self._setting, self._language = setting, language

    @classmethod
    def of_language(cls, language: Language) -> CausalLmKind:
        """See ``OfLanguage``."""
        return CausalLmKind(language)

    def parameters(self) -> Sequence[Tensor]:
        """Nothing is trained beside the connector."""
        return ()

    def loss(self, connector: Connector, pair: Pair, batch: Batch) -> Float[Tensor, ""]:
        """The mean over the caption tokens of the batch, end tokens included."""
        model = self._language.load(pair[1], self._setting.device)
        mapped = connector(batch.image(pair[0]).to(self._setting.dtype)).to(torch.float32)
        tokens = batch.tokens(pair[1])
        losses = model.losses(mapped.view(len(mapped), self._language.prefix, -1), tokens)
        return losses.sum() / (tokens != PAD).sum()

    @classmethod
    def step_flops(cls, dims: Dims, pair: Pair, batch_size: int) -> Mapping[str, float]:
        """Not known without the language models: see ``CausalLmKind``."""
        raise needs_language_models()

    @classmethod
    def trained_params(cls, pairs: int, logit_scale: LogitScale) -> int:
        """None."""
        return 0


def needs_language_models() -> HarnessError:
    """What is said where the text side has no language models."""
    return HarnessError("causal_lm needs language models", fix="list language_models instead of text_encoders")
