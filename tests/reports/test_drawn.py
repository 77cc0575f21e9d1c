"""The page's own figures: what they mark, that no name covers another, that colours can be told apart."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.ledger import PHASES
from reports.analysis import analyse
from reports.drawn.costs import cost_parts, costs
from reports.drawn.curves import curves
from reports.drawn.heatmaps import heatmaps
from reports.drawn.labels import Box, placed
from reports.drawn.ranks import ranks
from reports.drawn.ticks import linear_ticks, log_ticks
from reports.drawn.worth import deciding, frontiers
from reports.order import encoder_order
from reports.palette import OKABE_ITO, ON_DARK
from reports.traces import traces


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_linear_axes_have_two_to_a_dozen_marks_inside(low: float, width: float) -> None:
    found = linear_ticks(low, low + width)
    assert 2 <= len(found) <= 12
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in found)


@given(st.floats(-3, 20), st.floats(0.01, 12))
def test_log_axes_have_two_to_a_dozen_marks_inside(low: float, decades: float) -> None:
    first, last = 10**low, 10 ** (low + decades)
    found = log_ticks(first, last)
    assert 2 <= len(found) <= 12
    assert found == sorted(found)
    assert all(first * (1 - 1e-6) <= value <= last * (1 + 1e-6) for value in found)


@given(st.lists(st.tuples(st.floats(60, 400), st.floats(20, 200)), min_size=1, max_size=15))
def test_no_name_covers_another_name_or_point(points: list[tuple[float, float]]) -> None:
    bounds = Box(0, 0, 440, 220)
    boxes = [one[0] for one in placed(points, [(60.0, 12.0)] * len(points), bounds) if one is not None]
    for n, box in enumerate(boxes):
        assert box.within(bounds)
        assert not any(box.covers(other) for other in boxes[:n])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in points)


def test_a_lone_point_is_named_right_beside_it() -> None:
    ((box, far),) = [one for one in placed([(100, 100)], [(50, 12)], Box(0, 0, 300, 200)) if one]
    assert not far and 100 < box.left < 112 and box.top < 100 < box.bottom


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("colours", "paper"), [(OKABE_ITO, "#ffffff"), (ON_DARK, "#14171a")])
def test_every_colour_stands_out_from_its_paper(colours: tuple[str, ...], paper: str) -> None:
    assert len(set(colours)) == len(colours)
    assert min(contrast(colour, paper) for colour in colours) >= 3


def test_the_deciding_figure_has_every_method_with_a_connector_the_reference_and_its_interval(finished: Any) -> None:
    analysis = analyse(finished)
    drawing = deciding(analysis)
    assert [panel.title for panel in drawing.panels] == ["Delivered score", "Mean score"]
    for panel in drawing.panels:
        assert set(re.findall(r'data-method="([^"]+)"', panel.svg)) == {"ape", "hyma"}
        assert panel.svg.count('class="reference"') == panel.svg.count('class="band"') == 1
        assert panel.svg.count('class="whisker') == 2
        assert panel.svg.count('class="seed"') == 6, "three seeds each"
    assert "No connector, so not here: cka." in drawing.caption
    says = re.findall(r"<title>([^<]*)</title>", drawing.panels[0].svg)
    text = next(one for one in says if one.startswith("hyma"))
    row = analysis.methods["hyma"].delivered.best
    assert f"delivered score {row.value:.3f} [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]" in text
    assert "batch 128, 40 updates" in text and "chance 0" in text, "no number without its budget and its chance"


def test_an_unfinished_method_is_named_and_not_placed(maker: Any, tmp_path: Any) -> None:
    specs = maker.realistic(3, 2, 2)
    specs["ape"].status = {(1, 5): "missing", (0, 5): "missing"}
    drawing = deciding(analyse(maker.run(tmp_path / "run", specs)))
    assert "Not finished, so not here: ape." in drawing.caption
    assert 'data-method="ape"' not in "".join(panel.svg for panel in drawing.panels)
    assert 'class="reference"' in drawing.panels[0].svg


def test_encoders_are_sorted_by_their_main_effects(maker: Any, tmp_path: Any) -> None:
    image, text = np.array([0.1, 0.4, 0.2]), np.array([0.05, 0.3])
    table = np.tile((image[:, None] + text).ravel(), (2, 1))
    run = maker.run(tmp_path / "run", {"ape": maker.Spec(table, table)})
    images, texts = encoder_order(analyse(run))
    assert images == ["synthetic:image1", "synthetic:image2", "synthetic:image0"]
    assert texts == ["synthetic:text1", "synthetic:text0"]


def test_main_effects_of_an_incomplete_grid_are_those_of_the_complete_one(maker: Any, tmp_path: Any) -> None:
    """The worst image encoder has met the best text encoder only, and is still the worst."""
    image, text = np.array([0.05, 0.2, 0.1]), np.array([0.05, 0.5])
    table = np.tile((image[:, None] + text).ravel(), (2, 1))
    spec = maker.Spec(table, table, status={(s, 0): "missing" for s in range(2)})
    images, _ = encoder_order(analyse(maker.run(tmp_path / "run", {"ape": spec})))
    assert images == ["synthetic:image1", "synthetic:image2", "synthetic:image0"]


def test_every_pair_is_a_cell_that_says_its_score_and_interval(finished: Any) -> None:
    analysis = analyse(finished)
    for panel in heatmaps(analysis).panels:
        assert [int(n) for n in re.findall(r'class="cell" data-pair="(\d+)"', panel.svg)] == list(range(12))
        assert panel.svg.count('class="pick"') == 1
    result = analysis.methods["ape"]
    assert result.delivered.each is not None
    low, high = result.delivered.each[5]
    value = result.data.test[:, 5].mean()
    assert low < value < high
    assert f"{value:.3f} [{low:.3f}, {high:.3f}] on test data" in heatmaps(analysis).panels[0].svg


def test_a_part_has_one_colour_in_both_panels_and_shares_it_with_none(finished: Any) -> None:
    analysis = analyse(finished)
    parts, drawing = cost_parts(analysis), costs(analysis)
    assert len(set(parts)) == len(parts)
    keys = re.findall(r'<i class="([^"]+)"', drawing.legend)
    assert len(keys) == len(parts) and len(set(keys)) == len(keys)
    flops = drawing.panels[0].svg
    assert not [part for part in parts if part not in PHASES and f"{part.replace('_', ' ')}:" in flops]
    assert f"of {240} GFLOP" in flops


def test_ranks_curves_and_frontiers_have_their_chance_and_ceiling(finished: Any) -> None:
    analysis = analyse(finished)
    assert [panel.method for panel in ranks(analysis).panels] == ["hyma", "cka"]
    assert all("chance 0, noise ceiling" in panel.title for panel in ranks(analysis).panels)
    score, quality = curves(analysis, traces(analysis)).panels
    assert 'class="chance"' not in score.svg
    assert quality.svg.count('class="chance"') == quality.svg.count('class="reference"') == 1
    assert len(frontiers(analysis).panels) == 6
