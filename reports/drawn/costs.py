"""Where FLOPs and seconds went, as stacked bars; a part has one colour in both panels."""

from collections.abc import Callable, Sequence

from harness.contract.ledger import PHASES
from reports import formatting
from reports.analysis import Analysis
from reports.drawn.canvas import GLYPH, Canvas, Scale, hint, label, tag
from reports.drawn.marks import COLOURS
from reports.drawn.panel import Drawing, Panel

BAR, GAP, TOP = 17.0, 9.0, 6.0


def cost_parts(analysis: Analysis) -> list[str]:
    """Phases and sections that cost anything, each once: what is in both has one colour."""
    rows = list(analysis.methods.values())
    phases = [p for p in PHASES if any(getattr(r.summary.flops, p) for r in rows)]
    sections = dict.fromkeys(s for r in rows for s in r.cost.seconds if r.cost.seconds[s])
    return list(dict.fromkeys((*phases, *sections)))


def costs(analysis: Analysis) -> Drawing:
    """FLOPs by phase and device-seconds by section, as run, per seed."""
    shown = {label: r for label, r in analysis.methods.items() if r.summary.flops.total}
    caption = "Per seed, as run. Encoding is shared by all methods and not shown."
    if not shown:
        return Drawing("costs", caption, [])
    parts = cost_parts(analysis)
    flops = [[getattr(r.summary.flops, p) or 0.0 if p in PHASES else 0.0 for p in parts] for r in shown.values()]
    seconds = [[r.cost.seconds.get(p, 0.0) for p in parts] for r in shown.values()]
    tables = (("FLOPs by phase", flops, formatting.flops), ("Device time by section", seconds, formatting.seconds))
    panels = [_panel(title, list(shown), parts, table, text) for title, table, text in tables]
    keys = [
        tag("span", tag("i", " ", class_=_colour(number)) + part.replace("_", " "), class_="key")
        for number, part in enumerate(parts)
    ]
    return Drawing("costs", caption, panels, tag("div", "".join(keys), class_="legend"))


def _colour(number: int) -> str:
    """A colour, and for further parts the same one hatched."""
    return f"s{number % COLOURS}" + (" again" if number >= COLOURS else "")


def _panel(
    title: str,
    labels: Sequence[str],
    parts: Sequence[str],
    table: Sequence[Sequence[float]],
    text: Callable[[float], str],
) -> Panel:
    left = 10 + GLYPH * max(map(len, labels))
    canvas = Canvas(440.0, 2 * TOP + (BAR + GAP) * len(labels))
    most = max(map(sum, table)) or 1.0
    x = Scale(0.0, most, left, canvas.width - 70)
    for place, (name, row) in enumerate(zip(labels, table, strict=True)):
        y, spent = TOP + place * (BAR + GAP), 0.0
        canvas.add(label(name, left - 6, y + BAR - 5, anchor="end", class_="encoder"))
        for number, value in enumerate(row):
            width = x(spent + value) - x(spent)
            if value > 0:
                part = f"{parts[number].replace('_', ' ')}: {text(value)} of {text(sum(row))}"
                bar = tag("rect", x=x(spent), y=y, width=max(width, 0.4), height=BAR, class_=f"bar {_colour(number)}")
                canvas.add(tag("g", hint(f"{name}\n{part}") + bar, class_="kept", data_method=name))
            spent += value
        canvas.add(label(text(spent), x(spent) + 5, y + BAR - 5, anchor="start", class_="tick"))
    return Panel(title, canvas.svg(title))
