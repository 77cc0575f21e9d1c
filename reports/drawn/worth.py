"""What methods are worth for their cost: the figure that decides, and the frontiers of every quality and cost."""

from collections.abc import Sequence

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.delivered import Resampled
from reports.drawn.canvas import (
    BOTTOM,
    GLYPH,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    Canvas,
    Scale,
    frame,
    hint,
    label,
    log_padded,
    padded,
    tag,
)
from reports.drawn.cuts import cut_rings, has_cuts
from reports.drawn.labels import Box, placed
from reports.drawn.marks import Look, legend, looks, mark
from reports.drawn.panel import Drawing, Panel
from reports.entries import QUALITIES, Cost, FrontierRow, Quality, placed_entries, staircase, undominated
from reports.wording import budget_text, pair_name

TITLES: dict[Quality, str] = {
    "delivered": "Delivered score",
    "mean_score": "Mean score",
    "spearman": "Rank quality",
    "regret": "Regret",
}
RINGS = "A matched view, chosen below, adds rings where it cuts each side; at the lower edge its score is not known."
FEW = 12
"""Points that are all named; of more only those on the frontier are, and the reference."""


def deciding(analysis: Analysis) -> Drawing:
    """Delivered and mean score against FLOPs for every method."""
    wanted: tuple[Quality, ...] = ("delivered", "mean_score")
    panels = [_panel(analysis, quality, "flops", height=214.0) for quality in wanted]
    shown = [panel for panel in panels if panel is not None]
    task = next((t for t in analysis.manifest.tasks if t.label == analysis.summary.selection.task), None)
    chance = None if task is None else task.chance.get(analysis.summary.selection.metric)
    parts = [
        f"Test {analysis.summary.selection.metric} against FLOPs per seed, as run, with 95 % intervals; small dots are "
        "seeds. The line joins what nothing beats at its cost.",
        f"Band: the reference ({analysis.summary.reference}) and its interval. Differences are paired, so a method "
        "inside it may still be surely better or worse: see Methods."
        if analysis.summary.reference
        else "",
        "" if chance is None else f"Chance is {formatting.number(chance)}.",
        RINGS if has_cuts(analysis) else "",
        _left_out(analysis, shown),
    ]
    return Drawing("connectors", " ".join(part for part in parts if part), shown)


def frontiers(analysis: Analysis) -> Drawing:
    """Every quality against device time, and rank quality against FLOPs."""
    wanted: list[tuple[Quality, Cost]] = [("spearman", "flops"), ("regret", "flops")]
    for quality in QUALITIES:
        wanted.append((quality, "seconds"))
    panels = [_panel(analysis, quality, cost) for quality, cost in wanted]
    caption = (
        "Every method at every budget, as run, mean over seeds; the line joins what nothing beats at its cost. The "
        "reference's own rank statistics are leave-one-seed-out: its Spearman is the noise ceiling. Chance is 0 for "
        "Spearman, and dotted for regret."
    ) + (f" {RINGS}" if has_cuts(analysis) else "")
    shown = [panel for panel in panels if panel is not None]
    return Drawing("frontier", caption, shown, legend(looks(analysis)) if shown else "")


def _left_out(analysis: Analysis, panels: Sequence[Panel]) -> str:
    if not panels:
        return ""
    entries = {e.label for e in placed_entries(analysis) if e.delivered is not None or e.mean_score is not None}
    others = {n: r for n, r in analysis.methods.items() if n not in entries}
    scores = [n for n, r in others.items() if r.cost.complete and not np.isfinite(r.data.test).any()]
    rest = [n for n in others if n not in scores]
    parts = [f"No connector, so not here: {', '.join(scores)}." if scores else ""]
    parts += [f"Not finished, so not here: {', '.join(rest)}." if rest else ""]
    return " ".join(part for part in parts if part)


def _panel(analysis: Analysis, quality: Quality, cost: Cost, height: float = HEIGHT) -> Panel | None:
    entries = [e for e in placed_entries(analysis) if e.goodness(quality) is not None]
    if not entries or (len(entries) < 2 and quality in ("spearman", "regret")):
        return None
    look, canvas = looks(analysis), Canvas(height=height)
    found = {e.label: _estimate(analysis, e.label, quality) for e in entries}
    shown_ones = [*found.values()] + ([] if analysis.reference is None else [_own(analysis, quality)])
    heights = [v for one in shown_ones for v in (one.value, *one.ci95) if np.isfinite(v)]
    spent = [e.cost(cost) for e in entries if e.cost(cost) > 0] or [1.0]
    free = any(e.cost(cost) <= 0 for e in entries)
    x = Scale(*log_padded(spent), LEFT + (40.0 if free else 0.0), canvas.width - RIGHT, log=True)
    y = Scale(*padded(heights), canvas.height - BOTTOM, TOP)
    shown = formatting.flops if cost == "flops" else formatting.seconds
    titles = ("FLOPs per seed" if cost == "flops" else "device time per seed", _axis(analysis, quality))
    texts = [shown(value).replace("FLOP", "").strip() for value in x.ticks], [f"{value:.3g}" for value in y.ticks]
    _band(analysis, canvas, x, y, quality)
    frame(canvas, x, y, titles, texts)
    if free:
        canvas.add(label("0", LEFT + 20, y.start + 14))
        canvas.line(x.start, y.start, x.start, y.end, "axis")
    at = {e.label: (x(e.cost(cost)) if e.cost(cost) > 0 else LEFT + 20, y(getattr(e, quality))) for e in entries}
    steps = [at[e.label] for e in staircase(entries, cost, quality)]
    bends = [(after[0], before[1]) for before, after in zip(steps, steps[1:], strict=False)]
    canvas.path([p for pair in zip(steps, [*bends, steps[-1]], strict=True) for p in pair] if steps else [], "stairs")
    kept = undominated(entries, cost, quality)
    for e in sorted(entries, key=lambda e: e.label in kept):
        canvas.add(_point(analysis, e, at[e.label], y, found[e.label], look[e.label], dominated=e.label not in kept))
    if cost == "flops":
        canvas.add(*cut_rings(analysis, quality, x, y, look))
    named = entries if len(entries) <= FEW else [e for e in entries if e.label in kept or e.reference]
    named = sorted(named, key=lambda e: (not e.reference, e.label not in kept))
    _names(canvas, named, at, _lines(analysis, entries, at, y, quality, [*steps, *bends]))
    return Panel(TITLES[quality] + (" against device time" if cost == "seconds" else ""), canvas.svg(TITLES[quality]))


def _lines(
    analysis: Analysis,
    entries: Sequence[FrontierRow],
    at: dict[str, tuple[float, float]],
    y: Scale,
    quality: Quality,
    corners: Sequence[tuple[float, float]],
) -> list[Box]:
    """What names had better not cover: whiskers, the staircase, and the reference's own line."""
    found = []
    for e in entries:
        low, high = _estimate(analysis, e.label, quality).ci95
        if np.isfinite(low):
            found.append(Box(at[e.label][0] - 1.5, y(high), at[e.label][0] + 1.5, y(low)))
        if e.reference:
            found.append(Box(LEFT, at[e.label][1] - 1, 1e4, at[e.label][1] + 1))
    ordered = sorted(corners, key=lambda corner: (corner[0], -corner[1]))
    for (x1, y1), (x2, y2) in zip(ordered, ordered[1:], strict=False):
        found.append(Box(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1))
    return found


def _estimate(analysis: Analysis, name: str, quality: Quality) -> Resampled:
    """A method's number with its interval and its seeds."""
    result = analysis.methods[name]
    if quality == "delivered":
        return result.delivered.best
    if quality == "mean_score":
        return result.delivered.mean
    own = result.comparison.spearman if quality == "spearman" else result.comparison.regret
    return Resampled(own.value, own.ci95, per_seed=own.per_seed)


def _axis(analysis: Analysis, quality: Quality) -> str:
    metric = analysis.summary.selection.metric
    names = {"delivered": f"test {metric}", "mean_score": f"test {metric}", "regret": f"regret ({metric})"}
    return names.get(quality, "Spearman with the reference")


def _own(analysis: Analysis, quality: Quality) -> Resampled:
    """The reference's own number; none where it is a mean over some pairs only."""
    reference = analysis.reference
    whole = reference is not None and reference.connectors == analysis.summary.n_pairs
    if reference is None or (quality == "mean_score" and not whole):
        return Resampled()
    return _estimate(analysis, reference.label, quality)


def _band(analysis: Analysis, canvas: Canvas, x: Scale, y: Scale, quality: Quality) -> None:
    """The reference's own number across the panel, with its interval; chance for regret."""
    if analysis.reference is None:
        return
    own = _own(analysis, quality)
    if np.isfinite(own.value):
        low, high = own.ci95
        if np.isfinite(low):
            top, bottom = y(high), y(low)
            canvas.add(tag("rect", x=LEFT, y=top, width=x.end - LEFT, height=max(bottom - top, 1.0), class_="band"))
        canvas.line(LEFT, y(own.value), x.end, y(own.value), "reference")
    chance = analysis.reference.comparison.regret.chance
    if quality == "regret" and np.isfinite(chance) and chance <= y.high:
        canvas.line(LEFT, y(chance), x.end, y(chance), "chance")


def _point(
    analysis: Analysis,
    entry: FrontierRow,
    at: tuple[float, float],
    y: Scale,
    found: Resampled,
    look: Look,
    *,
    dominated: bool,
) -> str:
    """Interval, seeds and mark of one method; what it says on hover."""
    (low, high), parts = found.ci95, []
    if np.isfinite(low):
        parts.append(tag("line", x1=at[0], y1=y(low), x2=at[0], y2=y(high), class_=f"whisker {look.colour}"))
    parts += [tag("circle", cx=at[0], cy=y(v), r=1.6, class_="seed") for v in found.per_seed if np.isfinite(v)]
    parts.append(mark(look, *at))
    pair = analysis.methods[entry.label].summary.best_pair
    number = None if pair is None else analysis.manifest.pairs.index(pair)
    group = tag(
        "g",
        hint(_says(analysis, entry)) + "".join(parts),
        class_="dominated" if dominated else "kept",
        data_method=entry.label,
        data_pair=number,
        tabindex=0,
    )
    return group


def _says(analysis: Analysis, entry: FrontierRow) -> str:
    """A method in a few lines: what it delivers, how it ranks, what it cost."""
    result = analysis.methods[entry.label]
    best, mean, row = result.delivered.best, result.delivered.mean, result.summary
    lines = [entry.label + (" (reference)" if entry.reference else "")]
    if row.best_pair is not None:
        lines.append(f"picks {pair_name(row.best_pair)}")
    if np.isfinite(best.value):
        lines.append(f"delivered score {formatting.with_interval(best.value, best.ci95)}")
        lines.append(f"mean score {formatting.with_interval(mean.value, mean.ci95)}")
    if row.spearman.value is not None:
        lines.append(f"Spearman {formatting.with_interval(row.spearman.value, row.spearman.ci95)} (chance 0)")
    if row.regret.value is not None:
        chance = formatting.number(result.comparison.regret.chance)
        lines.append(f"regret {formatting.with_interval(row.regret.value, row.regret.ci95)} (chance {chance})")
    lines.append(f"{budget_text(result.cost.budget)}, {formatting.seconds(entry.seconds)}")
    return "\n".join(lines)


def _names(
    canvas: Canvas, entries: Sequence[FrontierRow], at: dict[str, tuple[float, float]], lines: Sequence[Box]
) -> None:
    """Names beside the points, without one over another."""
    bounds = Box(LEFT + 2, TOP - 10, canvas.width - 2, canvas.height - BOTTOM - 2)
    sizes = [(GLYPH * len(e.label), 12.0) for e in entries]
    own = [at[e.label] for e in entries]
    rest = [place for name, place in at.items() if name not in {e.label for e in entries}]
    for entry, point, place in zip(entries, own, placed(own, sizes, bounds, rest, lines), strict=True):
        if place is None:
            continue
        box, far = place
        if far:
            end = min(max(point[0], box.left), box.right), box.bottom - 2 if box.bottom < point[1] else box.top + 2
            canvas.line(*point, *end, "leader")
        canvas.add(label(entry.label, box.left, box.bottom - 2.5, anchor="start", class_="point"))
