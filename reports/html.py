"""The pages: a self-contained ``index.html`` (no script, nothing external) and ``report.md``."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.run.blobs import Blobs
from reports import formatting
from reports.analysis import Analysis
from reports.constraints import limits
from reports.schema import Views
from reports.tables import (
    VIEW_TEXT,
    TextTable,
    added_table,
    cost_table,
    frontier_table,
    level_table,
    pareto_table,
    rank_table,
    summary_table,
    top_table,
    view_table,
)
from reports.text import answer, pair_name, search_needed

CAPTIONS = {
    "heatmaps": "Test score of every pair under every method, mean over seeds. Framed: the pair the method picks on "
    "validation data. Grey: no result.",
    "ranks": "Place of every pair by each method's mean validation score against its place by the reference's mean "
    "test score. On the diagonal both agree.",
    "frontier": "Every method at every budget, as run, mean over seeds. The line joins what nothing else beats: grey "
    "entries cost at least as much as another one that is at least as good. The reference's own point is "
    "leave-one-seed-out.",
    "curves": "Left: validation score, mean over pairs. Right: Spearman correlation of the validation ranking at that "
    "point with the reference's test scores at its full budget. Small numbers are epochs.",
    "costs": "Cost per seed, as run. Stacked by phase.",
}
FEW_PROBLEMS = 200
"""Rows of the list of missing cells that the pages show; the CSV has all."""


@dataclass(frozen=True)
class Plot:
    """A figure on a page: its name, caption, and the PNG inlined."""

    name: str
    caption: str
    data: str


@dataclass(frozen=True)
class ViewSection:
    """One view on a page."""

    name: str
    text: str
    table: TextTable


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("reports"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


PAGES = {"index.html": "index.html.j2", "report.md": "report.md.j2"}


def write_pages(analysis: Analysis, into: Blobs, plots: Mapping[str, Sequence[str]]) -> list[str]:
    """Write ``index.html`` and ``report.md``; returns their names."""
    environment = _environment()
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    content = _content(analysis)
    figures = [
        Plot(name, CAPTIONS[name], base64.b64encode(into.get(files[0])).decode()) for name, files in plots.items()
    ]
    for name, template in PAGES.items():
        into.put(name, environment.get_template(template).render(plots=figures, **content).encode())
    return list(PAGES)


def _content(analysis: Analysis) -> dict[str, object]:
    """What the templates print."""
    manifest, summary = analysis.manifest, analysis.summary
    seeds = ", ".join(map(str, summary.seeds))
    encoders = f"{len(manifest.image_encoders)} image x {len(manifest.text_encoders)} text encoders"
    facts = {
        "pairs": f"{summary.n_pairs} ({encoders})",
        "seeds": seeds,
        "reference": summary.reference or "none",
        "selection": f"{summary.selection.task} / {summary.selection.metric}"
        + ("" if summary.selection.higher_is_better else " (lower is better)"),
        **({"picks are limited to": limits(manifest)} if manifest.selection.constraints else {}),
        "rows": ", ".join(f"{formatting.count(value)} {name}" for name, value in manifest.rows.items()),
        "connector": ", ".join(f"{name} {value}" for name, value in manifest.connector.items()),
        "noise ceiling (Spearman)": formatting.number(summary.noise_ceiling.spearman)
        + (" (needs two seeds)" if len(summary.seeds) < 2 else ""),
        "elapsed time of the sweep": formatting.seconds(manifest.elapsed_s),
    }
    shown = analysis.problems[:FEW_PROBLEMS]
    return {
        "title": manifest.name,
        "answer": answer(analysis),
        "facts": facts,
        "summary_table": summary_table(analysis),
        "top_table": top_table(analysis),
        "level_table": level_table(analysis),
        "added_table": added_table(analysis),
        "pareto_table": pareto_table(analysis),
        "rank_table": rank_table(analysis) if analysis.reference is not None else None,
        "views": [ViewSection(view, VIEW_TEXT[view], view_table(analysis, view)) for view in Views.model_fields]
        if analysis.reference is not None and len(analysis.methods) > 1
        else [],
        "cost_table": cost_table(analysis),
        "frontier_table": frontier_table(analysis),
        "search": search_needed(analysis) if analysis.reference is not None else "",
        "problems": TextTable(
            ["method", "seed", "status", "pairs", "reason"],
            [
                [
                    p.label,
                    str(p.seed),
                    p.status,
                    "; ".join(map(pair_name, p.pairs[:4])) + (" …" if p.pairs[4:] else ""),
                    p.reason,
                ]
                for p in shown
            ],
        ),
        "more_problems": len(analysis.problems) - len(shown),
        "warnings": [(label, text) for label, texts in analysis.warnings.items() for text in texts],
        "parameters": json.dumps(manifest.sweep, indent=1, default=str),
        "provenance": json.dumps(manifest.provenance, indent=1, default=str),
        "reference": summary.reference,
        "one_seed": len(summary.seeds) < 2,
    }
