"""Test score of every pair under every method: a cell says its numbers on hover and leads to its pair."""

import numpy as np
from matplotlib import colormaps

from reports import formatting
from reports.analysis import Analysis
from reports.compare import seed_mean
from reports.drawn.canvas import Canvas, hint, label, tag
from reports.drawn.panel import Drawing, Panel
from reports.order import encoder_order
from reports.rows import MethodResult
from reports.wording import pair_name

SHADES = 32
"""Classes ``h0`` (worst) to ``h31`` (best)."""
NARROW = 14
"""Text encoders from which on a panel is wider than a phone."""


def shades_css() -> str:
    """The rules of the shades: cividis, which reads the same with colour vision deficiencies and in grey."""
    rules = []
    for number in range(SHADES):
        red, green, blue, _ = colormaps["cividis"](number / (SHADES - 1))
        rules.append(f".h{number}{{fill:#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}}}")
    return "".join(rules)


def heatmaps(analysis: Analysis) -> Drawing:
    """A panel for each method with scores: one scale for connectors, one each for training-free scores."""
    shown = [r for r in analysis.methods.values() if np.isfinite(r.data.scores).any()]
    shown.sort(key=lambda r: (r.label != analysis.summary.reference, not np.isfinite(r.data.test).any()))
    tests = [values for r in shown if np.isfinite(values := seed_mean(r.data.test)).any()]
    known = np.concatenate([values[np.isfinite(values)] for values in tests]) if tests else np.array([0.0, 1.0])
    order = encoder_order(analysis)
    caption = (
        "Mean over seeds of the test score; a training-free method's own score, on its own scale, where it says so. "
        "Encoders are sorted by their main effects, the best first. Framed: the pair that the method picks on "
        "validation data. Grey: no result. A click opens the pair."
    )
    panels = [_panel(analysis, r, order, (float(known.min()), float(known.max()))) for r in shown]
    return Drawing("heatmaps", caption, panels)


def _panel(
    analysis: Analysis, result: MethodResult, order: tuple[list[str], list[str]], ends: tuple[float, float]
) -> Panel:
    (images, texts), manifest = order, analysis.manifest
    own = not np.isfinite(result.data.test).any()
    values = seed_mean(result.data.scores if own else result.data.test)
    better = result.data.score_higher if own else result.data.metric_higher
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if own else ends
    short_i, short_t = formatting.short_names(images, 22), formatting.short_names(texts, 18)
    side = float(np.clip(330 / len(texts), 15, 46))
    tall = min(side, float(np.clip(420 / len(images), 15, 30)))
    left = 9 + 6.4 * max(len(short_i[i]) for i in images)
    above = 12 + 4.7 * max(len(short_t[t]) for t in texts)
    canvas = Canvas(left + side * len(texts) + 42, above + tall * len(images) + 30)
    row = {image: above + tall * n for n, image in enumerate(images)}
    column = {text: left + side * n for n, text in enumerate(texts)}
    for image, y in row.items():
        canvas.add(label(short_i[image], left - 5, y + tall / 2 + 3.5, anchor="end", class_="encoder"))
    for text, x in column.items():
        canvas.add(label(short_t[text], x + side / 2 + 3, above - 5, anchor="start", class_="encoder", turn=-45))
    intervals = result.delivered.each
    for number, pair in enumerate(manifest.pairs):
        value, place = float(values[number]), (column[pair[1]], row[pair[0]])
        says = f"{pair_name(pair)}\n{result.label}: {formatting.number(value)}"
        if intervals is not None and not own:
            says += f" {formatting.interval((intervals[number, 0], intervals[number, 1]))}"
        says += " (its own score)" if own else " on test data"
        canvas.add(_cell(place, (side, tall), _shade(value, low, high, better), number, says, value))
    best = result.summary.best_pair
    if best is not None:
        place = column[best[1]], row[best[0]]
        canvas.add(tag("rect", x=place[0], y=place[1], width=side, height=tall, class_="pick"))
    _bar(canvas, left, above + tall * len(images) + 8, (low, high), better=better)
    title = result.label + (" (its own score)" if own else "")
    return Panel(title, canvas.svg(title), result.label, wide=len(texts) > NARROW)


def _shade(value: float, low: float, high: float, better: bool) -> int | None:
    if not np.isfinite(value):
        return None
    share = (value - low) / (high - low) if high > low else 1.0
    return round((share if better else 1 - share) * (SHADES - 1))


def _cell(
    place: tuple[float, float], size: tuple[float, float], shade: int | None, number: int, says: str, value: float
) -> str:
    class_ = "none" if shade is None else f"h{shade}"
    drawn = tag("rect", x=place[0], y=place[1], width=size[0], height=size[1], class_=class_)
    if shade is not None and size[0] >= 26:
        text = f"{value:.2f}".removeprefix("0") if abs(value) < 1 else f"{value:.3g}"
        ink = "light" if shade < SHADES * 0.55 else "dark"
        drawn += label(text, place[0] + size[0] / 2, place[1] + size[1] / 2 + 3.5, class_=f"value {ink}")
    return tag("g", hint(says) + drawn, class_="cell", data_pair=number)


def _bar(canvas: Canvas, left: float, top: float, ends: tuple[float, float], *, better: bool) -> None:
    """The scale of the colours, below the panel."""
    width = min(150.0, canvas.width - left - 60)
    texts = [formatting.number(end, 2) for end in (ends if better else ends[::-1])]
    canvas.add(label(texts[0], left, top + 9, anchor="start"))
    start = left + 6.2 * len(texts[0]) + 4
    for number in range(SHADES):
        step = width / SHADES
        canvas.add(tag("rect", x=start + number * step, y=top, width=step + 0.4, height=10.0, class_=f"h{number}"))
    canvas.add(label(texts[1], start + width + 5, top + 9, anchor="start"))
