"""The tables that people read, as files: Markdown, and LaTeX with booktabs."""

from harness.storage.blobs import Blobs
from reports.agreement_tables import agreement_table, candidate_table, metric_table
from reports.analysis import Analysis
from reports.cost_tables import cost_table, frontier_table, view_table
from reports.heading import run_line
from reports.schema import Views
from reports.tables import (
    TextTable,
    added_table,
    level_table,
    overview_table,
    pareto_table,
    rank_table,
    top_table,
)

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "…": r"\dots{}",
    "²": r"\textsuperscript{2}",
    "·": r"\,$\cdot$\,",
    "@": "{@}",
}
"""Signs that mean something else in LaTeX, or need a package there."""


def text_tables(analysis: Analysis) -> dict[str, TextTable]:
    """File name -> table, of those that the run has."""
    found: dict[str, TextTable | None] = {
        "methods": overview_table(analysis),
        "best_pairs": top_table(analysis),
        "candidates": candidate_table(analysis),
        "agreement": agreement_table(analysis),
        "metrics": metric_table(analysis),
        "levels": level_table(analysis),
        "added": added_table(analysis),
        "pareto": pareto_table(analysis),
        "costs": cost_table(analysis),
        "frontier": frontier_table(analysis),
    }
    if analysis.reference is not None:
        found["ranking"] = rank_table(analysis)
        found |= {f"view_{view}": view_table(analysis, view) for view in Views.model_fields}
    return {name: table for name, table in found.items() if table is not None and table.rows}


def write_text_tables(analysis: Analysis, into: Blobs) -> list[str]:
    """Write ``tables/*.md`` and ``tables/*.tex``; returns their names."""
    written, line = [], run_line(analysis)
    for name, table in text_tables(analysis).items():
        for ending, text in (("md", markdown(table)), ("tex", latex(table, line))):
            into.put(f"tables/{name}.{ending}", text.encode())
            written.append(f"tables/{name}.{ending}")
    return written


def markdown(table: TextTable) -> str:
    """A Markdown table."""
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def latex(table: TextTable, comment: str) -> str:
    """A LaTeX table with booktabs' rules; its first line, a comment, says which run it is of."""
    rows = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)]
    lines = [
        f"% {comment}",
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text.replace("\n", " "))
