"""The pages: ``index.html``, which needs no network and can be read without its script, and ``report.md``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.errors import Damaged
from harness.run.records import Examples
from harness.run.store import RunStore
from harness.storage.blobs import Blobs
from reports import formatting
from reports.agreement_tables import agreement_table, candidate_table, metric_table
from reports.analysis import Analysis
from reports.cautions import cautions
from reports.constraints import limits
from reports.cost_tables import VIEW_TEXT, cost_table, frontier_table, view_notes, view_table
from reports.definitions import DEFINITIONS, Definition, linked
from reports.drawn.costs import costs
from reports.drawn.curves import curves
from reports.drawn.heatmaps import heatmaps
from reports.drawn.panel import Drawing
from reports.drawn.ranks import ranks
from reports.drawn.worth import deciding, frontiers
from reports.evidence import evidence
from reports.page_parts import page_data, scripts, style
from reports.pair_table import HEADINGS, pair_rows
from reports.pictures import picture_section
from reports.schema import Views
from reports.secondary import source_of
from reports.tables import (
    TextTable,
    added_table,
    level_table,
    overview_table,
    pareto_table,
    rank_table,
    top_table,
)
from reports.traces import traces
from reports.unfinished import Gap
from reports.verdict import verdict
from reports.wording import pair_name

CAPTIONS = {
    "heatmaps": "Test score of every pair under every method, mean over seeds. Framed: the pair the method picks on "
    "validation data. Grey: no result.",
    "ranks": "Place of every pair by each method's mean validation score against its place by the reference's mean "
    "test score. On the diagonal both agree.",
    "connectors": "What people get: the test score of a method's own connectors, mean over all pairs (above) and of "
    "the pair that it hands over (below), against what it cost as run; a method without a connector for every pair has "
    "no mean. The line joins what nothing else beats; grey entries cost at least as much as another one that is at "
    "least as good. What costs nothing stands in the shaded band.",
    "frontier": "How well the pairs are ranked: every method at every budget, as run, mean over seeds. The line joins "
    "what nothing else beats. The reference's own point is leave-one-seed-out.",
    "curves": "Left: validation score, mean over pairs. Right: Spearman correlation of the validation ranking at that "
    "point with the reference's test scores at its full budget. Small numbers are epochs.",
    "costs": "Cost per seed, as run. Stacked by phase.",
}
ROOMS = (
    ("pairs", "Pairs"),
    ("methods", "Methods"),
    ("costs", "Costs and views"),
    ("sure", "How sure"),
    ("run", "Run"),
    ("definitions", "Definitions"),
)
"""The page's sections: anchor and name."""
FEW_CELLS = 200
"""Cells that a line of missing ones unfolds to; the CSV has all."""


@dataclass(frozen=True)
class Plot:
    """A figure's files: its name, and what it shows."""

    name: str
    caption: str


@dataclass(frozen=True)
class ViewSection:
    """One view on a page."""

    name: str
    text: str
    table: TextTable
    notes: list[str]


@dataclass(frozen=True)
class GapSection:
    """Cells without a usable result: a line, and the cells that it unfolds to.

    Attributes:
        line: The group in one line.
        cells: Its first cells.
        more: How many more there are.
    """

    line: str
    cells: TextTable
    more: int


def environment() -> Environment:
    """Where the pages' templates are."""
    made = Environment(
        loader=PackageLoader("reports"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    made.filters["defined"] = _defined
    made.filters["defined_md"] = _defined_md
    made.globals |= {"definitions": DEFINITIONS, "style": style()}
    return made


PAGES = {"index.html": "index.html.j2", "report.md": "report.md.j2"}


def write_pages(analysis: Analysis, into: Blobs, plots: Mapping[str, Sequence[str]]) -> list[str]:
    """Write ``index.html`` and ``report.md``; returns their names."""
    templates = environment()
    content = _content(analysis) | _touched(analysis)
    figures = [Plot(name, CAPTIONS[name]) for name in plots]
    for name, template in PAGES.items():
        into.put(name, templates.get_template(template).render(plots=figures, **content).encode())
    return list(PAGES)


def _touched(analysis: Analysis) -> dict[str, object]:
    """What the page shows to touch: drawings, the table of pairs, and what the scripts draw from."""
    found = traces(analysis)
    drawings = [deciding(analysis), heatmaps(analysis), ranks(analysis), curves(analysis, found), costs(analysis)]
    if frontier_table(analysis) is not None:
        drawings.append(frontiers(analysis))
    by_name: dict[str, Drawing] = {drawing.name: drawing for drawing in drawings if drawing.panels}
    rows = pair_rows(analysis)
    images = formatting.short_names(list(dict.fromkeys(row.pair[0] for row in rows)))
    texts = formatting.short_names(list(dict.fromkeys(row.pair[1] for row in rows)))
    return {
        "drawings": by_name,
        "rooms": ROOMS,
        "pictures": picture_section(analysis, _examples(analysis.run.store)),
        "pair_headings": HEADINGS,
        "pair_rows": [(row.number, [images[row.pair[0]], texts[row.pair[1]], row.method, *row.cells]) for row in rows],
        "scripts": scripts(),
        "page_data": page_data(analysis, found),
    }


def _defined(text: str) -> Markup:
    """A sentence for the page, with its technical terms linked to their definitions."""

    def link(word: str, definition: Definition) -> str:
        return f'<a href="#{definition.anchor}">{escape(word)}</a>'

    return Markup(linked(text, link, lambda part: str(escape(part))))


def _defined_md(text: str) -> str:
    """The same in Markdown."""
    return linked(text, lambda word, definition: f"[{word}](#{definition.anchor})")


def _content(analysis: Analysis) -> dict[str, object]:
    """What the templates print."""
    manifest, summary = analysis.manifest, analysis.summary
    source = source_of(analysis)
    return {
        "title": manifest.name,
        "verdict": verdict(analysis),
        "cautions": cautions(analysis),
        "evidence": evidence(analysis),
        "facts": _facts(analysis),
        "overview": overview_table(analysis),
        "top_table": top_table(analysis),
        "candidate_table": candidate_table(analysis),
        "agreement_table": agreement_table(analysis),
        "metric_table": metric_table(analysis),
        "metric_source": source.label if source else "",
        "level_table": level_table(analysis),
        "added_table": added_table(analysis),
        "pareto_table": pareto_table(analysis),
        "rank_table": rank_table(analysis) if analysis.reference is not None else None,
        "views": [
            ViewSection(view, VIEW_TEXT[view], view_table(analysis, view), view_notes(analysis, view))
            for view in Views.model_fields
        ]
        if analysis.reference is not None and len(analysis.methods) > 1
        else [],
        "cost_table": cost_table(analysis),
        "frontier_table": frontier_table(analysis),
        "gaps": [GapSection(gap.line, _cells(gap), len(gap.cells) - FEW_CELLS) for gap in analysis.gaps],
        "warnings": [(label, text) for label, texts in analysis.warnings.items() for text in texts],
        "parameters": json.dumps(manifest.sweep, indent=1, default=str),
        "provenance": json.dumps(manifest.provenance, indent=1, default=str),
        "compared": analysis.reference is not None,
        "one_seed": len(summary.seeds) < 2 and analysis.reference is not None,
    }


def _facts(analysis: Analysis) -> dict[str, str]:
    """What was run, in a few lines."""
    manifest, summary = analysis.manifest, analysis.summary
    encoders = f"{len(manifest.image_encoders)} image x {len(manifest.text_encoders)} text encoders"
    return {
        "pairs": f"{summary.n_pairs} ({encoders})",
        "seeds": ", ".join(map(str, summary.seeds)),
        "reference": summary.reference or "none",
        "selection": f"{summary.selection.task} / {summary.selection.metric}"
        + ("" if summary.selection.higher_is_better else " (lower is better)"),
        **({"picks are limited to": limits(manifest)} if manifest.selection.constraints else {}),
        "rows": ", ".join(f"{formatting.count(value)} {name}" for name, value in manifest.rows.items()),
        "connector": ", ".join(f"{name} {value}" for name, value in manifest.connector.items()),
        **(
            {
                "noise ceiling (Spearman)": formatting.number(summary.noise_ceiling.spearman)
                + (" (needs two seeds)" if len(summary.seeds) < 2 else "")
            }
            if analysis.reference
            else {}
        ),
        "elapsed time of the sweep": formatting.seconds(manifest.elapsed_s),
    }


def _cells(gap: Gap) -> TextTable:
    """The cells that a line unfolds to."""
    rows = [
        [str(cell.seed), "; ".join(map(pair_name, cell.pairs[:4])) + (" …" if cell.pairs[4:] else ""), cell.reason]
        for cell in gap.cells[:FEW_CELLS]
    ]
    return TextTable(["seed", "pairs", "reason"], rows)


def _examples(store: RunStore) -> Examples | None:
    """Captions and pictures to look at; damaged ones are none: the next sweep makes them again."""
    try:
        return store.examples()
    except Damaged:
        return None
