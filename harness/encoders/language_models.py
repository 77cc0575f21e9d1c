"""What the harness asks of a scheme of causal language models, beside what it asks of every scheme."""

from typing import Protocol, runtime_checkable

from harness.contract.language import LanguageModel
from harness.encoders.base import EncoderSpec


@runtime_checkable
class LoadsLanguageModels(Protocol):
    """A scheme of causal language models."""

    def load_model(self, spec: EncoderSpec, *, device: str = "cpu") -> LanguageModel:
        """Read the weights, frozen.

        Raises:
            HarnessError: The weights cannot be had.
        """
        ...
