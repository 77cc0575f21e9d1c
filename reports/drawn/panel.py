"""A figure of the page: its panels, and what is said below them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        title: Above it.
        svg: The drawing.
        method: The label of the method that it shows; empty where it shows several.
        wide: Its drawing may be wider than a phone: then it scrolls.
    """

    title: str
    svg: str
    method: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: That of the files below ``plots/`` that show the same.
        caption: What it shows and how it is read.
        panels: Its panels; none where the run has nothing to show.
        legend: Colours and shapes, as HTML; empty where panels need none.
    """

    name: str
    caption: str
    panels: list[Panel]
    legend: str = ""
