"""How methods look in every figure: a colour and a shape for each family, the same on the whole page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reports.analysis import Analysis
from reports.drawn.canvas import tag
from reports.palette import OKABE_ITO

COLOURS = len(OKABE_ITO)
"""Classes ``s0``, ``s1``, ... of the style sheet."""


@dataclass(frozen=True)
class Look:
    """A family's colour class and shape."""

    colour: str
    shape: int


def looks(analysis: Analysis) -> dict[str, Look]:
    """Label -> how it looks; a ladder's labels (``ape@4``, ``ape@8``) look the same."""
    families = list(dict.fromkeys(label.partition("@")[0] for label in analysis.methods))
    found = {family: Look(f"s{n % COLOURS}", n % len(SHAPES)) for n, family in enumerate(families)}
    return {label: found[label.partition("@")[0]] for label in analysis.methods}


def mark(look: Look, x: float, y: float, size: float = 5.0, *, hollow: bool = False) -> str:
    """A point."""
    class_ = f"mark {look.colour}{' hollow' if hollow else ''}"
    corners = SHAPES[look.shape]
    if corners is None:
        return tag("circle", cx=x, cy=y, r=size, class_=class_)
    points = " ".join(f"{x + size * across:.5g},{y + size * down:.5g}" for across, down in corners)
    return tag("polygon", points=points, class_=class_)


def legend(labels: Mapping[str, Look]) -> str:
    """Families with their marks, as one line of HTML."""
    families = {label.partition("@")[0]: look for label, look in labels.items()}
    items = []
    for family, look in families.items():
        drawn = tag("svg", mark(look, 7.0, 7.0), viewBox="0 0 14 14", width=14, height=14, aria_hidden="true")
        items.append(tag("span", drawn + tag("span", _escaped(family)), class_="key", data_family=family))
    return tag("div", "".join(items), class_="legend")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _polygon(corners: int, turn: float = 0.0) -> Sequence[tuple[float, float]]:
    angles = [turn + 2 * math.pi * n / corners - math.pi / 2 for n in range(corners)]
    return [(1.15 * math.cos(a), 1.15 * math.sin(a)) for a in angles]


_turned = partial(_polygon, turn=math.pi)
_CROSS = [(-1, -0.4), (-0.4, -0.4), (-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4)]
SHAPES: tuple[Sequence[tuple[float, float]] | None, ...] = (
    None,
    _polygon(4, math.pi / 4),
    _polygon(3),
    _polygon(4),
    _turned(3),
    _polygon(5),
    [*_CROSS, *((-x, -y) for x, y in _CROSS)],
    _polygon(6),
)
"""Corners of the shapes of the page's points; None is a disc."""
