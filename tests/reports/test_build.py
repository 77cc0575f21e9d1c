"""The whole report: files, schema, self-containment, determinism, speed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from harness.store import RunStore
from reports.names import flops, seconds, short_names, times

from reports.build import ReportPaths, build_report
from reports.schema import Summary
from reports.summary import SUMMARY_COLUMNS, read_summary, summary_rows

TOP = {
    "schema",
    "run",
    "reference",
    "selection",
    "n_pairs",
    "seeds",
    "noise_ceiling",
    "interaction_share",
    "methods",
    "views",
}
METHOD = {
    "kind", "status", "spearman", "kendall", "ndcg", "topk_overlap", "best_pair", "best_pair_score", "oracle_pair",
    "oracle_score", "regret", "best_pair_hit", "mean_score", "mean_gap", "flops", "cost_ratio", "wall_s", "device_s",
    "batch_size", "pairs_per_step", "updates_per_pair", "samples_per_pair", "trained_params", "promises",
}  # fmt: skip
FLOPS = {
    "total", "connector", "logits", "hypernet", "solve", "score", "optimizer", "eval", "wasted", "encode",
    "runner_eval",
}  # fmt: skip


def test_every_file_and_every_key(report: ReportPaths) -> None:
    paths = report
    assert paths.folder.parts[-2:] == ("finished", "report")
    assert {path.name for path in paths.plots} == {
        f"{name}.{kind}" for name in ("heatmaps", "ranks", "curves", "costs", "frontier") for kind in ("png", "pdf")
    }
    for path in (paths.index, paths.markdown, paths.summary, *paths.tables, *paths.plots):
        assert path.stat().st_size > 30
    data = json.loads(paths.summary.read_text())
    assert set(data) == TOP
    assert data["schema"] == 1
    assert data["seeds"] == [0, 1, 2]
    for row in data["methods"].values():
        assert set(row) == METHOD
        assert set(row["flops"]) == FLOPS
        assert set(row["spearman"]) == {"value", "ci95", "per_seed"}
        assert row["promises"] is None
    for view in ("as_run", "matched_batch", "matched_updates", "matched_flops", "paper"):
        for entry in data["views"][view].values():
            assert {"cost_ratio", "spearman", "regret", "budget", "reference_budget"} <= set(entry)
            assert set(entry["budget"]) == {"batch_size", "updates_per_pair", "samples_per_pair", "flops"}
            assert (entry["cost_ratio"]["flops"] is None) or entry["reference_budget"]["flops"]
    assert data["views"]["as_run"].keys() == {"hyma", "cka"}
    assert read_summary(paths.summary) == paths.result


def test_not_a_number_is_null(maker: Any, tmp_path: Path) -> None:
    specs = maker.realistic(2, 2, 1)
    specs["hyma"].status = {(0, None): "diverged"}
    paths = build_report(maker.run(tmp_path / "run", specs, images=2, texts=2).path)
    text = paths.summary.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["methods"]["hyma"]["spearman"] == {"value": None, "ci95": None, "per_seed": [None]}


def test_the_page_stands_alone_and_says_what_it_must(report: ReportPaths) -> None:
    page = report.index.read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*(?!["']?data:)""", page)
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("data:image/png;base64,") == 5
    answer = re.search(r'<div class="answer">(.*?)</div>', page, re.DOTALL)
    assert answer
    for part in (
        "best of 12 pairs",
        "As run, the reference costs",
        "batch 128",
        "updates",
        "chance",
        "interval",
        "random",
    ):
        assert part in answer[1]
    assert "indistinguishable" in page
    assert "prefers-color-scheme" in page


def test_ids_and_reasons_are_escaped(maker: Any, tmp_path: Path) -> None:
    names = (["x:<b>bold</b>", "x:plain"], ["t:a|b", "t:c"])
    specs = maker.realistic(2, 2, 2)
    specs["ape"].status = {(0, 1): "failed"}
    paths = build_report(maker.run(tmp_path / "run", specs, names=names).path)
    assert "<b>bold" not in paths.index.read_text()
    assert "&lt;b&gt;bold" in paths.index.read_text()
    assert "failed on purpose" in paths.markdown.read_text()
    rows = [line for line in paths.markdown.read_text().splitlines() if line.startswith("| 1 |")]
    assert all(
        line.replace("\\|", "").count("|")
        == len(rows[0].replace("\\|", "")) - len(rows[0].replace("\\|", "").replace("|", ""))
        for line in rows
    )


def test_two_reports_of_one_run_are_equal(report: ReportPaths, tmp_path: Path) -> None:
    first, second = report, build_report(report.folder.parent, tmp_path / "again")
    files = sorted(path for path in first.folder.rglob("*") if path.is_file())
    assert len(files) == 19
    for one in files:
        assert one.read_bytes() == (second.folder / one.relative_to(first.folder)).read_bytes(), one.name


def test_the_tables_hold_what_the_store_holds(report: ReportPaths) -> None:
    finished = RunStore(report.folder.parent)
    paths = {path.stem: path for path in report.tables}
    pairs = pd.read_csv(paths["pairs"])
    assert len(pairs) == 12 * 3 * 3  # pairs x seeds x methods
    record = next(iter(finished.records(finished.manifest()).values()))
    row = pairs[(pairs["method"] == "ape") & (pairs["seed"] == 0)].iloc[0]
    assert row["score"] == pytest.approx(record.metrics[0].score)
    assert row["test/retrieval/text_to_image_r5"] == pytest.approx(
        record.metrics[0].test["retrieval"]["text_to_image_r5"]
    )
    cost = pd.read_csv(paths["cost"])
    assert cost.groupby("method")["flops_total"].sum()["ape"] == pytest.approx(36 * 2e10)
    assert pd.read_csv(paths["missing"]).empty


def test_pdf_carries_the_runs_name_and_parameters(report: ReportPaths) -> None:
    pdf = next(path for path in report.plots if path.name == "heatmaps.pdf").read_bytes()
    assert b"/Title (finished: heatmaps)" in pdf
    assert b"seeds" in pdf[pdf.index(b"/Keywords") :][:200]


def test_rows_for_the_terminal(report: ReportPaths) -> None:
    rows = summary_rows(report.result)
    assert [row.method for row in rows] == ["ape (reference)", "hyma", "cka"]
    assert len(SUMMARY_COLUMNS) == len(rows[0])
    assert rows[1].cells == "3/3"
    assert rows[1].cost_ratio == "6x / 4x"
    assert rows[2].score == "–"


def test_a_report_never_imports_torch_or_ray(finished: RunStore) -> None:
    code = (
        "import sys, pathlib\n"
        "from reports.build import build_report\n"
        "build_report(pathlib.Path(sys.argv[1]))\n"
        "sys.exit(' '.join(m for m in ('torch', 'ray', 'timm') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(finished.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_empty_run_can_be_reported(maker: Any, tmp_path: Path) -> None:
    specs = maker.realistic(2, 2, 2)
    for spec in specs.values():
        spec.status = {(s, p): "missing" for s in range(2) for p in [*range(4), None]}
    paths = build_report(maker.run(tmp_path / "run", specs, images=2, texts=2).path)
    assert "no finished pair yet" in paths.index.read_text()
    assert isinstance(paths.result, Summary)
    assert len(pd.read_csv(next(p for p in paths.tables if p.stem == "missing"))) == 12


@pytest.mark.slow
def test_hundreds_of_cells_take_seconds(maker: Any, tmp_path: Path) -> None:
    store = maker.run(tmp_path / "run", maker.realistic(12, 8, 3), images=12, texts=8)
    start = time.perf_counter()
    build_report(store.path)
    assert time.perf_counter() - start < 30  # 4 s on an idle core


def test_short_names_stay_distinct() -> None:
    ids = [
        "timm:vit_base_patch16_224.augreg_in21k_ft_in1k",
        "timm:deit3_base_patch16_224.fb_in1k_and_more",
        "timm:deit3_base_patch16_224.fb_in22k_ft_in1k",
        "packaged:pixels16",
        "other:pixels16",
    ]
    short = short_names(ids)
    assert short[ids[0]] == "vit_base_patch16_224"
    assert len(set(short.values())) == 5
    assert max(map(len, short.values())) <= 28


def test_numbers_read_well() -> None:
    assert [flops(v) for v in (None, 0.0, 1.5e12, 999.0)] == ["–", "0 FLOP", "1.5 TFLOP", "999 FLOP"]
    assert [seconds(v) for v in (0.25, 12.34, 250.0, 7500.0)] == ["250 ms", "12.3 s", "4 min 10 s", "2 h 5 min"]
    assert [times(v) for v in (None, 1.12, 332.7)] == ["–", "1.12x", "333x"]
