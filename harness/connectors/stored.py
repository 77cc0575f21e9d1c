"""Connectors as stored: named tensors in a safetensors file, and their kinds in its metadata."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from harness.contract.connector import CONNECTORS, Connector, ConnectorKind
from harness.errors import HarnessError


def described(kind: ConnectorKind) -> dict[str, Any]:
    """A kind as JSON: its name and its settings, one of which may be another kind that it is built on."""
    settings: dict[str, Any] = dataclasses.asdict(kind)  # type: ignore[call-overload]
    inner = {name: described(value) for name, value in vars(kind).items() if isinstance(value, ConnectorKind)}
    return {"kind": kind.name, **settings, **inner}


def kind_of(description: Mapping[str, Any]) -> ConnectorKind:
    """The inverse of ``described``."""
    settings = dict(description)
    kind = CONNECTORS.get(settings.pop("kind"))
    inner = {n: kind_of(value) for n, value in settings.items() if isinstance(value, Mapping) and "kind" in value}
    return kind(**(settings | inner))


def to_bytes(connectors: Mapping[int, Connector], pairs: Mapping[int, tuple[str, str]]) -> bytes:
    """One safetensors file of several connectors.

    Tensors are called ``<number>.<tensor name>``; the metadata says the pair and the kind of each number.

    Args:
        connectors: Number of the pair -> its connector.
        pairs: Number of the pair -> its encoders.
    """
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {f"pair.{n}": f"{image}\t{text}" for n, (image, text) in pairs.items()}
    for number, connector in connectors.items():
        metadata[f"connector.{number}"] = json.dumps(described(connector.kind))
        tensors |= {f"{number}.{name}": tensor.contiguous() for name, tensor in connector.tensors.items()}
    return save(tensors, metadata=metadata)


def from_bytes(data: bytes, number: int, *, where: str = "") -> Connector:
    """One connector of such a file.

    Args:
        data: The file.
        number: Number of the pair.
        where: Named in errors.

    Raises:
        HarnessError: The file is damaged, or holds no connector of this number.
    """
    prefix = f"{number}."
    try:
        tensors = {n.removeprefix(prefix): t for n, t in load(data).items() if n.startswith(prefix)}
        kind = kind_of(json.loads(metadata_of(data)[f"connector.{number}"]))
    except (SafetensorError, ValueError, KeyError) as error:
        raise HarnessError(f"holds no readable connector: {error}", where=where, fix="sweep again") from error
    if not tensors:
        raise HarnessError(f"holds no connector number {number}", where=where)
    return Connector(kind, tensors)


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]
