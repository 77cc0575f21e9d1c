"""The language models of a sweep, as its objective and its tasks are given them."""

from collections.abc import Mapping

import torch

from harness.contract.connector import ConnectorKind, prefix_length
from harness.contract.language import Language, LanguageModel
from harness.encoders.base import scheme_of
from harness.encoders.language_models import LoadsLanguageModels
from harness.errors import HarnessError
from harness.sweep.config import Sweep
from harness.sweep.encoders import SweepEncoder
from harness.sweep.located import place


def language_of(sweep: Sweep, connector: ConnectorKind, texts: Mapping[str, SweepEncoder]) -> Language | None:
    """The language models; None where the text side holds encoders.

    Raises:
        HarnessError: Start token, prefix and caption are longer than a model's context.
    """
    shapes = {name: encoder.info.language for name, encoder in texts.items() if encoder.info.language is not None}
    if not shapes:
        return None
    prefix = prefix_length(connector)
    for name, shape in shapes.items():
        if 1 + shape.length(prefix) > shape.context:
            raise HarnessError(
                f"{name!r} reads {shape.context} tokens, fewer than start, prefix {prefix}"
                f"{f', prompt {shape.prompt}' if shape.prompt else ''} and caption {shape.tokens}",
                where=place(sweep.source, "language_models"),
                fix="give it a smaller max_tokens",
            )
    specs = {name: encoder.spec for name, encoder in texts.items()}

    def load(name: str, device: torch.device) -> LanguageModel:
        scheme = scheme_of(specs[name])
        if not isinstance(scheme, LoadsLanguageModels):
            raise HarnessError(f"scheme {specs[name].scheme!r} loads no language models", where=name)
        return scheme.load_model(specs[name], device=str(device))

    return Language(shapes, prefix, load, trimmed=sweep.connector.bucket_batches > 1)
