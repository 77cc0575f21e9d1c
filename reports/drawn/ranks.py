"""Place of every pair by a method's validation scores against its place by the reference's test scores."""

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.compare import seed_mean
from reports.drawn.canvas import Canvas, Scale, frame, hint, tag
from reports.drawn.panel import Drawing, Panel
from reports.ranking import places
from reports.rows import MethodResult
from reports.wording import pair_name

SIDE = 300.0
LEFT, TOP, BOTTOM = 48.0, 10.0, 42.0


def ranks(analysis: Analysis) -> Drawing:
    """A panel for each method but the reference; none where there is nothing to compare with."""
    truth, reference = analysis.truth, analysis.reference
    caption = (
        "On the diagonal both agree; a random order fills the square. Shaded: pairs that the reference's test scores "
        "do not separate from its best. A click opens the pair."
    )
    if truth is None or reference is None or not np.isfinite(truth.mean).any():
        return Drawing("ranks", caption, [])
    others = [r for r in analysis.methods.values() if r is not reference and np.isfinite(r.data.scores).any()]
    theirs = places(truth.mean)
    return Drawing("ranks", caption, [_panel(analysis, result, reference, theirs) for result in others])


def _panel(analysis: Analysis, result: MethodResult, reference: MethodResult, theirs: np.ndarray) -> Panel:
    canvas = Canvas(SIDE + LEFT + 12, SIDE + TOP + BOTTOM)
    n = len(analysis.manifest.pairs)
    x, y = Scale(0, n + 1, LEFT, LEFT + SIDE), Scale(0, n + 1, TOP, TOP + SIDE)
    if analysis.ties is not None and len(analysis.ties) > 1:
        width = x(len(analysis.ties) + 0.5) - LEFT
        canvas.add(tag("rect", x=LEFT, y=TOP, width=width, height=SIDE, class_="band"))
    texts = [f"{value:g}" for value in x.ticks]
    frame(canvas, x, y, (f"place by {reference.label} (test)", f"place by {result.label} (validation)"), (texts, texts))
    canvas.line(x(0), y(0), x(n + 1), y(n + 1), "chance")
    own = places(seed_mean(result.data.ranking))
    for number, pair in enumerate(analysis.manifest.pairs):
        if np.isfinite(own[number]) and np.isfinite(theirs[number]):
            says = f"{pair_name(pair)}\nplace {theirs[number]:g} (test), {own[number]:g} (validation)"
            at = round(x(theirs[number]), 1), round(y(own[number]), 1)
            dot = tag("circle", cx=at[0], cy=at[1], r=4.2 if n <= 100 else 2.4, class_="mark s0")
            canvas.add(tag("g", hint(says) + dot, class_="kept", data_pair=number))
    spearman = formatting.with_interval(result.summary.spearman.value, result.summary.spearman.ci95)
    ceiling = formatting.number(analysis.summary.noise_ceiling.spearman)
    title = f"{result.label}: Spearman {spearman} (chance 0, noise ceiling {ceiling})"
    return Panel(title, canvas.svg(title), result.label)
