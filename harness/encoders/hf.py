"""``hf:NAME@REVISION`` and ``local:DIR``: image and text encoders of transformers, and its causal language models.

Safetensors only, and no code of a repository is run. A text model with the option ``pooling`` is an encoder; without
it, it is a language model.
"""

import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from harness.contract.registry import near
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.causal_lm import CausalLmScheme, folder_of, name_and_revision, source_of
from harness.encoders.common import CAPTION_TOKENS, file_digest, folder_digest, options_of
from harness.encoders.hub import guarded, without_network
from harness.encoders.language_facts import licence_of
from harness.encoders.modules import TorchImageEncoder, count_forward, digest_of, seeded
from harness.encoders.pooling import POOLINGS, PooledPixels, PooledTokens
from harness.encoders.sentence_transformers import quiet
from harness.encoders.transformers_models import ModelFacts, facts, processor_of, tower
from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 16


class HfScheme(CausalLmScheme):
    """Options of an encoder.

    pooling: cls, mean, pooler or last: which vector of the last hidden states (images: default cls); prompt: text put
    before every caption, as e5 and bge want it; max_tokens: captions are cut there (0: the model's own limit).

    A text model without ``pooling`` is a language model, with these options.

    max_tokens: captions are cut there, end token included (default 32); dtype: float32, bfloat16 or float16 of the
    weights; layers, width, vocabulary, context: facts, stated for planning where the model's config is not at hand.
    """

    def names(self, modality: Modality) -> list[str]:
        """Well-known models of the hub; any other works as well."""
        images = ["facebook/dinov2-small", "facebook/dinov2-base", "google/vit-base-patch16-224-in21k"]
        return images if modality == "image" else super().names(modality)

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Facts from the model's config; where that is not at hand, those that the spec states."""
        if not _is_encoder(spec, modality):
            return super().describe(spec, modality)
        options, folder = _options(spec, modality), folder_of(spec)
        found = None if folder is None else _facts(spec, folder, modality, options["pooling"])
        dim = found.dim if found else spec.dim
        if dim is None:
            absent = "its folder is not there" if spec.scheme == "local" else "its config is not in the hub's cache"
            fix = f"write {{id: {spec.id}, dim: ..., pooling: {options['pooling']}}}, or download it first"
            raise HarnessError(f"{absent}, and its dim is not stated", where=spec.id, fix=fix)
        stated = None if spec.params is None else int(spec.params)
        written = "".join(f", {name}={value!r}" for name, value in options.items() if value and modality == "text")
        read = (
            "its image processor, pooling=" + options["pooling"] if modality == "image" else "its tokenizer" + written
        )
        return EncoderInfo(
            id=spec.id,
            modality=modality,
            dim=dim,
            params=found.params if found else stated,
            input_size=found.input_size if found else None,
            license=licence_of(folder) if folder else spec.license,
            revision=f"folder:{folder_digest(folder)}" if folder and spec.scheme == "local" else spec.name,
            # Nothing that is only known once the files are here: this string is part of a bank's identity.
            transform=f"transformers: {read}",
            flops_per_sample=found.flops if found else None,
        )

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail now, not later, when the weights cannot be had."""
        if not _is_encoder(spec, modality):
            return super().check(spec, modality)
        _options(spec, modality)
        if (source := source_of(spec)) is not None:
            return source.require()
        if folder_of(spec) is None:
            raise HarnessError(f"no model folder: {spec.name}", where=spec.id, fix="a folder with config.json")

    def to_fetch(self, spec: EncoderSpec, modality: Modality) -> bool:
        """Whether the weights are not in the cache yet."""
        source = source_of(spec)
        return source is not None and not source.cached

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Read the weights; the dimension must be the one the spec states, if it states one."""
        if not _is_encoder(spec, modality):
            return super().load(spec, modality, device=device)
        self.check(spec, modality)
        options, source = _options(spec, modality), source_of(spec)

        def build() -> Encoder:
            return _read(self, spec, modality, options, device)

        if source is not None:
            encoder = source.load(build)
        else:
            with without_network():
                encoder = guarded(spec.id, build)
        if spec.dim not in (None, encoder.info.dim):
            raise HarnessError(f"has dimension {encoder.info.dim}, not {spec.dim}", where=spec.id, fix="correct dim")
        return encoder


class LocalScheme(HfScheme):
    """The same from a folder that ``save_pretrained`` wrote. Its options are those of ``hf:``."""

    def names(self, modality: Modality) -> list[str]:
        """None: folders are anywhere."""
        return []


class PooledTextEncoder:
    """A text model of transformers.

    Args:
        info: What is known of it.
        module: Token numbers and their mask to vectors.
        tokenizer: Strings to token numbers.
        prompt: Put before every caption.
        max_tokens: Captions are cut there.
        device: Where it runs.
    """

    def __init__(
        self,
        info: EncoderInfo,
        module: PooledTokens,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        prompt: str,
        max_tokens: int,
        device: str,
    ) -> None:
        self.info, self.tokenizer, self.prompt, self.max_tokens, self.device = (
            info,
            tokenizer,
            prompt,
            max_tokens,
            device,
        )
        self.module = module.to(device).float().eval()
        self.tokenizer.padding_side = "right"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def encode(self, samples: Sequence[Image] | Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Embed strings: float32 ``[n, dim]``, not normalised."""
        out, chunk = np.empty((len(samples), self.info.dim), np.float32), BATCH if self.device == "cpu" else 256
        for start in range(0, len(samples), chunk):
            texts = [self.prompt + text for text in cast("Sequence[str]", samples[start : start + chunk])]
            cut = {"truncation": True, "max_length": self.max_tokens}
            tokens = self.tokenizer(texts, padding=True, return_tensors="pt", **cut)
            with torch.inference_mode():
                ids, mask = tokens["input_ids"].to(self.device), tokens["attention_mask"].to(self.device)
                out[start : start + len(texts)] = self.module(ids, mask).float().cpu().numpy()
        return out

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        return digest_of(self.module)

    @functools.cached_property
    def _flops(self) -> float | None:
        ids = torch.ones(1, CAPTION_TOKENS, dtype=torch.long, device=self.device)
        return count_forward(self.module, ids, torch.ones_like(ids))

    def forward_flops(self) -> float | None:
        """FLOPs of one caption of CAPTION_TOKENS tokens; None when the graph cannot be counted."""
        return self._flops


def _is_encoder(spec: EncoderSpec, modality: Modality) -> bool:
    return modality == "image" or (modality == "text" and "pooling" in spec.options)


def _options(spec: EncoderSpec, modality: Modality) -> dict[str, Any]:
    texts = {"prompt": "", "max_tokens": 0} if modality == "text" else {}
    options = options_of(spec, pooling="cls", **texts)
    if options["pooling"] not in POOLINGS:
        raise HarnessError(f"pooling {options['pooling']!r}", where=spec.id, fix=near(options["pooling"], POOLINGS))
    return options


def _facts(spec: EncoderSpec, folder: Path, modality: Modality, pooling: str) -> ModelFacts:
    files = [file for name in ("config.json", "preprocessor_config.json") if (file := folder / name).is_file()]
    try:
        return facts(str(folder), modality == "image", pooling, file_digest(*files))
    except Exception as error:  # whatever transformers says of a config
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise HarnessError(f"is no {modality} encoder of transformers: {line}", where=spec.id) from error


def _read(
    scheme: HfScheme, spec: EncoderSpec, modality: Modality, options: dict[str, Any], device: str
) -> TorchImageEncoder | PooledTextEncoder:
    from transformers import AutoModel, AutoTokenizer

    name, revision = (str(folder_of(spec)), None) if spec.scheme == "local" else name_and_revision(spec)
    common: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    with quiet(), seeded(0):
        whole, loaded = AutoModel.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **common
        )
        _check_complete(loaded["missing_keys"], modality, options["pooling"])
        model: nn.Module = tower(whole, modality == "image")
        # The config is here now, so that everything is known.
        info = scheme.describe(replace(spec, dim=None), modality)
        if modality == "text":
            tokenizer = AutoTokenizer.from_pretrained(name, **common)
            most = options["max_tokens"] or min(tokenizer.model_max_length, _positions(whole.config))
            pooled = PooledTokens(model, options["pooling"])
            return PooledTextEncoder(info, pooled, tokenizer, prompt=options["prompt"], max_tokens=most, device=device)
        folder = folder_of(spec)
        assert folder is not None, "it has just been read"
        process = processor_of(str(folder) if spec.scheme == "local" else name, revision)
        found = _facts(spec, folder, modality, options["pooling"])

    def transform(image: Image) -> Tensor:
        return process(image)

    return TorchImageEncoder(info, PooledPixels(model, options["pooling"], found.grid), transform, device=device)


def _check_complete(missing: Collection[str], modality: Modality, pooling: str) -> None:
    """Weights that a file lacks are drawn at random by transformers; only a pooler that is not read may be so."""
    other = "text" if modality == "image" else "vision"
    read = [key for key in missing if f"{other}_model" not in key and (pooling == "pooler" or "pooler" not in key)]
    if read:
        raise ValueError(f"its file lacks {len(read)} of the weights that would be read, e.g. {sorted(read)[0]}")


def _positions(config: Any) -> int:
    """Most tokens that the model reads; RoBERTa's positions start after its padding number."""
    own = config.to_dict()
    found = own.get("max_position_embeddings") or own.get("n_positions") or 512
    return int(found) - (int(own.get("pad_token_id") or 0) + 1 if own.get("model_type") in ROBERTA else 0)


ROBERTA = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Model types whose positions begin behind the padding number."""
