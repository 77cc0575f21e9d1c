"""Small causal language models of one's own: a byte-pair tokenizer and GPT-2, trained on captions.

A training text holds the captions of one image, one after the other: that what stands before says something of what
follows is what a prefix builds on, and single captions of few words would not teach it.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from harness.contract.language import PAD
from harness.contract.seeding import generator
from harness.encoders.modules import seeded
from harness.encoders.sentence_transformers import quiet

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|end|>"
"""Begins and ends every caption."""

CONTEXT = 64

Text: TypeAlias = Sequence[str]
"""Captions that are read one after the other."""


@dataclass(frozen=True)
class OwnModel:
    """The size of one model.

    Attributes:
        layers: Blocks.
        dim: Dimension; heads of 32 where that divides it, else one head.
    """

    layers: int
    dim: int

    @property
    def name(self) -> str:
        """Names its folder."""
        return f"gpt2-{self.layers}x{self.dim}"


@dataclass(frozen=True)
class Trained:
    """How a training ended.

    Attributes:
        params: Parameters of the model.
        epochs: Passes until the best validation loss.
        perplexity: Of the validation texts, per token with end tokens.
    """

    params: int
    epochs: int
    perplexity: float


def make_tokenizer(captions: Sequence[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """A byte-level byte-pair tokenizer of these captions; the end token is number 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


def texts_of(captions: Sequence[Sequence[str]]) -> list[Text]:
    """The captions of every image, each of them first once."""
    return [[*own[first:], *own[:first]] for own in captions for first in range(len(own))]


def token_table(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[Text], tokens: int) -> torch.Tensor:
    """``[texts, tokens]`` numbers with the end token after every caption, then ``PAD``; cut at the width."""
    table = np.full((len(texts), tokens), PAD, dtype=np.int64)
    for row, text in zip(table, texts, strict=True):
        numbers = [n for caption in text for n in (*tokenizer.encode(caption, add_special_tokens=False), 0)][:tokens]
        row[: len(numbers)] = numbers
    return torch.from_numpy(table)


def train_own(
    size: OwnModel,
    tokenizer: "PreTrainedTokenizerFast",
    train: Sequence[Text],
    validation: Sequence[Text],
    folder: Path,
    *,
    seed: int,
    epochs: int = 60,
    patience: int = 4,
    batch_size: int = 64,
    tokens: int = 24,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Trained:
    """Train one model until its validation loss stops falling, and save the best one with its tokenizer.

    Args:
        size: Of the model.
        tokenizer: Made of the training captions.
        train: Training texts, see ``texts_of``.
        validation: Texts that say when to stop.
        folder: Where to save.
        seed: Of weights, order and dropout.
        epochs: Most passes.
        patience: Passes without a better loss after which training ends.
        batch_size: Texts of a step.
        tokens: Texts are cut there.
        report: Told of every pass and its validation loss.
    """
    model = _fresh(size, len(tokenizer), seed)
    rows, asked = token_table(tokenizer, train, tokens), token_table(tokenizer, validation, tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    order, best, best_state = generator(seed, "caption order"), (math.inf, 0), {}
    with seeded(seed):
        for epoch in range(1, epochs + 1):
            model.train()
            for at in torch.randperm(len(rows), generator=order).split(batch_size):
                optimizer.zero_grad(set_to_none=True)
                _loss(model, rows[at]).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            loss = _mean_loss(model, asked)
            report(epoch, loss)
            if loss < best[0]:
                best, best_state = (loss, epoch), {name: t.clone() for name, t in model.state_dict().items()}
            elif epoch - best[1] >= patience:
                break
    model.load_state_dict(best_state)
    # The config is what says that a model is there, so it comes last.
    with quiet(), tempfile.TemporaryDirectory() as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(made).iterdir(), key=lambda file: file.name == "config.json"):
            shutil.move(file, folder / file.name)
    return Trained(sum(p.numel() for p in model.parameters()), best[1], math.exp(best[0]))


def _fresh(size: OwnModel, vocabulary: int, seed: int) -> "GPT2LMHeadModel":
    from transformers import GPT2Config, GPT2LMHeadModel

    heads = size.dim // 32 if size.dim % 32 == 0 else 1
    config: dict[str, Any] = {"n_layer": size.layers, "n_embd": size.dim, "n_head": heads, "n_positions": CONTEXT}
    with seeded(seed):
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, use_cache=False, **config)
        )


def _loss(model: "GPT2LMHeadModel", rows: torch.Tensor) -> torch.Tensor:
    """Mean over the captions' tokens, the end token included; a start token stands before them."""
    started = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), rows], dim=1)
    labels = torch.where(started == PAD, -100, started)
    labels[:, 0] = -100
    width = 1 + int((rows != PAD).sum(1).max())
    return model(input_ids=started[:, :width].clamp_min(0), labels=labels[:, :width]).loss


@torch.no_grad()
def _mean_loss(model: "GPT2LMHeadModel", rows: torch.Tensor) -> float:
    model.eval()
    total = count = 0.0
    for part in rows.split(256):
        here = float((part != PAD).sum())
        total, count = total + float(_loss(model, part)) * here, count + here
    return total / max(1.0, count)
