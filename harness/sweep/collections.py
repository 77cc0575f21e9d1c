"""Lists of encoders by one name: collections that are known, and files of names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.contract.registry import near

LISTS = ("image_encoders", "text_encoders", "language_models")
"""Fields of a sweep file that may be one name instead of a list."""


@dataclass(frozen=True)
class Collection:
    """Encoders that belong together.

    Attributes:
        image: Ids of image encoders.
        text: Ids of text encoders.
        about: Where they come from.
    """

    image: tuple[str, ...]
    text: tuple[str, ...]
    about: str

    def of(self, field: str) -> tuple[str, ...]:
        """The ids for a field of the sweep file; none for language models."""
        return {"image_encoders": self.image, "text_encoders": self.text}.get(field, ())


def _timm(names: str) -> tuple[str, ...]:
    return tuple(f"timm:{name}" for name in names.split())


COLLECTIONS: Mapping[str, Collection] = {
    "hyma9": Collection(
        image=_timm("""
            vit_small_patch16_224.augreg_in21k_ft_in1k deit_small_patch16_224.fb_in1k deit3_small_patch16_224.fb_in1k
            vit_base_patch16_224.augreg_in21k_ft_in1k deit_base_patch16_224.fb_in1k
            deit3_base_patch16_224.fb_in22k_ft_in1k vit_large_patch16_224.augreg_in21k_ft_in1k
            deit3_large_patch16_384.fb_in22k_ft_in1k eva02_large_patch14_448.mim_m38m_ft_in22k_in1k
        """),
        text=("st:all-MiniLM-L12-v2", "st:all-mpnet-base-v2", "st:all-roberta-large-v1"),
        about="Hyma's nine image and three text encoders (EMNLP 2025)",
    ),
    "hyper_align30": Collection(
        # One of each dimension (384, 768, 1024) in turn, so that the first 3 q are q of each.
        image=_timm("""
            vit_small_patch16_224 vit_base_patch16_224 vit_large_patch16_224
            deit_small_patch16_224 vit_base_patch32_224.augreg_in21k_ft_in1k vit_large_patch16_224.augreg_in21k_ft_in1k
            deit3_small_patch16_224.fb_in1k vit_base_patch32_clip_224.laion2b_ft_in12k_in1k
            vit_large_patch14_clip_336.laion2b_ft_in12k_in1k
            deit3_small_patch16_224.fb_in22k_ft_in1k deit_base_patch16_224 deit3_large_patch16_384.fb_in22k_ft_in1k
            efficientvit_m5.r224_in1k deit3_base_patch16_224.fb_in22k_ft_in1k
            eva02_large_patch14_448.mim_m38m_ft_in22k_in1k
            flexivit_small.300ep_in1k beit_base_patch16_224.in22k_ft_in22k_in1k
            beit_large_patch16_384.in22k_ft_in22k_in1k
            visformer_tiny.in1k swin_small_patch4_window7_224.ms_in22k_ft_in1k
            beitv2_large_patch16_224.in1k_ft_in22k_in1k
            volo_d1_224.sail_in1k convnext_small.fb_in22k_ft_in1k swin_base_patch4_window7_224.ms_in22k_ft_in1k
            xcit_small_12_p8_224.fb_in1k volo_d4_224.sail_in1k convnext_base.fb_in22k_ft_in1k
            eva02_small_patch14_224.mim_in22k maxvit_base_tf_224.in1k convnextv2_base.fcmae_ft_in22k_in1k
        """),
        text=("st:sentence-t5-base",),
        about="Hyper-Align's thirty image encoders and their text encoder (ICLR 2025 workshop)",
    ),
    "quickstart": Collection(
        image=(
            "packaged:efficientnet_lite0",
            "packaged:efficientnet_lite1",
            "packaged:efficientnet_lite2",
            "packaged:untrained_resnet18",
            "packaged:pixels16",
        ),
        text=("packaged:minilm_l6", "packaged:paraphrase_minilm_l3", "packaged:wordllama", "packaged:glove50"),
        about="the quickstart's five image and four text encoders, all from installed packages",
    ),
}


def with_collections(value: Any) -> Any:
    """A sweep file's content with lists in the place of names of collections and of files.

    Raises:
        ValueError: An unknown collection, one without this side, or a file that cannot be read.
    """
    if not isinstance(value, Mapping):
        return value
    root = Path(value.get("source", "sweep.yaml")).parent
    return {**value, **{name: _listed(name, value[name], root) for name in LISTS if isinstance(value.get(name), str)}}


def _listed(field: str, name: str, root: Path) -> Sequence[Any]:
    if name in COLLECTIONS:
        if not (found := COLLECTIONS[name].of(field)):
            raise ValueError(f"{field}: collection {name!r} has none")
        return list(found)
    file = root / Path(name).expanduser()
    if not file.is_file():
        known = near(name, COLLECTIONS)
        raise ValueError(f"{field}: {name!r} is neither a collection nor a file of encoders; write a list ({known})")
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        return [entry for line in lines if (entry := yaml.safe_load(line)) is not None]  # a comment is nothing
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{field}: {name} is no text file of one encoder a line") from error
