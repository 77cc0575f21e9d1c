"""Test captions with the pictures that connectors find for them: what the report shows, made where the data are."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.export.captioned import write_captions
from harness.export.folder import stored_connector
from harness.export.thumbnails import thumbnails
from harness.run.records import Examples, ShownCaption, ShownList
from harness.run.store import RunStore
from harness.sweep.resolve import ResolvedSweep
from harness.tasks.base import both_sides, ranks_of_right

CAPTIONS, WORST, FIRST = 12, 6, 5
"""Captions taken evenly, worst misses, and pictures shown for each."""


def write_examples(resolved: ResolvedSweep, store: RunStore, wanted: Sequence[tuple[str, Pair]]) -> Examples | None:
    """Search the test images with some captions under some connectors, and store what is found.

    The captions are evenly spaced over the test captions, so that nobody chose them by what is found; the worst misses
    stand by themselves. Nothing of this is part of a method's numbers or costs.

    Args:
        resolved: The sweep, its banks made.
        store: The run.
        wanted: (method, pair) whose connectors are shown, the first one decides which misses are the worst.

    Returns:
        What was stored; None where the data hold no pictures or no captions, or none of the connectors is there.
    """
    if resolved.language:  # nothing is searched for in the space of a language model's inputs
        return write_captions(resolved, store, wanted, resolved.language)
    image_rows, caption_rows, owner = resolved.index.paired("test")
    brings_own = any(resolved.dataset.own_encoders(side) is not None for side in ("image", "text"))
    if brings_own or resolved.without_test or not len(caption_rows):
        return None
    found = {}
    for label, pair in wanted:
        try:
            connector, seed = stored_connector(store, label, pair)
        except HarnessError:
            continue  # it only predicts scores
        split = resolved.open((pair,), "test")
        with torch.inference_mode():
            direction = resolved.sweep.connector.direction
            sides = both_sides(connector, split.images(pair[0]), split.texts(pair[1]), direction)
            found[label, pair, seed] = (*sides, ranks_of_right(sides[1], sides[0], torch.from_numpy(owner)))
    if not found:
        return None
    ranks = next(iter(found.values()))[2]
    even = np.unique(np.linspace(0, len(caption_rows) - 1, min(CAPTIONS, len(caption_rows))).round().astype(int))
    worst = np.argsort(-ranks, kind="stable")[:WORST]
    try:
        texts = dict(zip([*even, *worst], _captions(resolved, caption_rows[[*even, *worst]]), strict=True))

        def shown(chosen: Int[np.ndarray, " captions"]) -> list[ShownCaption]:
            return [
                ShownCaption(
                    caption=texts[caption],
                    own=int(image_rows[owner[caption]]),
                    lists=[_list(key, sides, image_rows, int(caption)) for key, sides in found.items()],
                )
                for caption in chosen
            ]

        captions, misses = shown(even), shown(worst)
        every = (*captions, *misses)
        rows = sorted({row for one in every for row in (one.own, *(n for each in one.lists for n in each.first))})
        pictures = thumbnails(resolved, rows)
    except HarnessError:
        return None  # pictures that were embedded once may be gone; a report does not need them
    examples = Examples(images=len(image_rows), captions=captions, worst=misses, pictures=pictures)
    store.write_examples(examples)
    return examples


def _list(
    key: tuple[str, Pair, int],
    sides: tuple[Float[Tensor, "images dim"], Float[Tensor, "captions dim"], Int[np.ndarray, " captions"]],
    image_rows: Int[np.ndarray, " images"],
    caption: int,
) -> ShownList:
    images, texts, ranks = sides
    order = torch.topk(images @ texts[caption], min(FIRST, len(images))).indices.cpu().numpy()
    (label, pair, seed), first = key, [int(image_rows[place]) for place in order]
    return ShownList(label=label, image=pair[0], text=pair[1], seed=seed, rank=int(ranks[caption]), first=first)


def _captions(resolved: ResolvedSweep, rows: Int[np.ndarray, " captions"]) -> Iterable[str]:
    return (str(sample) for sample in resolved.dataset.samples("text", [int(row) for row in rows]))
