"""SVG elements as text, scales, and the frame of a panel. Sizes are in SVG units, about a pixel each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from reports.drawn.ticks import linear_ticks, log_ticks

WIDTH, HEIGHT = 440.0, 262.0
"""Size of a panel that stands beside another one, and alone on a phone."""
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 42.0
GLYPH = 6.1
"""Mean width of a letter at the size of labels (11 units)."""


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; ``class_`` is written ``class``, ``data_pair`` is ``data-pair``, None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else escape(str(value))


def label(text: str, x: float, y: float, *, anchor: str = "middle", class_: str = "tick", turn: float = 0) -> str:
    """A text, turned by so many degrees around its own place."""
    turned = f"rotate({turn:g} {x:.5g} {y:.5g})" if turn else None
    return tag("text", escape(text), x=x, y=y, text_anchor=anchor, class_=class_, transform=turned)


def hint(text: str) -> str:
    """What is said on hover, and read out."""
    return tag("title", escape(text))


@dataclass(frozen=True)
class Scale:
    """Data to places along one axis.

    Attributes:
        low: First value shown.
        high: Last one.
        start: Place of the first.
        end: Place of the last.
        log: A log scale, for positive values.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; one beyond the axis is put at its end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Values to mark: at least two, however short the axis."""
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """First and last value of a linear axis with some room on both sides."""
    low, high = min(values), max(values)
    room = share * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def log_padded(values: Sequence[float], share: float = 0.1) -> tuple[float, float]:
    """The same for a log axis."""
    low, high = (math.log10(end) for end in (min(values), max(values)))
    room = max(share * (high - low), 0.08)
    return 10 ** (low - room), 10 ** (high + room)


@dataclass
class Canvas:
    """A panel that is being drawn.

    Attributes:
        width: Its size.
        height: Its size.
        parts: Elements so far; later ones lie above.
    """

    width: float = WIDTH
    height: float = HEIGHT
    parts: list[str] = field(default_factory=list)

    def add(self, *parts: str) -> None:
        """Put elements on top."""
        self.parts += parts

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """A straight line."""
        self.add(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_))

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> None:
        """A line through points."""
        if len(points) > 1:
            self.add(tag("polyline", points=" ".join(f"{x:.5g},{y:.5g}" for x, y in points), class_=class_))

    def svg(self, title: str) -> str:
        """The whole panel."""
        box = f"0 0 {self.width:g} {self.height:g}"
        most = f"max-width:{1.35 * self.width:.0f}px"
        return tag("svg", "".join(self.parts), viewBox=box, role="group", aria_label=title, style=most)


def frame(
    canvas: Canvas, x: Scale, y: Scale, titles: tuple[str, str], texts: tuple[Sequence[str], Sequence[str]]
) -> None:
    """Grid, ticks and titles of a panel.

    Args:
        canvas: The panel.
        x: Horizontal scale.
        y: Vertical scale.
        titles: Of the horizontal and the vertical axis.
        texts: What stands at the ticks of each.
    """
    top, bottom = min(y.start, y.end), max(y.start, y.end)
    for value, text in zip(x.ticks, texts[0], strict=True):
        canvas.line(x(value), top, x(value), bottom, "grid")
        canvas.add(label(text, x(value), bottom + 14))
    for value, text in zip(y.ticks, texts[1], strict=True):
        canvas.line(x.start, y(value), x.end, y(value), "grid")
        canvas.add(label(text, x.start - 6, y(value) + 4, anchor="end"))
    canvas.line(x.start, bottom, x.end, bottom, "axis")
    canvas.add(label(titles[0], (x.start + x.end) / 2, bottom + 32, class_="name"))
    canvas.add(label(titles[1], 12, (top + bottom) / 2, class_="name", turn=-90))
