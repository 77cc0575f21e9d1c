"""The pictures of the page: whose connectors are shown, and what the store holds of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.run.records import Examples, ShownCaption
from reports.analysis import Analysis
from reports.captions import captioning
from reports.protagonists import best_delivered, joint
from reports.schema import Pair
from reports.wording import pair_name


@dataclass(frozen=True)
class PictureList:
    """One connector's first pictures.

    Attributes:
        says: Method, pair and place of the right picture.
        number: The pair's number.
        pictures: JPEGs in base64, and whether each is the right one.
    """

    says: str
    number: int
    pictures: list[tuple[str, bool]]


@dataclass(frozen=True)
class CaptionRow:
    """A caption, its own picture, and what connectors find for it."""

    caption: str
    own: str
    lists: list[PictureList]


@dataclass(frozen=True)
class PictureSection:
    """Captions taken evenly, and the worst misses."""

    even: list[CaptionRow]
    worst: list[CaptionRow]
    first: str
    images: int


def shown_connectors(analysis: Analysis) -> list[tuple[str, Pair]]:
    """(method, pair): what the report recommends, the reference's own pick, and the joint method's; each once."""
    if analysis.manifest.sweep.get("language_models"):
        return captioning(analysis)
    chosen = analysis.recommendation
    found = [] if chosen is None else [(chosen.label, chosen.pair)]
    for result in (analysis.reference, joint(analysis), best_delivered(analysis)):
        if result is not None and result.summary.best_pair is not None and result.summary.delivered.value is not None:
            found.append((result.label, result.summary.best_pair))
    return list(dict.fromkeys(found))[:3]


def picture_section(analysis: Analysis, examples: Examples | None) -> PictureSection | None:
    """What the page shows; None where the run has no pictures, or they are of pairs that it has no longer."""
    if examples is None or not examples.captions:
        return None
    shown = examples.captions[0].lists
    if not shown or any((one.image, one.text) not in analysis.manifest.pairs for one in shown):
        return None
    first = f"{shown[0].label}'s connector of {pair_name((shown[0].image, shown[0].text))}"
    return PictureSection(
        _rows(analysis, examples, examples.captions), _rows(analysis, examples, examples.worst), first, examples.images
    )


def _rows(analysis: Analysis, examples: Examples, captions: Sequence[ShownCaption]) -> list[CaptionRow]:
    return [
        CaptionRow(
            one.caption,
            examples.pictures.get(one.own, ""),
            [
                PictureList(
                    f"{each.label}: {pair_name((each.image, each.text))}, right one at place {each.rank}",
                    analysis.manifest.pairs.index((each.image, each.text)),
                    [(examples.pictures.get(row, ""), row == one.own) for row in each.first],
                )
                for each in one.lists
            ],
        )
        for one in captions
    ]
