"""Connectors in the files that the papers' authors released, or that anybody saved from torch."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.contract.connector import Connector, as_connector
from harness.errors import HarnessError

ENTRY = re.compile(r"(?:.*\.)?(\d+)\.(weight|bias)")
"""``0.weight`` of an ``nn.Sequential``, ``layers.0.weight`` of ours, either below a module's name."""

FIX = "name a .safetensors or .pt file of affine layers: 0.weight, 0.bias, 2.weight, ... or layers.0.weight, ..."


def read_connector(file: str | Path) -> Connector:
    """A linear or an MLP connector from a file of its layers.

    Args:
        file: ``.safetensors``, or a torch file, which is read with ``weights_only=True``. A state dict, or a dict that
            holds one.

    Returns:
        The connector. One layer is linear; several have a ReLU in between, as in the papers' connectors.

    Raises:
        HarnessError: The file cannot be read, or holds something else.
    """
    path = Path(file).expanduser()
    try:
        read = load_file(path) if path.suffix == ".safetensors" else _torch_file(path)
        return connector_of(read)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise HarnessError(f"is no connector: {line}", where=str(path), fix=FIX) from error
    except Exception as error:  # torch's unpickler raises its own
        raise HarnessError(f"cannot be read: {type(error).__name__}", where=str(path), fix=FIX) from error


def connector_of(state: Mapping[str, Tensor]) -> Connector:
    """A connector from named tensors: layers in the order of their numbers, a missing bias is zero.

    Raises:
        ValueError: Other tensors, or layers that do not fit on one another.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if not (entry := ENTRY.fullmatch(name)):
            raise ValueError(f"tensor {name!r} belongs to no numbered layer")
        found.setdefault(int(entry[1]), {})[entry[2]] = tensor.detach().float()
    layers = []
    for number, layer in sorted(found.items()):
        weight = layer.get("weight")
        if weight is None or weight.dim() != 2:
            raise ValueError(f"layer {number} has no weight of two axes")
        bias = layer.get("bias", torch.zeros(len(weight)))
        if bias.shape != weight.shape[:1] or (layers and weight.shape[1] != len(layers[-1][1])):
            raise ValueError(f"layer {number} does not fit: weight {tuple(weight.shape)}, bias {tuple(bias.shape)}")
        layers.append((weight, bias))
    widths = {len(bias) for _, bias in layers[:-1]}
    if not layers or len(widths) > 1:
        raise ValueError(f"hidden layers of different widths: {sorted(widths)}" if layers else "it holds no layer")
    return as_connector(layers)


def _torch_file(path: Path) -> Mapping[str, Tensor]:
    read = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(read, Mapping) and not any(isinstance(value, Tensor) for value in read.values()):
        inner = [value for value in read.values() if isinstance(value, Mapping)]
        if len(inner) != 1:
            raise ValueError("it is no state dict, and does not hold just one")
        read = inner[0]
    if not isinstance(read, Mapping):
        raise ValueError(f"it holds a {type(read).__name__}")
    return {str(name): value for name, value in read.items() if isinstance(value, Tensor)}
