"""``st:NAME``: sentence-transformers, by hub name or local folder."""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.contract.registry import near
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.common import CAPTION_TOKENS, folder_digest, only, options_of
from harness.encoders.hub import WeightSource, guarded, hub_source
from harness.encoders.modules import count_forward, digest_of, parameters, seeded
from harness.errors import HarnessError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CONFIG_FILES = ("modules.json", "config.json")
FIX = "connect once, or name a local folder after 'st:'"
BATCH = 32


class SentenceTransformersScheme:
    """Options.

    revision: commit, tag or branch of a hub name (default main); prompt: text put before every caption (default: what
    the model says); prompt_name: one of the model's own prompts, e.g. query, instead; max_tokens: cut captions there
    (0: the model's own limit).
    """

    def names(self, modality: Modality) -> list[str]:
        """A few well-known hub names; any other, or a folder, works as well."""
        known = (
            "all-MiniLM-L6-v2",
            "all-MiniLM-L12-v2",
            "all-mpnet-base-v2",
            "paraphrase-MiniLM-L3-v2",
            "sentence-t5-base",
        )
        return [f"sentence-transformers/{name}" for name in known] if modality == "text" else []

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Facts from the folder's JSON files; for a hub name that is not cached, those that the spec states."""
        options = self._options(spec, modality)
        folder = _folder(spec, options)
        dim, params, license_ = (None, None, None) if folder is None else _facts(spec.id, folder)
        if dim is None:
            dim = spec.dim
        if dim is None:
            fix = f"write {{id: {spec.id}, dim: ...}}, or download it first"
            raise HarnessError("its dimension is not known before it is downloaded", where=spec.id, fix=fix)
        if params is None and spec.params is not None:
            params = int(spec.params)
        own, local = "the model's", _local(spec)
        limit, prompt = options["max_tokens"] or own, options["prompt"] or own
        named = f", prompt_name={options['prompt_name']}" if options["prompt_name"] else ""
        return EncoderInfo(
            id=spec.id,
            modality="text",
            dim=dim,
            params=params,
            license=license_,
            revision=f"folder:{folder_digest(local)}" if local else f"{spec.name}@{options['revision']}",
            # Nothing that is only known once the files are here: this string is part of a bank's identity.
            transform=f"sentence-transformers: its tokenizer, max_tokens={limit}, prompt={prompt}{named}",
        )

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail now, not later, when the weights cannot be had."""
        source = self._source(spec, self._options(spec, modality))
        if source is not None:
            source.require()

    def to_fetch(self, spec: EncoderSpec, modality: Modality) -> bool:
        """Whether the weights are not in the cache yet."""
        source = self._source(spec, self._options(spec, modality))
        return source is not None and not source.cached

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Read the model; its dimension must be the one the spec states, if it states one."""
        options = self._options(spec, modality)
        local, source = _local(spec), self._source(spec, options)

        def build() -> "SentenceTransformer":
            return load_model(str(local or spec.name), device=device, revision=None if local else options["revision"])

        model = source.load(build) if source else guarded(spec.id, build)
        dim = int(model.get_embedding_dimension() or spec.dim or 0)
        if spec.dim is not None and dim != spec.dim:
            raise HarnessError(
                f"has dimension {dim}, not {spec.dim}", where=spec.id, fix="correct dim in the sweep file"
            )
        info = replace(self.describe(replace(spec, dim=dim), modality), dim=dim, params=parameters(model))
        prompt = options["prompt"] or _own_prompt(spec.id, model, options["prompt_name"])
        return SentenceEncoder(info, model, prompt=prompt, max_tokens=options["max_tokens"])

    def _options(self, spec: EncoderSpec, modality: Modality) -> dict[str, Any]:
        only(modality, "text", spec)
        if _local(spec) is None and spec.name.startswith((".", "/", "~")):
            raise HarnessError(f"no such folder: {spec.name}", where=spec.id)
        options = options_of(spec, revision="main", prompt="", prompt_name="", max_tokens=0)
        if options["prompt"] and options["prompt_name"]:
            raise HarnessError("prompt and prompt_name are both given", where=spec.id, fix="write one of them")
        return options

    def _source(self, spec: EncoderSpec, options: dict[str, Any]) -> WeightSource | None:
        """Where the model is fetched from; None: it is a local folder."""
        if _local(spec) is not None:
            return None
        return hub_source(spec.id, _repository(spec.name), CONFIG_FILES, fix=FIX, revision=options["revision"])


class _Counted(nn.Module):
    """A sentence-transformers model with tensors for arguments, which is what tracing wants."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]


class SentenceEncoder:
    """A loaded sentence-transformers model.

    Args:
        info: What is known of it.
        model: The model, on its device.
        prompt: Put before every caption; empty keeps the model's own.
        max_tokens: Captions are cut there; 0 keeps the model's own limit.
    """

    def __init__(
        self, info: EncoderInfo, model: "SentenceTransformer", *, prompt: str = "", max_tokens: int = 0
    ) -> None:
        self.info, self.prompt, self.model = info, prompt, model.eval().float()
        if max_tokens:
            self.model.max_seq_length = max_tokens

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed strings: float32 ``[n, dim]``; models that end in a Normalize module return unit rows."""
        if not len(samples):
            return np.empty((0, self.info.dim), np.float32)
        rows = self.model.encode(
            list(cast("Sequence[str]", samples)),
            prompt=self.prompt or None,  # None: the model's default, if it has one
            batch_size=BATCH if self.model.device.type == "cpu" else 256,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(rows, dtype=np.float32)

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        return digest_of(self.model)

    @functools.cached_property
    def _flops(self) -> float | None:
        ids = torch.ones(1, CAPTION_TOKENS, dtype=torch.long, device=self.model.device)
        return count_forward(_Counted(self.model), ids, torch.ones_like(ids))

    def forward_flops(self) -> float | None:
        """FLOPs of one caption of CAPTION_TOKENS tokens; None when the graph cannot be counted."""
        return self._flops


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers draws no bars of its own inside."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_model(name: str, *, device: str, revision: str | None = None) -> "SentenceTransformer":
    """A SentenceTransformer by hub name or folder; no code of the repository is run."""
    from sentence_transformers import SentenceTransformer

    with quiet(), seeded(0):
        return SentenceTransformer(name, device=device, revision=revision, trust_remote_code=False)


def _own_prompt(encoder: str, model: "SentenceTransformer", name: str) -> str:
    """The model's prompt of this name; empty where none is asked for."""
    if not name:
        return ""
    known = {key: text for key, text in model.prompts.items() if text}
    if name not in known:
        raise HarnessError(f"the model has no prompt {name!r}", where=encoder, fix=near(name, known))
    return known[name]


def _repository(name: str) -> str:
    return name if "/" in name else f"sentence-transformers/{name}"


def _local(spec: EncoderSpec) -> Path | None:
    folder = Path(spec.name).expanduser()
    return folder if folder.is_dir() else None


def _folder(spec: EncoderSpec, options: dict[str, Any]) -> Path | None:
    """Where the model's files lie: the local folder, or the hub cache's snapshot; None when not cached."""
    from huggingface_hub import try_to_load_from_cache

    local = _local(spec)
    if local is not None:
        return local
    for name in CONFIG_FILES:
        found = try_to_load_from_cache(_repository(spec.name), name, revision=options["revision"])
        if isinstance(found, str):
            return Path(found).parent
    return None


def _facts(encoder: str, folder: Path) -> tuple[int | None, int | None, str | None]:
    """(dim, parameters, licence) of a folder from its JSON files; None for what they do not say."""
    try:
        dim, params = _walk(folder)
    except Exception as error:
        raise HarnessError(f"not a sentence-transformers folder: {error}", where=encoder) from error
    card = folder / "README.md"
    found = re.search(r"^license:\s*(\S+)", card.read_text(encoding="utf-8"), re.MULTILINE) if card.is_file() else None
    return dim, params, found.group(1) if found else None


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _walk(folder: Path) -> tuple[int | None, int | None]:
    """(dim, parameters) after the last module of ``modules.json``; a plain transformers folder is mean-pooled."""
    listing = folder / "modules.json"
    modules = _json(listing) if listing.is_file() else [{"type": "Transformer", "path": ""}]
    dim: int | None = None
    params: int | None = 0
    for module in modules:
        place, kind = folder / module["path"], module["type"].rsplit(".", 1)[-1]
        if kind == "Transformer":
            dim, params = _transformer(str(place))
        elif kind == "Pooling":
            config = _json(place / "config.json")
            mode = config.get("pooling_mode")
            flags = sum(bool(value) for key, value in config.items() if key.startswith("pooling_mode_"))
            modes = flags if mode is None else 1 if isinstance(mode, str) else len(mode)
            dim = max(1, modes) * config.get("embedding_dimension", config.get("word_embedding_dimension"))
        elif kind == "Dense":
            config = _json(place / "config.json")
            dim = int(config["out_features"])
            params = None if params is None else params + dim * (config["in_features"] + bool(config.get("bias", True)))
        elif kind not in {"Normalize", "Dropout"}:
            return None, None
    return dim, params


def _transformer(folder: str) -> tuple[int, int]:
    """(hidden size, parameters) of a transformers model, built without weights."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        return int(config.hidden_size), parameters(AutoModel.from_config(config))
