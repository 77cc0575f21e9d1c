"""What the page needs beside tables and text: style, scripts, and the numbers that the scripts draw from."""

import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from markupsafe import Markup

from reports.analysis import Analysis
from reports.cost_tables import view_cells
from reports.drawn.heatmaps import shades_css
from reports.drawn.marks import looks
from reports.overview import columns_of
from reports.palette import OKABE_ITO, ON_DARK
from reports.ranking import oriented
from reports.schema import Views
from reports.traces import Trace
from reports.wording import pair_name

SCRIPTS = ("tables.js", "figures.js", "page.js")


def style() -> Markup:
    """The style sheet, with the colours of the palette and of the heatmaps."""
    light, dark = (
        "".join(f".s{number}{{--c:{colour}}}" for number, colour in enumerate(colours))
        for colours in (OKABE_ITO, ON_DARK)
    )
    scheme = f"{light}@media (prefers-color-scheme: dark){{{dark}}}@media print{{{light}}}"
    return Markup(f"{_static('page.css')}{scheme}{shades_css()}")


def scripts() -> list[Markup]:
    """The page's scripts, in the order in which they run."""
    return [Markup(_static(name)) for name in SCRIPTS]


def _static(name: str) -> str:
    return (files("reports") / "static" / name).read_text(encoding="utf-8")


def page_data(analysis: Analysis, traces: Sequence[Trace]) -> Markup:
    """What the scripts draw from, as JSON for a script element.

    Names of the pairs, every pair's validation score at every checkpoint, and what views change in the table of
    methods.
    """
    look, higher = looks(analysis), analysis.manifest.selection.higher_is_better
    curves = [
        {
            "method": one.label,
            "look": look[one.label].colour,
            "updates": [round(point.updates, 4) for point in one.points],
            "scores": [_rounded(oriented(point.scores, higher_is_better=higher)) for point in one.points],
        }
        for one in traces
        if one.scores is not None
    ]
    data = {
        "metric": analysis.summary.selection.metric,
        "methods": list(analysis.methods),
        "names": [pair_name(pair) for pair in analysis.manifest.pairs],
        "curves": curves,
        "reference": analysis.summary.reference,
        "columns": columns_of(analysis.summary.reference),
        "views": {view: view_cells(analysis, view) for view in Views.model_fields if view != "as_run"},
    }
    # Nothing in a script element may look like a tag.
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(written.replace("<", "\\u003c").replace("&", "\\u0026"))


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]
