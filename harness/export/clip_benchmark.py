"""Exported models in LAION's CLIP_benchmark (https://github.com/LAION-AI/CLIP_benchmark), whose code is not changed.

``python -m harness.export.clip_benchmark eval --model_type stitched --pretrained DIR ...`` is the benchmark's own
command line with one more model type. It takes a folder that ``harness export`` wrote.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional

from harness.data.pictures import to_rgb
from harness.encoders.modules import TakesPixels
from harness.errors import HarnessError
from harness.export.stitched import StitchedModel

MODEL_TYPE = "stitched"
"""What ``--model_type`` is called."""

PAD = -1
"""Stands after the bytes of a text."""


class ClipModel(nn.Module):
    """A stitched model with the methods that CLIP_benchmark calls.

    Args:
        model: The stitched model.

    Raises:
        HarnessError: Its text side is a language model, which embeds no texts.
    """

    def __init__(self, model: StitchedModel) -> None:
        super().__init__()
        self._model, self._images = model, model.encoder("image")
        if (language := model.encoder("text").info).language is not None:
            raise HarnessError("is a language model: CLIP_benchmark compares embeddings", where=language.id)

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Float[Tensor, "n dim"]:
        """L2-normalised embeddings of what ``transform`` made: ``[n, 3, height, width]``, or encoder rows ``[n, dim]``.

        Computed in float32 also under the benchmark's automatic mixed precision: so were the banks that the connector
        was trained on.
        """
        with torch.autocast(pixels.device.type, enabled=False):
            rows = torch.from_numpy(self._images.embed(pixels)) if isinstance(self._images, TakesPixels) else pixels
            return self._model.placed(rows.to(pixels.device), "image")

    @torch.inference_mode()
    def encode_text(self, tokens: Int64[Tensor, "n bytes"]) -> Float[Tensor, "n dim"]:
        """L2-normalised embeddings of what ``tokenizer`` made."""
        texts = [bytes(byte for byte in row if byte != PAD).decode() for row in tokens.tolist()]
        with torch.autocast(tokens.device.type, enabled=False):
            return self._model.encode_text(texts)

    @property
    def transform(self) -> Callable[[Image], Tensor]:
        """From a picture to what ``encode_image`` takes: pixels, where the encoder is a network that takes them.

        Other encoders embed the picture here, in the benchmark's loader.
        """
        encoder = self._images
        if isinstance(encoder, TakesPixels):
            return lambda image: encoder.transform(to_rgb(image))
        return lambda image: torch.from_numpy(encoder.encode([to_rgb(image)])[0]).float()


def tokenizer(texts: str | Sequence[str]) -> Int64[Tensor, "n bytes"]:
    """Texts as the numbers of their UTF-8 bytes, then ``PAD``: a tensor that can be moved and cut like any other.

    What tokenizer the text encoder has, and whether it is one with numbers at all, is the encoder's business.
    """
    rows = [list(text.encode()) for text in ([texts] if isinstance(texts, str) else texts)]
    longest = max((len(row) for row in rows), default=0)
    return torch.stack(
        [functional.pad(torch.tensor(row, dtype=torch.long), (0, longest - len(row)), value=PAD) for row in rows]
    )


def load_stitched(
    model_name: str = "", pretrained: str | Path = "", cache_dir: str | None = None, device: str | torch.device = "cpu"
) -> tuple[ClipModel, Callable[[Image], Tensor], Callable[[str | Sequence[str]], Tensor]]:
    """(model, transform, tokenizer), as the loaders of CLIP_benchmark return them.

    Args:
        model_name: Not used; the benchmark writes it into its results.
        pretrained: The exported folder.
        cache_dir: Not used: encoders lie in their libraries' own caches.
        device: Where everything computes.

    Raises:
        HarnessError: Not an export, or an encoder that cannot be loaded.
    """
    del model_name, cache_dir
    model = ClipModel(StitchedModel.load(pretrained, device=str(device)))
    return model, model.transform, tokenizer


def register() -> None:
    """Make the model type known to CLIP_benchmark in this process.

    Raises:
        HarnessError: The package is not installed.
    """
    try:
        models: Any = importlib.import_module("clip_benchmark.models")
    except ImportError as error:
        what = f"CLIP_benchmark cannot be imported: {error}"
        raise HarnessError(what, fix='pip install "stitch-harness[clip-benchmark]"') from error
    _mend_accuracy()
    models.TYPE2FUNC[MODEL_TYPE] = load_stitched
    if MODEL_TYPE not in models.MODEL_TYPES:  # the benchmark's command line holds the same list
        models.MODEL_TYPES.append(MODEL_TYPE)


def _accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    right = output.topk(max(topk), dim=1).indices == target[:, None]
    return [float(right[:, :k].any(1).double().mean()) for k in topk]


def _mend_accuracy() -> None:
    """Version 1.6.2 takes the float of an array with one entry, which numpy 2.4 refuses: then it is computed anew."""
    zeroshot_classification: Any = importlib.import_module("clip_benchmark.metrics.zeroshot_classification")
    try:
        zeroshot_classification.accuracy(torch.eye(2), torch.arange(2))
    except TypeError:
        zeroshot_classification.accuracy = _accuracy


def main() -> None:
    """The benchmark's command line, with one more model type."""
    try:
        register()
        benchmark: Any = importlib.import_module("clip_benchmark.cli")
        benchmark.main()
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
