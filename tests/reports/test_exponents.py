"""Scaling over several runs: exponents of made-up power laws, and what is joined with what."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import reports
from harness.run.blobs import FolderBlobs
from reports.across import analyses_of, write_across
from reports.exponents import exponents, scaling_frame, sizes_that_differ


def frame(sizes: list[tuple[int, int]], power: float = 1.0, **columns: Any) -> pd.DataFrame:
    rows = [
        {"run": f"{n}", "method": "ape", "pairs": p, "train_rows": r, "flops": 3e9 * p**power * r, "seconds": 2.0 * p}
        for n, (p, r) in enumerate(sizes)
    ]
    return pd.DataFrame(rows).assign(mean_gap=0.01, metric="r1", **columns)


@pytest.mark.parametrize("power", [0.25, 1.0, 1.5])
def test_a_power_law_gives_its_power(power: float) -> None:
    found = {(e.size, e.quantity): e for e in exponents(frame([(4, 100), (40, 100), (400, 100)], power))}
    assert set(found) == {("pairs", "flops"), ("pairs", "seconds")}
    own = found["pairs", "flops"]
    assert (own.value, own.low, own.high) == pytest.approx((power,) * 3)
    assert (own.first, own.last, own.runs, own.at) == (4, 400, 3, 100)
    assert own.says == f"{power:.2f} ({power:.2f} to {power:.2f}), 4 to 400"


def test_the_range_is_that_of_neighbouring_slopes_and_two_sizes_have_none() -> None:
    """Slopes 1 and 2 on equal steps of the logarithm: the line has 1.5."""
    bent = frame([(1, 9), (10, 9), (100, 9)]).assign(flops=[1.0, 10.0, 1000.0])
    own = next(e for e in exponents(bent) if e.quantity == "flops")
    assert (own.value, own.low, own.high) == pytest.approx((1.5, 1.0, 2.0))
    two = next(e for e in exponents(bent.iloc[:2]) if e.quantity == "flops")
    assert two.value == pytest.approx(1.0) and np.isnan(two.low)
    assert two.says == "1.00, 1 to 10"


def test_runs_that_differ_in_both_sizes_are_not_joined() -> None:
    mixed = frame([(4, 100), (40, 100), (40, 1000), (400, 2000)])
    assert sizes_that_differ(mixed) == ["pairs", "train_rows"]
    found = {(e.size, e.at): e for e in exponents(mixed) if e.quantity == "flops"}
    assert set(found) == {("pairs", 100), ("train_rows", 40)}
    assert found["train_rows", 40].value == pytest.approx(1.0)
    assert sizes_that_differ(frame([(4, 100), (40, 200)])) == []
    assert exponents(frame([(4, 100), (4, 100)])) == []


def test_what_costs_nothing_or_is_not_finished_takes_no_part() -> None:
    unknown = frame([(4, 100), (40, 100), (400, 100)]).assign(
        flops=[0.0, 1e9, float("nan")], seconds=[1.0, 10.0, 100.0]
    )
    assert [e.quantity for e in exponents(unknown)] == ["seconds"]


def test_the_figure_says_the_exponent_and_has_every_run() -> None:
    axis = reports.scaling(frame([(4, 100), (40, 100), (400, 100)], 0.5))
    (line,) = axis.get_lines()
    assert np.asarray(line.get_xdata()).tolist() == [4, 40, 400]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["ape: 0.50 (0.50 to 0.50), 4 to 400"]
    gaps = reports.scaling(frame([(4, 100), (40, 100)]), quantity="mean_gap")
    assert gaps.get_yscale() == "linear" and gaps.get_ylabel() == "mean gap (r1; positive: worse)"
    plt.close("all")


def test_runs_of_two_sizes_are_written_with_their_figure(maker: Any, tmp_path: Path) -> None:
    stores = []
    for name, images in (("small", 2), ("large", 4)):
        stores.append(maker.run(tmp_path / name, maker.realistic(images, 2, 2), images=images, texts=2))
    analyses = analyses_of(stores)
    names = [Path(place).name for place in write_across(analyses, FolderBlobs(tmp_path / "out"))]
    assert names == ["across.csv", "across.png", "across.pdf", "scaling.png", "scaling.pdf", "scaling.csv"]
    table = pd.read_csv(tmp_path / "out" / "scaling.csv").set_index(["method", "quantity"])
    assert table.loc[("ape", "flops"), "value"] == pytest.approx(1.0), "a cell for every pair"
    assert (table["first"].unique(), table["last"].unique()) == ([4], [8])
    assert scaling_frame(analyses)["train_rows"].unique().tolist() == [1280]
    before = (tmp_path / "out" / "scaling.png").read_bytes()
    write_across(analyses, FolderBlobs(tmp_path / "again"))
    assert (tmp_path / "again" / "scaling.png").read_bytes() == before
    one = analyses_of([stores[0]])
    assert "scaling.csv" not in [Path(place).name for place in write_across(one, FolderBlobs(tmp_path / "one"))]
