"""What an exported folder may hold beside its connector, ``config.json`` and card: one form for each kind of reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harness.contract.connector import Connector
from harness.contract.registry import Registry
from harness.export.card import Bounds, model_card
from harness.export.hub_card import HUB_EXAMPLE, hub_head
from harness.run.records import CellRecord, Manifest, PairMetrics

CARD = "README.md"

GIT_ATTRIBUTES = "".join(
    f"*.{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in ("safetensors", "onnx", "bin", "pt")
)
"""Large files are kept apart by the hub's git, as in the repositories that it makes itself."""


@dataclass(frozen=True)
class ToExport:
    """What a form is made from.

    Attributes:
        manifest: The run.
        record: The cell that trained the connector.
        metrics: Its numbers.
        connector: The connector.
        config: What ``config.json`` says.
        intervals: Of the test numbers.
    """

    manifest: Manifest
    record: CellRecord
    metrics: PairMetrics
    connector: Connector
    config: Mapping[str, Any]
    intervals: Bounds


class Form(Protocol):
    """One form of an exported folder."""

    def __call__(self, made: ToExport) -> Mapping[str, bytes]:
        """Name of a further file, or of one that is replaced, to its content."""
        ...


def folder(made: ToExport) -> Mapping[str, bytes]:
    """What ``harness.load`` opens, and nothing else."""
    del made
    return {}


def hub(made: ToExport) -> Mapping[str, bytes]:
    """In the shape of a repository of the Hugging Face hub, ready to be uploaded as it is."""
    parts = made.manifest, made.record, made.metrics, made.connector, made.intervals
    card = model_card(*parts, example=HUB_EXAMPLE, head=hub_head(made.manifest, made.metrics))
    return {CARD: card.encode(), ".gitattributes": GIT_ATTRIBUTES.encode()}


FORMS: Registry[Form] = Registry(
    "form of export",
    {
        "folder": "harness.export.forms:folder",
        "hub": "harness.export.forms:hub",
        "onnx": "harness.export.onnx:form",
    },
    group="harness.exports",
)
