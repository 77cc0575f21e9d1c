"""Test pictures with the greedy captions of some connectors into language models: what the report shows."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.language import Language
from harness.contract.pairs import Pair
from harness.encoders.devices import check_device
from harness.errors import HarnessError
from harness.export.folder import stored_connector
from harness.export.thumbnails import thumbnails
from harness.run.records import CaptionedPicture, Captioner, Examples
from harness.run.store import RunStore
from harness.sweep.resolve import ResolvedSweep

PICTURES = 8
"""Test pictures that are captioned."""


def write_captions(
    resolved: ResolvedSweep, store: RunStore, wanted: Sequence[tuple[str, Pair]], language: Language
) -> Examples | None:
    """Caption some test pictures under some connectors, and store what is said.

    The pictures are evenly spaced over the captioned test pictures, so that nobody chose them by what is said of them.
    Nothing of this is part of a method's numbers or costs.

    Args:
        resolved: The sweep, its banks made.
        store: The run.
        wanted: (method, pair) whose connectors are shown, the best first.
        language: The sweep's language models.

    Returns:
        What was stored; None where the data hold no pictures, or a connector or a language model is not to be had.
    """
    image_rows, caption_rows, owner = resolved.index.paired("test")
    if resolved.dataset.own_encoders("image") is not None or resolved.without_test or not len(caption_rows):
        return None
    captioned, first = np.unique(owner, return_index=True)
    chosen = np.unique(np.linspace(0, len(captioned) - 1, min(PICTURES, len(captioned))).round().astype(int))
    at = captioned[chosen]
    rows = [int(row) for row in image_rows[at]]
    captioners, said = [], []
    try:
        for label, pair in wanted:
            connector, seed = stored_connector(store, label, pair)
            features = resolved.open((pair,), "test").images(pair[0], at)
            with torch.inference_mode():
                alone, *captions = _captions(resolved, language, pair[1], connector(features))
            captioners.append(Captioner(label=label, image=pair[0], text=pair[1], seed=seed, no_image=alone))
            said.append(captions)
        written = resolved.dataset.samples("text", [int(row) for row in caption_rows[first[chosen]]])
        shown = [
            CaptionedPicture(own=row, written=str(caption), said=list(of_picture))
            for row, caption, of_picture in zip(rows, written, zip(*said, strict=True), strict=True)
        ]
        pictures = thumbnails(resolved, rows)
    except HarnessError:
        return None  # pictures or models that were there once may be gone; a report does not need them
    examples = Examples(
        images=len(captioned), captions=[], worst=[], pictures=pictures, captioners=captioners, captioned=shown
    )
    store.write_examples(examples)
    return examples


def _captions(
    resolved: ResolvedSweep, language: Language, name: str, mapped: Float[Tensor, "pictures prefix_dim"]
) -> list[str]:
    """The greedy caption behind a prefix of zeros, and that of every picture."""
    check_device(resolved.sweep.bank.device, where="bank.device")
    device = torch.device(resolved.sweep.bank.device)
    prefixes = torch.cat([torch.zeros_like(mapped[:1]), mapped]).view(1 + len(mapped), language.prefix, -1)
    return language.load(name, device).continuations(prefixes.to(device), language.shapes[name].tokens)
