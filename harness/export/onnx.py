"""The connector as ONNX, with the normalisation before and after it."""

import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.contract.connector import Connector
from harness.errors import HarnessError
from harness.export.forms import ToExport

FILE = "connector.onnx"
OPSET = 18


class Graph(nn.Module):
    """What the file computes: encoder rows to rows in the shared space.

    Args:
        connector: The connector.
    """

    def __init__(self, connector: Connector) -> None:
        super().__init__()
        self._kind, self._names = connector.kind, {name.replace(".", "_"): name for name in connector.tensors}
        for safe, name in self._names.items():
            self.register_buffer(safe, connector.tensors[name].detach().float().contiguous())

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """``rows [n, in_dim]`` as the encoder gives them to ``(mapped, unit)``.

        ``mapped`` is the connector's output for the normalised rows: what a language model reads. ``unit`` is it
        L2-normalised: what is compared by cosine.
        """
        tensors = {name: getattr(self, safe) for safe, name in self._names.items()}
        mapped = self._kind.apply(tensors, functional.normalize(rows, dim=-1))
        return mapped, functional.normalize(mapped, dim=-1)


def connector_onnx(connector: Connector, in_dim: int) -> bytes:
    """A connector as an ONNX model, all in float32.

    Its input is ``rows [n, in_dim]``, its outputs are ``mapped`` and ``unit``, both ``[n, out_dim]``.

    Raises:
        HarnessError: The packages onnx and onnxscript are not installed, or the kind uses what ONNX has not.
    """
    written, names = io.BytesIO(), ("rows", "mapped", "unit")
    verbose = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    levels = [logger.level for logger in verbose]
    for logger in verbose:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Graph(connector).eval(),
                (torch.ones(2, in_dim),),
                input_names=names[:1],
                output_names=names[1:],
                dynamic_shapes={"rows": {0: torch.export.Dim("n")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.save(cast("Any", written))
    except ImportError as error:
        what = f"ONNX needs packages that are not installed: {error}"
        raise HarnessError(what, where="--to onnx", fix='pip install "stitch-harness[onnx]"') from error
    except Exception as error:  # whatever the exporter says of a plug-in's operations
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        raise HarnessError(f"connector kind {connector.kind.name!r} cannot be written as ONNX: {reason}") from error
    finally:
        for logger, level in zip(verbose, levels, strict=True):
            logger.setLevel(level)
    return written.getvalue()


def form(made: ToExport) -> Mapping[str, bytes]:
    """The form of export: ``connector.onnx`` beside the other files."""
    manifest, metrics = made.manifest, made.metrics
    texts = manifest.connector["direction"] == "text_to_image"
    name, encoders = (metrics.text, manifest.text_encoders) if texts else (metrics.image, manifest.image_encoders)
    dim = next(encoder.dim for encoder in encoders if encoder.id == name)
    return {FILE: connector_onnx(made.connector, dim)}
