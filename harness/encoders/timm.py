"""``timm:NAME[.TAG]``: image encoders of the timm library, pooled features before the classifier."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from timm.layers.config import set_fused_attn, use_fused_attn
from timm.models import PretrainedCfg
from torch import Tensor, nn

from harness.contract.registry import near
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.common import file_digest, only, options_of
from harness.encoders.hub import WeightSource, guarded, hub_source, url_source
from harness.encoders.modules import TorchImageEncoder, first, parameters, seeded
from harness.errors import HarnessError

Facts: TypeAlias = tuple[int, int, dict[str, Any], float]
"""(dimension, parameters, data config, FLOPs of one forward)."""
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
FIX = "connect once, or give the option 'checkpoint' (a local file) or 'pretrained: false' (random weights)"


class TimmScheme:
    """Options.

    pretrained: false for random weights drawn with ``seed`` (no hub); checkpoint: a local weight file of this model
    to read instead of the hub's.
    """

    def names(self, modality: Modality) -> list[str]:
        """All models that have pretrained weights."""
        return sorted(timm.list_models(pretrained=True)) if modality == "image" else []

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Build the model without weights and read its facts."""
        options = self._options(spec, modality)
        dim, params, data, flops = _facts(spec.id, spec.name)
        cfg = _pretrained_cfg(spec.name)
        return EncoderInfo(
            id=spec.id,
            modality="image",
            dim=dim,
            params=params,
            input_size=data["input_size"],
            license=cfg.license if cfg and options["pretrained"] else None,
            revision=self._revision(spec, options, cfg),
            transform=transform_text(data),
            flops_per_sample=flops,
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
        """Build the model and read its weights."""
        options = self._options(spec, modality)
        info, source = self.describe(spec, modality), self._source(spec, options)

        def build() -> nn.Module:
            with seeded(options["seed"]):
                # A file given by the user stands in for the hub's weights; its head is dropped like theirs.
                overlay = {"file": options["checkpoint"]} if options["checkpoint"] else None
                return timm.create_model(
                    spec.name, pretrained=options["pretrained"], num_classes=0, pretrained_cfg_overlay=overlay
                )

        module = source.load(build) if source else guarded(spec.id, build, fix=FIX)
        return TorchImageEncoder(info, module, eval_transform(resolve_model_data_config(module)), device=device)

    def _options(self, spec: EncoderSpec, modality: Modality) -> dict[str, Any]:
        only(modality, "image", spec)
        options = options_of(spec, pretrained=True, seed=0, checkpoint="")
        name = spec.name
        if not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
            base, _, tag = name.partition(".")
            known = timm.list_models()
            if base not in known:
                raise HarnessError(f"timm has no model {base!r}", where=spec.id, fix=near(base, known))
            tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}*") if full.split(".")[0] == base]
            if tag and tag not in tags:
                raise HarnessError(
                    f"{base} has no weights {tag!r}", where=spec.id, fix=near(tag, [t for t in tags if t])
                )
            if options["pretrained"] and not options["checkpoint"] and not tags:
                raise HarnessError("timm has no pretrained weights of it", where=spec.id, fix="set pretrained: false")
        if options["checkpoint"] and not Path(options["checkpoint"]).is_file():
            raise HarnessError(f"no such checkpoint: {options['checkpoint']}", where=spec.id)
        return options

    def _revision(self, spec: EncoderSpec, options: dict[str, Any], cfg: PretrainedCfg | None) -> str:
        if not options["pretrained"]:
            return f"random seed={options['seed']} timm={timm.__version__}"
        if options["checkpoint"]:
            return f"file:{file_digest(Path(options['checkpoint']))}"
        place = (cfg.hf_hub_id or cfg.url) if cfg else None
        return str(place or spec.name)

    def _source(self, spec: EncoderSpec, options: dict[str, Any]) -> WeightSource | None:
        """Where the weights are fetched from; None: they are not fetched."""
        if not options["pretrained"] or options["checkpoint"] or spec.name.startswith("local-dir:"):
            return None
        cfg = _pretrained_cfg(spec.name)
        if cfg is not None and cfg.hf_hub_id:
            files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else WEIGHT_FILES
            return hub_source(spec.id, str(cfg.hf_hub_id), files, fix=FIX)
        if cfg is not None and cfg.url:
            return url_source(spec.id, str(cfg.url), Path(torch.hub.get_dir()) / "checkpoints", fix=FIX)
        return hub_source(spec.id, spec.name.partition(":")[2], WEIGHT_FILES, fix=FIX)


def _pretrained_cfg(name: str) -> PretrainedCfg | None:
    return None if ":" in name else timm.get_pretrained_cfg(name)


@functools.lru_cache(maxsize=256)
def _facts(encoder: str, name: str) -> Facts:
    """What an instance without weights tells of a timm model."""

    def build() -> Facts:
        try:
            return _measure(name, "meta")
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            return _measure(name, "cpu")  # a few models compute with values while they are built

    if name.startswith(("hf-hub:", "hf_hub:")):  # its config.json is on the hub
        return hub_source(encoder, name.partition(":")[2], ("config.json",), fix=FIX).load(build)
    return guarded(encoder, build)


def _measure(name: str, device: str) -> Facts:
    with torch.device(device), torch.inference_mode(), eager_attention():
        module = timm.create_model(name, pretrained=False, num_classes=0).eval()
        data = resolve_model_data_config(module)
        features, flops = counted(module, torch.zeros(1, *data["input_size"]))
    return features.shape[-1], parameters(module), data, flops


def counted(module: nn.Module, pictures: Tensor) -> tuple[Tensor, float]:
    """(features, FLOPs of the matrix products of this forward). Attention must be made of plain products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        features = first(module(pictures))
    return features, float(counter.get_total_flops())


@contextmanager
def eager_attention() -> Iterator[None]:
    """Models that are built inside compute attention by matrix products and not by a fused kernel."""
    before = use_fused_attn()
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(before)


def eval_transform(data: dict[str, Any]) -> Any:
    """Timm's evaluation transform of a data config: PIL image to ``[3, height, width]``."""
    return create_transform(**data, is_training=False)


def transform_text(data: dict[str, Any]) -> str:
    """One line that changes whenever the transform does."""
    keys = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
    return "timm eval: " + ", ".join(f"{key}={_plain(data[key])}" for key in keys)


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "(" + " ".join(_plain(part) for part in value) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
