"""Tiny causal language models with random weights, and a world of plain pictures whose captions name their colour."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from harness.encoders.base import EncoderSpec
from harness.encoders.causal_lm import CausalLmScheme, TransformersLanguageModel
from harness.encoders.modules import seeded
from harness.encoders.own_language_models import make_tokenizer
from harness.encoders.sentence_transformers import quiet

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "yellow": (255, 255, 0),
}


def random_model(folder: Path, *, layers: int = 2, dim: int = 16, heads: int = 2, spread: float = 0.3) -> Path:
    """Save a GPT-2 with random weights of this spread, and a tokenizer of the colours."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = make_tokenizer([name for name in COLOURS for _ in range(3)], 300)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_layer=layers,
        n_embd=dim,
        n_head=heads,
        n_positions=24,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=spread,
    )
    with seeded(layers * 1000 + dim), quiet():
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def words_of(folder: Path) -> torch.Tensor:
    """``[vocabulary, dim]`` input embeddings as they lie in the file."""
    return load_file(folder / "model.safetensors")["transformer.wte.weight"]


def loaded(folder: Path, tokens: int = 6, **options: Any) -> TransformersLanguageModel:
    """The model in a folder, through the scheme."""
    spec = EncoderSpec(f"local:{folder}", options={"max_tokens": tokens, **options})
    model = CausalLmScheme().load_model(spec)
    assert isinstance(model, TransformersLanguageModel)
    return model


def coloured_pictures(folder: Path, count: int) -> None:
    """Write ``rows.csv``: pictures of one colour with some noise, each captioned with its colour."""
    rng, names, rows = np.random.default_rng(0), list(COLOURS), ["image,caption"]
    for number in range(count):
        name = names[number % len(names)]
        pixels = np.array(COLOURS[name]) + rng.integers(-30, 31, (16, 16, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{name}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


SWEEP = """
    name: colours
    data: {kind: manifest, file: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2, seed: 0}}
    image_encoders: ["packaged:pixels16"]
    language_models: [{id: "local:one", max_tokens: 6}, {id: "local:two", max_tokens: 6}]
    methods: {ape: {epochs: 40, batch_size: 24, lr: 3.0e-2}}
    storage: runs
"""


def token_rows(model: TransformersLanguageModel, captions: list[str]) -> torch.Tensor:
    """The token table of these captions, by hand: numbers, the end token 0, then -1."""
    rows = [[*model.tokenizer.encode(caption, add_special_tokens=False), 0] for caption in captions]
    return torch.tensor([row + [-1] * (model.shape.tokens - len(row)) for row in rows])
