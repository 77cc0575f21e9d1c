"""Where names stand beside points so that none covers another name or a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DIRECTIONS = ((1, 0), (1, -1), (0, -1), (0, 1), (1, 1), (-1, -1), (-1, 1), (-1, 0))
RINGS = (8.0, 17.0, 30.0, 46.0)
"""Distances from a point that are tried in turn; beyond the first a thin line leads to the point."""


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom, downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: "Box") -> bool:
        """Whether both have some area in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: "Box") -> bool:
        """Whether it lies inside the other."""
        inside = self.left >= other.left and self.right <= other.right
        return inside and self.top >= other.top and self.bottom <= other.bottom


def placed(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    others: Sequence[tuple[float, float]] = (),
    lines: Sequence[Box] = (),
    radius: float = 5.0,
) -> list[tuple[Box, bool] | None]:
    """A place for the name of every point.

    Args:
        points: What is named, the most important first.
        sizes: Width and height of each name.
        bounds: Where names may stand.
        others: Further points that names must not cover.
        lines: What names should not cover where there is room elsewhere.
        radius: Of the points.

    Returns:
        For each its box, and whether it is so far from its point that a line has to lead there; None where there is no
        room.
    """
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in (*points, *others)]
    found: list[tuple[Box, bool] | None] = []
    for point, size in zip(points, sizes, strict=True):
        tried = [(box, far) for box, far in _tried(point, size) if box.within(bounds)]
        free = [(box, far) for box, far in tried if not any(box.covers(other) for other in taken)]
        clear = (one for one in free if not any(one[0].covers(line) for line in lines))
        best = next(clear, free[0] if free else None)
        found.append(best)
        if best is not None:
            taken.append(best[0])
    return found


def _tried(point: tuple[float, float], size: tuple[float, float]) -> Iterator[tuple[Box, bool]]:
    """Places around a point, the nearest first."""
    (x, y), (width, height) = point, size
    for ring in RINGS:
        for across, down in DIRECTIONS:
            reach = ring if 0 in (across, down) else 0.7 * ring
            middle = x + across * (reach + width / 2), y + down * (reach + height / 2)
            left, top = middle[0] - width / 2, middle[1] - height / 2
            yield Box(left, top, left + width, top + height), ring > RINGS[0]
