"""What a sweep file with language models need not write, and what it must not."""

from collections.abc import Mapping
from typing import Any

TASK, METRIC = "caption_perplexity", "perplexity"


def with_language_defaults(value: Any) -> Any:
    """The file's content with direction, objective, task and selection where ``language_models`` are listed."""
    if not isinstance(value, Mapping) or value.get("language_models") is None:
        return value
    filled = {"tasks": [TASK], "selection": {"task": TASK, "metric": METRIC}, **value}
    connector = value.get("connector") or {}
    if isinstance(connector, Mapping):
        filled["connector"] = {"direction": "image_to_text", "loss": "causal_lm", **connector}
    return filled


def check_one_text_side(text_encoders: object, language_models: object, direction: str, bucket_batches: int) -> None:
    """Refuse two kinds of text side, connectors that would map a language model's side, and lengths of no tokens.

    Raises:
        ValueError: There are.
    """
    if language_models is not None and text_encoders is not None:
        raise ValueError("text_encoders and language_models are both given: list one of them")
    if language_models is not None and direction != "image_to_text":
        raise ValueError("language models are mapped into: connector.direction is image_to_text")
    if language_models is None and bucket_batches > 1:
        raise ValueError("connector.bucket_batches sorts captions by their tokens, which only language models have")
