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

    def batch_flops(self, dims: Dims, pair: Pair, batch: Batch) -> Mapping[str, float]:
        """See ``CostsByBatch``: the same for captions as long as the batch's longest, where it is read so far only."""
        width = batch.longest(pair[1]) if self.language.trimmed else None
        return {"logits": self.language.shapes[pair[1]].step_flops(len(batch), self.language.prefix, width)}

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
        mapped = connector(batch.image(pair[0]).to(self._setting.dtype))
        return self._losses(mapped[None], pair[1], batch)[0]

    def stacked_loss(self, connector: Connector, pairs: Sequence[Pair], batch: Batch) -> Float[Tensor, " pairs"]:
        """``[pairs]`` losses of connectors of equal shape: the image encoders of a language model in one forward."""
        rows = torch.stack([batch.image(pair[0]) for pair in pairs]).to(self._setting.dtype)
        mapped = connector(rows)
        found: dict[int, Tensor] = {}
        for name in dict.fromkeys(text for _, text in pairs):
            own = [row for row, pair in enumerate(pairs) if pair[1] == name]
            found |= dict(zip(own, self._losses(mapped[own], name, batch), strict=True))
        return torch.stack([found[row] for row in range(len(pairs))])

    def _losses(self, mapped: Float[Tensor, "pairs batch prefix_dim"], name: str, batch: Batch) -> Tensor:
        """``[pairs]`` losses of one language model behind what the connectors of several pairs made."""
        model, tokens = self._language.load(name, self._setting.device), batch.tokens(name)
        if self._language.trimmed:
            tokens = tokens[:, : batch.longest(name)]
        prefix = mapped.to(torch.float32).reshape(-1, self._language.prefix, mapped.shape[-1] // self._language.prefix)
        losses = model.losses(prefix, tokens.repeat(len(mapped), 1))
        return losses.view(len(mapped), -1).sum(1) / (tokens != PAD).sum()

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
