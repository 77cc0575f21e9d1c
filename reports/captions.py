"""Pictures with what language models say of them: the best, the median and the worst pair, and without an image."""

from dataclasses import dataclass

import numpy as np

from harness.run.records import Examples
from reports import formatting
from reports.analysis import Analysis
from reports.protagonists import best_delivered
from reports.schema import Pair
from reports.scores import seed_mean
from reports.wording import pair_name

PLACES = {1: ("the only pair",), 2: ("best pair", "worst pair"), 3: ("best pair", "median pair", "worst pair")}


@dataclass(frozen=True)
class CaptionColumn:
    """A connector whose captions are shown.

    Attributes:
        place: Its pair's place, in words.
        says: Method, pair and its mean test score.
        number: The pair's number.
        no_image: What it says without an image.
    """

    place: str
    says: str
    number: int
    no_image: str


@dataclass(frozen=True)
class CaptionedRow:
    """A picture (a JPEG in base64), a caption of the data, and what each connector says."""

    picture: str
    written: str
    said: list[str]


@dataclass(frozen=True)
class CaptionSection:
    """What the page shows of captions."""

    columns: list[CaptionColumn]
    rows: list[CaptionedRow]
    images: int


def captioning(analysis: Analysis) -> list[tuple[str, Pair]]:
    """(method, pair): the best, the median and the worst pair of one method, by their mean test scores.

    The method is the one that the report recommends, else the reference, else the one that delivers best.
    """
    chosen, reference = analysis.recommendation, analysis.reference
    result = analysis.methods[chosen.label] if chosen is not None else reference
    if result is None or not result.connectors:
        result = best_delivered(analysis)
    if result is None:
        return []
    quality = seed_mean(result.data.quality)
    known = np.flatnonzero(np.isfinite(quality))
    order = known[np.argsort(-quality[known], kind="stable")]
    places = sorted({0, (len(order) - 1) // 2, len(order) - 1}) if len(order) else []
    return [(result.label, analysis.manifest.pairs[order[place]]) for place in places]


def caption_section(analysis: Analysis, examples: Examples | None) -> CaptionSection | None:
    """What the page shows; None where the run has no captions, or they are of pairs that it has no longer."""
    if examples is None or len(examples.captioners) not in PLACES:
        return None
    pairs = analysis.manifest.pairs
    shown = examples.captioners
    if any((one.image, one.text) not in pairs or one.label not in analysis.methods for one in shown):
        return None
    columns = []
    for place, one in zip(PLACES[len(shown)], shown, strict=True):
        number = pairs.index((one.image, one.text))
        value = float(seed_mean(analysis.methods[one.label].data.test)[number])
        score = f"{analysis.manifest.selection.metric} {formatting.number(value)}"
        says = f"{one.label}: {pair_name((one.image, one.text))}, {score}"
        columns.append(CaptionColumn(place, says, number, one.no_image))
    rows = [CaptionedRow(examples.pictures.get(one.own, ""), one.written, one.said) for one in examples.captioned]
    return CaptionSection(columns, rows, examples.images)
