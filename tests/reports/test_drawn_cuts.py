"""Rings where a view cuts: at the budgets of the view, hidden until it is chosen."""

import re
from typing import Any

from reports.analysis import analyse
from reports.drawn.worth import deciding, frontiers
from reports.formatting import number
from reports.wording import budget_text


def test_rings_stand_at_the_budgets_of_the_matched_views(finished: Any) -> None:
    analysis = analyse(finished)
    panels = {panel.title: panel.svg for panel in (*deciding(analysis).panels, *frontiers(analysis).panels)}
    rank = panels["Rank quality"]
    says = [text for text in re.findall(r"<title>([^<]*)</title>", rank) if "in the view" in text]
    for view in ("matched_updates", "matched_flops"):
        for label, entry in getattr(analysis.summary.views, view).items():
            if entry.budget.flops:
                value, own = number(entry.spearman), number(analysis.cut_reference[view][label].spearman)
                words = view.replace("_", " ")
                assert f"{label} in the view {words}\n{value}\n{budget_text(entry.budget)}" in says
                there = f"ape in the view {words}, against {label}\n{own}\n{budget_text(entry.reference_budget)}"
                assert there in says
    rings = re.findall(r'<g class="kept cut"[^>]*>', rank)
    assert len(rings) == len(says) > 2
    assert all('hidden="hidden"' in ring for ring in rings)
    assert "not known there" in panels["Delivered score"], "test scores are known at the end of a training only"
    assert all("data-cut" not in svg for title, svg in panels.items() if "device time" in title)


def test_without_a_reference_nothing_is_cut(maker: Any, tmp_path: Any) -> None:
    analysis = analyse(maker.run(tmp_path / "run", maker.realistic(2, 2, 2), images=2, texts=2, reference=None))
    drawing = deciding(analysis)
    assert "data-cut" not in "".join(panel.svg for panel in drawing.panels)
    assert "rings" not in drawing.caption
