"""``open_clip:NAME@PRETRAINED``: the image tower or the text tower of an open_clip model."""

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from torch import Tensor, nn

from harness.contract.registry import near
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.common import file_digest, folder_digest, options_of
from harness.encoders.hub import WeightSource, guarded, hub_source, url_source, without_network
from harness.encoders.modules import TorchImageEncoder, count_forward, digest_of, first, parameters, seeded
from harness.errors import HarnessError

NONE = "none"
FOLDER = "local-dir:"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "config.json")
FIX = "connect once, or write a local checkpoint or 'none' (random weights) after '@'"
CLIP_CACHE = Path("~/.cache/clip")


@dataclass(frozen=True)
class ModelChoice:
    """A model with its weights, resolved: ``config`` is the model's, ``cfg`` the pretrained tag's (or empty)."""

    name: str
    weights: str | None
    seed: int
    revision: str
    config: Mapping[str, Any]
    cfg: Mapping[str, Any]


class OpenClipScheme:
    """After ``@``: a pretrained tag, a local checkpoint, or ``none`` for random weights.

    NAME is a built-in model, or ``local-dir:FOLDER`` (``open_clip_config.json`` beside the weights; no ``@``).
    Options: pretrained: false is the same as ``@none``; seed: of random weights; config: a JSON file NAME.json that
    defines the model, as open_clip writes them.
    """

    def names(self, modality: Modality) -> list[str]:
        """All built-in models with each of their pretrained tags."""
        return [f"{name}@{tag}" for name, tag in open_clip.list_pretrained()]

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Facts from the model's config, and from the model built without weights."""
        model = self._model(spec)
        vision, text = model.config["vision_cfg"], model.config["text_cfg"]
        size = model.cfg.get("size") or vision.get("image_size", 224)
        cfg = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), {**model.cfg, "size": size}))
        context = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
        return EncoderInfo(
            id=spec.id,
            modality=modality,
            dim=int(model.config["embed_dim"]),
            params=_params(json.dumps(model.config, sort_keys=True), model.name, modality),
            input_size=cast("tuple[int, int, int]", tuple(cfg.input_size)) if modality == "image" else None,
            revision=model.revision,
            transform=transform_text(cfg) if modality == "image" else f"open_clip tokenizer, {context} tokens",
        )

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail now, not later, when the weights or the tokenizer cannot be had."""
        source = self._source(spec, self._model(spec), modality)
        if source is not None:
            source.require()

    def to_fetch(self, spec: EncoderSpec, modality: Modality) -> bool:
        """Whether the weights are not in the cache yet."""
        source = self._source(spec, self._model(spec), modality)
        return source is not None and not source.cached

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Build the model, read its weights, and keep one tower."""
        model, info = self._model(spec), self.describe(spec, modality)
        source = self._source(spec, model, modality)

        def build() -> tuple[nn.Module, Any]:
            whole = _create(model)
            if modality == "image":
                return whole.visual, image_transform_v2(PreprocessCfg(**whole.visual.preprocess_cfg), is_train=False)
            return whole.text, open_clip.get_tokenizer(model.name)

        tower, prepare = source.load(build) if source else guarded(spec.id, build, fix=FIX)
        if modality == "image":
            return TorchImageEncoder(info, tower, prepare, device=device)
        return TextTower(info, tower, prepare, device=device)

    def _model(self, spec: EncoderSpec) -> ModelChoice:
        options = options_of(spec, pretrained=True, seed=0, config="")
        name, _, weights = spec.name.partition("@")
        random = f"random seed={options['seed']} open_clip={open_clip.__version__}"
        if name.startswith(FOLDER):
            folder = Path(name.removeprefix(FOLDER))
            config = guarded(spec.id, lambda: open_clip.get_model_config(name))
            wanted = options["pretrained"] and weights != NONE
            revision = f"folder:{folder_digest(folder)}" if wanted else random
            return ModelChoice(
                name, "" if wanted else None, options["seed"], revision, cast("dict[str, Any]", config), {}
            )
        digest = _register(spec.id, name, Path(options["config"])) if options["config"] else ""
        config = open_clip.get_model_config(name)
        if config is None:
            raise HarnessError(
                f"open_clip has no model {name!r}", where=spec.id, fix=near(name, open_clip.list_models())
            )
        tags, file = open_clip.list_pretrained_tags_by_model(name), Path(weights).expanduser()
        cfg = get_pretrained_cfg(name, weights)
        if weights == NONE or not options["pretrained"]:
            revision, weights, cfg = random, None, {}
        elif cfg:
            revision = str(cfg.get("hf_hub") or cfg.get("url"))
        elif weights and file.is_file():
            revision, weights = f"file:{file_digest(file)}", str(file)
        else:
            what = f"{name} has no weights {weights!r}" if weights else "no weights are named"
            raise HarnessError(what, where=spec.id, fix=f"after '@', {near(weights, [*tags, NONE])}")
        return ModelChoice(name, weights, options["seed"], f"{revision} {digest}".strip(), config, cfg)

    def _source(self, spec: EncoderSpec, model: ModelChoice, modality: Modality) -> WeightSource | None:
        """What is fetched and not cached yet; if all is cached, what is read from a cache; None: nothing is fetched."""
        sources: list[WeightSource] = []
        if place := model.cfg.get("hf_hub"):
            repository, _, file = str(place).rpartition("/")
            files = (file, file.rpartition(".")[0] + ".safetensors") if file else WEIGHT_FILES
            sources.append(hub_source(spec.id, repository, files, fix=FIX))
        elif place := model.cfg.get("url"):
            sources.append(url_source(spec.id, str(place), CLIP_CACHE.expanduser(), fix=FIX))
        text = model.config["text_cfg"]
        fix = "connect once: this model's text side needs it"
        if name := text.get("hf_model_name"):
            sources.append(hub_source(spec.id, name, ("config.json",), fix=fix))
        if (name := text.get("hf_tokenizer_name")) and modality == "text" and not model.name.startswith(FOLDER):
            sources.append(hub_source(spec.id, name, TOKENIZER_FILES, fix=fix))
        return next((source for source in sources if not source.cached), sources[0] if sources else None)


class TextTower:
    """The text tower of an open_clip model.

    Args:
        info: What is known of it.
        module: Maps token ids ``[b, context]`` to ``[b, dim]``.
        tokenizer: Strings to token ids.
        device: Where it runs.
    """

    def __init__(self, info: EncoderInfo, module: nn.Module, tokenizer: Any, *, device: str) -> None:
        self.info, self.tokenizer, self.device = info, tokenizer, device
        self.module = module.to(device).float().eval()

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed strings: float32 ``[n, dim]``, not normalised."""
        out, chunk = np.empty((len(samples), self.info.dim), np.float32), 16 if self.device == "cpu" else 256
        for start in range(0, len(samples), chunk):
            texts = list(samples[start : start + chunk])
            with torch.inference_mode():
                out[start : start + len(texts)] = first(self.module(self._tokens(texts))).float().cpu().numpy()
        return out

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        return digest_of(self.module)

    def _tokens(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts).to(self.device)

    @functools.cached_property
    def _flops(self) -> float | None:
        return count_forward(self.module, self._tokens(["a photo"]))

    def forward_flops(self) -> float | None:
        """FLOPs of one caption, always padded to the context length; None when the graph cannot be counted."""
        return self._flops


def _create(model: ModelChoice, **kwargs: Any) -> Any:
    """Both towers as modules of their own (``custom text``), so that one can be let go."""
    with seeded(model.seed), _quiet():
        return open_clip.create_model(
            model.name,
            pretrained=model.weights or None,
            load_weights=model.weights is not None,
            require_pretrained=model.weights is not None,
            force_custom_text=True,
            pretrained_text=False,
            **kwargs,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warning of random weights, which were asked for; open_clip gives it by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@functools.lru_cache(maxsize=64)
def _params(config: str, name: str, modality: Modality) -> int | None:
    """Parameters of one tower; None when building it needs a file of the hub that is not cached."""
    try:
        with torch.device("meta"), without_network():
            whole = _create(ModelChoice(name, None, 0, "", json.loads(config), {}), device="meta")
    except Exception:
        return None
    return parameters(whole.visual if modality == "image" else whole.text)


def _register(encoder: str, name: str, file: Path) -> str:
    """Make open_clip know the model that a JSON file defines; returns what identifies the definition."""
    if not file.is_file() or file.suffix != ".json":
        raise HarnessError(f"no such JSON file: {file}", where=encoder)
    if file.stem != name:
        raise HarnessError(f"{file.name} defines {file.stem!r}, not {name!r}", where=encoder, fix="rename one of them")
    try:
        keys = set(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise HarnessError(f"{file.name} is not JSON: {error}", where=encoder) from error
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - keys:
        raise HarnessError(f"{file.name} lacks {', '.join(sorted(missing))}", where=encoder)
    if name not in open_clip.list_models() or _registered.get(name) != file_digest(file):
        open_clip.add_model_config(file)
        _registered[name] = file_digest(file)
    return f"config:{file_digest(file)}"


_registered: dict[str, str] = {}


def transform_text(cfg: PreprocessCfg) -> str:
    """One line that changes whenever the transform does."""
    facts = {key: value for key, value in sorted(asdict(cfg).items())}
    return "open_clip eval: " + json.dumps(facts)
