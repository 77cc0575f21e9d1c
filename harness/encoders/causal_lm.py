"""``hf:NAME@REVISION`` and ``local:DIR``: causal language models through transformers, frozen.

Safetensors only, and no code of a repository is run.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor, nn
from torch.nn import functional

from harness.contract.language import PAD, LanguageModel
from harness.contract.language_shape import LanguageShape
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.common import folder_digest, mean_of_rows, options_of
from harness.encoders.hub import WeightSource, guarded, hub_source, without_network
from harness.encoders.language_facts import facts_of, licence_of, prompt_tokens, stated_shape
from harness.encoders.modules import digest_of
from harness.encoders.sentence_transformers import quiet
from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FIX = "connect once, or name a local folder: local:DIR"


class CausalLmScheme:
    """Options.

    max_tokens: captions are cut there, end token included (default 32); prompt: text between the image's prefix and the
    caption, which is read and not predicted; dtype: float32, bfloat16 or float16 of the
    weights; layers, width, vocabulary, context: facts, stated for planning where the model's config is not at hand.
    """

    def names(self, modality: Modality) -> list[str]:
        """Well-known small models of the hub; any other causal model works as well."""
        return ["openai-community/gpt2", "facebook/opt-125m", "EleutherAI/pythia-160m"] if modality == "text" else []

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Facts from the model's config; where that is not at hand, those that the spec states."""
        options = _options(spec, modality)
        folder, tokens = _folder(spec), options["max_tokens"]
        if folder is None:
            shape, params, licence = stated_shape(spec, tokens, options), spec.params, spec.license
        else:
            shape, params = facts_of(spec.id, folder, tokens)
            licence = licence_of(folder)
        revision = f"folder:{folder_digest(folder)}" if folder and spec.scheme == "local" else spec.name
        prompt = options["prompt"]
        shape = replace(shape, prompt=prompt_tokens(folder, prompt))
        read = f"causal language model, max_tokens={tokens}, dtype={options['dtype']}"
        read += f", prompt={prompt!r}" if prompt else ""
        return EncoderInfo(
            id=spec.id,
            modality=modality,
            dim=tokens if modality == "tokens" else shape.dim,
            params=None if params is None else int(params),
            license=licence,
            revision=revision,
            transform=f"{read}, {'token numbers' if modality == 'tokens' else 'mean input embedding'}",
            flops_per_sample=0.0,  # tables are looked up; what the model itself costs is the objective's
            language=shape,
        )

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail now, not later, when the weights cannot be had."""
        _options(spec, modality)
        source = _source(spec)
        if source is not None:
            source.require()
        elif _folder(spec) is None:
            raise HarnessError(
                f"no such folder: {spec.name}",
                where=spec.id,
                fix="harness language-models SWEEP makes small models of a sweep's captions",
            )

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """What embeds captions: as tokens, or as the mean of their tokens' input embeddings."""
        model, info = _loaded(spec, device), self.describe(spec, modality)
        return CaptionTokens(info, model) if modality == "tokens" else MeanEmbedding(info, model)

    def load_model(self, spec: EncoderSpec, *, device: str = "cpu") -> LanguageModel:
        """The frozen model, read once for each process and device."""
        return _loaded(spec, device)


class TransformersLanguageModel:
    """A causal model of transformers and its tokenizer, frozen. See ``harness.contract.language.LanguageModel``.

    Args:
        name: The id, for messages.
        shape: What is known of it.
        model: The model, on its device.
        tokenizer: Its tokenizer.
        prompt: Text between prefix and caption, which is read and not predicted.

    Raises:
        HarnessError: The tokenizer has no end token.
    """

    def __init__(
        self,
        name: str,
        shape: LanguageShape,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompt: str = "",
    ) -> None:
        self.tokenizer, self.prompt = tokenizer, prompt
        self._asked = cast("list[int]", tokenizer.encode(prompt, add_special_tokens=False)) if prompt else []
        self.shape = replace(shape, prompt=len(self._asked))
        self.model = model.eval().requires_grad_(False)
        end, start = cast("int | None", tokenizer.eos_token_id), cast("int | None", tokenizer.bos_token_id)
        if end is None:
            raise HarnessError("its tokenizer has no end token", where=name, fix="use another model")
        self.end, self.start = end, end if start is None else start

    @property
    def table(self) -> Float[Tensor, "vocabulary dim"]:
        """The input embeddings."""
        return cast("nn.Embedding", self.model.get_input_embeddings()).weight

    @property
    def embedding_norm(self) -> float:
        """Mean L2 norm of the input embeddings."""
        return float(self.table.float().norm(dim=1).mean())

    def losses(
        self, prefix: Float[Tensor, "rows prefix dim"], tokens: Int64[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens"]:
        """Negative log-likelihood of every caption token in nats, 0 where there is none.

        Padding stands at the end only, where no earlier position attends to it.
        """
        there, ids = tokens != PAD, tokens.clamp_min(0)
        inputs = torch.cat([self._begun(prefix), functional.embedding(ids[:, :-1], self.table)], dim=1)
        logits = self.model(inputs_embeds=inputs, use_cache=False, logits_to_keep=tokens.shape[1]).logits.float()
        return functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none") * there

    @torch.no_grad()
    def continuations(self, prefix: Float[Tensor, "rows prefix dim"], most: int) -> list[str]:
        """Greedy captions."""
        inputs, made = self._begun(prefix), torch.empty(len(prefix), 0, dtype=torch.long, device=prefix.device)
        for _ in range(most):
            logits = self.model(inputs_embeds=inputs, use_cache=False, logits_to_keep=1).logits
            chosen = logits[:, -1].argmax(-1, keepdim=True)
            made = torch.cat([made, chosen], dim=1)
            inputs = torch.cat([inputs, functional.embedding(chosen, self.table)], dim=1)
        rows = [[*row, self.end] for row in made.tolist()]
        return [str(self.tokenizer.decode(row[: row.index(self.end)])).strip() for row in rows]

    def _begun(self, prefix: Float[Tensor, "rows prefix dim"]) -> Float[Tensor, "rows begun dim"]:
        start = self.table[self.start].expand(len(prefix), 1, -1)
        asked = self.table[self._asked].expand(len(prefix), -1, -1)
        return torch.cat([start, prefix.to(self.table.dtype), asked], dim=1)

    def numbers(self, captions: Sequence[str]) -> list[list[int]]:
        """Tokens of captions, cut so that an end token still fits; behind a prompt those that they have there."""
        if not len(captions):
            return []
        most, begun = self.shape.tokens - 1, len(self._asked)
        found = self._numbers(captions, most)
        if not self.prompt:
            return found
        # A word has other tokens behind a space than at the beginning of a text.
        space = "" if self.prompt[-1].isspace() else " "
        behind = self._numbers([f"{self.prompt}{space}{caption}" for caption in captions], begun + most)
        fits = (row[:begun] == self._asked for row in behind)
        return [row[begun:] if fit else own for fit, row, own in zip(fits, behind, found, strict=True)]

    def _numbers(self, texts: Sequence[str], most: int) -> list[list[int]]:
        cut = {"truncation": True, "max_length": most}
        found = self.tokenizer(list(texts), add_special_tokens=False, padding=False, **cut)
        return cast("list[list[int]]", found["input_ids"])


@dataclass
class CaptionTokens:
    """Captions as token tables."""

    info: EncoderInfo
    model: TransformersLanguageModel

    def encode(self, samples: Sequence[Any]) -> Int32[np.ndarray, "n tokens"]:
        """``[n, tokens]`` numbers with the end token, then ``PAD``."""
        table = np.full((len(samples), self.info.dim), PAD, dtype=np.int32)
        for row, numbers in zip(table, self.model.numbers(samples), strict=True):
            row[: len(numbers) + 1] = [*numbers, self.model.end]
        return table

    def forward_flops(self) -> float:
        """Nothing is multiplied."""
        return 0.0


@dataclass
class MeanEmbedding:
    """Captions as the mean of their tokens' input embeddings: where a linear map can aim at."""

    info: EncoderInfo
    model: TransformersLanguageModel

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """``[n, dim]``; a caption without a token is zero."""
        table = self.model.table.float().cpu().numpy()
        rows = [np.array(numbers, dtype=np.int64) for numbers in self.model.numbers(samples)]
        return mean_of_rows(table, rows, empty=np.zeros(table.shape[1], np.float32))

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        return digest_of(self.model.model)

    def forward_flops(self) -> float:
        """Nothing is multiplied."""
        return 0.0


def _options(spec: EncoderSpec, modality: Modality) -> dict[str, Any]:
    if modality == "image":
        raise HarnessError("is a language model, not an image encoder", where=spec.id)
    stated = dict.fromkeys(("layers", "width", "vocabulary", "context"), 0)
    options = options_of(spec, max_tokens=32, prompt="", dtype="float32", **stated)
    if options["dtype"] not in DTYPES:
        raise HarnessError(f"dtype {options['dtype']!r}", where=spec.id, fix=f"one of {', '.join(DTYPES)}")
    if options["max_tokens"] < 2:
        raise HarnessError("max_tokens must be 2 or more: one token and the end", where=spec.id)
    return options


def _name_and_revision(spec: EncoderSpec) -> tuple[str, str]:
    name, _, revision = spec.name.partition("@")
    return name, revision or "main"


def _source(spec: EncoderSpec) -> WeightSource | None:
    """Where the model is fetched from; None: it is a local folder."""
    if spec.scheme == "local":
        return None
    name, revision = _name_and_revision(spec)
    return hub_source(spec.id, name, ("config.json",), fix=FIX, revision=revision)


def _folder(spec: EncoderSpec) -> Path | None:
    """Where the model's config lies: the local folder, or the hub cache's snapshot; None: not at hand."""
    if spec.scheme == "local":
        folder = Path(spec.name).expanduser()
        return folder if (folder / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    name, revision = _name_and_revision(spec)
    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _loaded(spec: EncoderSpec, device: str) -> TransformersLanguageModel:
    options, folder = _options(spec, "text"), _folder(spec)
    stamp = folder_digest(folder) if folder is not None and spec.scheme == "local" else ""
    model = _read(spec.id, options["max_tokens"], options["prompt"], options["dtype"], device, stamp)
    if spec.dim not in (None, model.shape.dim):
        raise HarnessError(f"has dimension {model.shape.dim}, not {spec.dim}", where=spec.id, fix="correct dim")
    return model


@functools.lru_cache(maxsize=64)
def _read(encoder: str, tokens: int, prompt: str, dtype: str, device: str, stamp: str) -> TransformersLanguageModel:
    """A model that is read; ``stamp`` changes with a local folder's content."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = EncoderSpec(encoder)
    local = _folder(spec) if spec.scheme == "local" else None
    name, revision = (str(local), None) if local else _name_and_revision(spec)
    common: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}

    def build() -> tuple[Any, Any]:
        # Plain matrix products for attention: what FLOP counters see, and the same on every device.
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                name, use_safetensors=True, attn_implementation="eager", dtype=DTYPES[dtype], **common
            )
            return model, AutoTokenizer.from_pretrained(name, **common)

    source = _source(spec)
    if source is not None:
        model, tokenizer = source.load(build)
    else:
        CausalLmScheme().check(spec, "text")
        with without_network():
            model, tokenizer = guarded(spec.id, build)
    found = _folder(spec)
    assert found is not None, "it has just been read"
    shape, _ = facts_of(spec.id, found, tokens)
    return TransformersLanguageModel(spec.id, shape, model.to(device), tokenizer, prompt)
