"""Learning curves: validation score and rank quality against FLOPs, with epochs on hover and beside the last point."""

from collections.abc import Sequence

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.drawn.canvas import BOTTOM, LEFT, RIGHT, TOP, Canvas, Scale, frame, hint, label, log_padded, padded, tag
from reports.drawn.marks import legend, looks, mark
from reports.drawn.panel import Drawing, Panel
from reports.traces import Trace


def curves(analysis: Analysis, found: Sequence[Trace]) -> Drawing:
    """Both panels; none where no method has a curve."""
    metric = analysis.manifest.selection.metric
    ceiling = analysis.summary.noise_ceiling.spearman
    caption = (
        "Mean over seeds, and on the left over pairs. Numbers are epochs. Rank quality: Spearman correlation of the "
        "validation ranking at that point with the reference's test scores at its full budget; dashed is the noise "
        "ceiling, dotted is chance."
        if analysis.truth is not None
        else "Mean over seeds and pairs. Numbers are epochs."
    )
    scores = [(t, t.scores) for t in found if t.scores is not None]
    ranks = [(t, t.ranks) for t in found if t.ranks is not None]
    panels = [_panel(analysis, scores, "Score against FLOPs", f"validation {metric}", [])]
    levels = [(0.0, "chance")] + ([] if ceiling is None else [(ceiling, "reference")])
    panels.append(_panel(analysis, ranks, "Rank quality against FLOPs", "Spearman with the reference", levels))
    shown = [panel for panel in panels if panel is not None]
    own = looks(analysis)
    return Drawing("curves", caption, shown, legend({t.label: own[t.label] for t in found}) if shown else "")


def _panel(
    analysis: Analysis,
    lines: Sequence[tuple[Trace, list[float]]],
    title: str,
    axis: str,
    levels: Sequence[tuple[float, str]],
) -> Panel | None:
    drawn = [
        (t, [(p, h) for p, h in zip(t.points, heights, strict=True) if np.isfinite(h) and p.flops > 0])
        for t, heights in lines
    ]
    drawn = [(t, points) for t, points in drawn if points]
    if not drawn:
        return None
    canvas, look = Canvas(), looks(analysis)
    x = Scale(*log_padded([p.flops for _, points in drawn for p, _ in points]), LEFT, canvas.width - RIGHT, log=True)
    heights = [h for _, points in drawn for _, h in points] + [value for value, _ in levels]
    y = Scale(*padded(heights), canvas.height - BOTTOM, TOP)
    texts = [formatting.flops(v).replace("FLOP", "").strip() for v in x.ticks], [f"{v:.3g}" for v in y.ticks]
    frame(canvas, x, y, ("FLOPs per seed, all pairs", axis), texts)
    for value, class_ in levels:
        canvas.line(LEFT, y(value), x.end, y(value), class_)
    for t, points in drawn:
        own = look[t.label]
        places = [(x(p.flops), y(h)) for p, h in points]
        canvas.path(places, f"curve {own.colour}")
        for (p, h), place in zip(points, places, strict=True):
            says = f"{t.label}\n{formatting.number(h)} at {formatting.flops(p.flops)}"
            says += f"\nepoch {p.epoch:.3g}, {formatting.count(p.updates)} updates per pair" if p.epoch else ""
            canvas.add(tag("g", hint(says) + mark(own, *place, 3.4), data_method=t.label, class_="kept"))
        (p, _), (end_x, end_y) = points[-1], places[-1]
        if p.epoch > 0:
            canvas.add(label(f"{p.epoch:.3g}", end_x, end_y - 8, class_="tick"))
    return Panel(title, canvas.svg(title))
