"""A report of 900 pairs stays readable."""

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reports.analysis import analyse
from reports.figures.axes import STYLE
from reports.html import write_pages
from reports.plots import PAGE, heatmaps
from reports.tables import top_table
from reports.tidy import frames_of


@pytest.fixture
def large(tmp_path, maker):
    specs = maker.realistic(30, 30, 2)
    for spec in specs.values():  # one cell per method and seed: a grid of 1800 files is the store's business
        spec.kind = "joint" if spec.kind == "per_pair" else spec.kind
    return maker.run(tmp_path / "large", specs, images=30, texts=30, queries=100)


def test_nine_hundred_pairs_stay_readable(large) -> None:
    analysis = analyse(large)
    assert analysis.summary.n_pairs == 900
    with mpl.rc_context(STYLE):
        figure = heatmaps(analysis, frames_of(analysis))
        assert figure is not None
        FigureCanvasAgg(figure).draw()
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert len(panels) == 3
    assert all(not panel.texts for panel in panels), "no numbers in 900 cells"
    rows = {round(panel.get_position().y0, 3) for panel in panels}
    assert len(rows) < len(panels), "methods stand side by side"
    width, height = figure.get_size_inches()
    assert width <= PAGE and height <= PAGE
    for panel in panels:
        boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
        assert len(boxes) == 30
        assert not any(a.overlaps(b) for a, b in zip(boxes[:-1], boxes[1:], strict=True)), "labels overlap"
    table = top_table(analysis)
    assert table is not None and len(table.rows) == 10
    pages = large.under("pages")
    assert write_pages(analysis, pages, {}) == ["index.html", "report.md"]
    assert len(pages.get("index.html")) < 6_000_000 and len(pages.get("report.md")) < 50_000
    assert pages.get("index.html").count(b"<tr data-pair=") == 900 * len(analysis.methods), "every pair and method"
