"""What a causal language model's config says of it, before its weights are read."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.contract.language_shape import LanguageShape
from harness.encoders.base import EncoderSpec
from harness.encoders.common import file_digest
from harness.encoders.modules import parameters
from harness.errors import HarnessError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def facts_of(name: str, folder: Path, tokens: int) -> tuple[LanguageShape, int]:
    """(shape, parameters) of the model in a folder, built without weights.

    Args:
        name: Its id, for messages.
        folder: Holds ``config.json``.
        tokens: Width of its token tables.

    Raises:
        HarnessError: No causal language model.
    """
    try:
        shape, params = _facts(str(folder), file_digest(folder / "config.json"))
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise HarnessError(f"not a causal language model: {line}", where=name) from error
    return LanguageShape(tokens=tokens, **shape), params


@functools.lru_cache(maxsize=64)
def _facts(folder: str, digest: str) -> tuple[Mapping[str, int], int]:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    matrices = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    heads = int(config.num_attention_heads)
    shape = {
        "dim": int(table.embedding_dim),
        "layers": int(config.num_hidden_layers),
        "width": heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        "weights": sum(m.weight.numel() for m in matrices),
        "vocabulary": int(config.vocab_size),
        "context": int(config.max_position_embeddings),
    }
    return shape, parameters(model)


def prompt_tokens(folder: Path | None, prompt: str) -> int:
    """Tokens of a prompt; where the model's tokenizer is not at hand, one for each word stands in.

    Args:
        folder: Holds the model's files; None: not at hand.
        prompt: The text.
    """
    if not prompt or folder is None or not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return len(prompt.split())
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return len(tokenizer.encode(prompt, add_special_tokens=False))


def stated_shape(spec: EncoderSpec, tokens: int, options: Mapping[str, Any]) -> LanguageShape:
    """The shape that a sweep file states of a model whose config is not at hand.

    The matrices of a block are taken to be GPT-2's: 12 dim^2.

    Raises:
        HarnessError: It does not state enough.
    """
    lacking = [name for name in ("layers", "vocabulary") if not options[name]]
    if spec.dim is None or lacking:
        what = "local folder is not there" if spec.scheme == "local" else "config is not in the hub's cache"
        raise HarnessError(
            f"its {what}, and its {', '.join(['dim'] * (spec.dim is None) + lacking)} not stated",
            where=spec.id,
            fix="harness language-models SWEEP makes small models of a sweep's captions"
            if spec.scheme == "local"
            else "download it once, or write {id: ..., dim: ..., layers: ..., vocabulary: ..., context: ...}",
        )
    return LanguageShape(
        dim=spec.dim,
        layers=options["layers"],
        width=options["width"] or spec.dim,
        weights=12 * options["layers"] * spec.dim**2,
        vocabulary=options["vocabulary"],
        context=options["context"] or 1024,
        tokens=tokens,
    )


def licence_of(folder: Path) -> str | None:
    """The licence that a model folder's card states."""
    card = folder / "README.md"
    found = re.search(r"^license:\s*(\S+)", card.read_text(encoding="utf-8"), re.MULTILINE) if card.is_file() else None
    return found.group(1) if found else None
