"""The whole report: files, schema, self-containment, determinism, what it reads."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.run.store import RunStore
from harness.storage.blobs import FolderBlobs
from reports.build import Report, build_report
from reports.formatting import flops, seconds, short_names, times
from reports.overview import OVERVIEW_COLUMNS
from reports.schema import Summary
from reports.summary import read_summary

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
    "delivered", "oracle_score", "regret", "best_pair_hit", "mean_score", "mean_gap", "flops", "cost_ratio", "wall_s",
    "device_s", "batch_size", "pairs_per_step", "updates_per_pair", "samples_per_pair", "trained_params", "tuning",
    "promises",
}  # fmt: skip
FLOPS = {
    "total", "connector", "logits", "hypernet", "solve", "score", "optimizer", "eval", "wasted", "encode",
    "runner_eval",
}  # fmt: skip


def read(report: Report, name: str) -> str:
    return (Path(report.where) / name).read_text(encoding="utf-8")


def table(report: Report, name: str) -> pd.DataFrame:
    return pd.read_csv(Path(report.where) / "tables" / f"{name}.csv")


def test_every_file_and_every_key(report: Report) -> None:
    assert Path(report.where).parts[-2:] == ("finished", "report")
    assert {name for name in report.files if name.startswith("plots/")} == {
        f"plots/{name}.{kind}"
        for name in ("connectors", "heatmaps", "ranks", "curves", "costs", "frontier")
        for kind in ("png", "pdf")
    }
    assert {"index.html", "report.md", "summary.json", "tables/summary.csv"} <= set(report.files)
    on_disk = [path.relative_to(report.where).as_posix() for path in Path(report.where).rglob("*") if path.is_file()]
    assert sorted(on_disk) == sorted(report.files)
    for name in report.files:
        assert (Path(report.where) / name).stat().st_size > 30
    data = json.loads(read(report, "summary.json"))
    assert set(data) == TOP
    assert data["schema"] == 2
    assert data["seeds"] == [0, 1, 2]
    for row in data["methods"].values():
        assert set(row) == METHOD
        assert set(row["flops"]) == FLOPS
        assert set(row["spearman"]) == {"value", "ci95", "per_seed"}
        assert set(row["promises"]) == {"selection", "winner", "all"}
    for view in ("as_run", "matched_batch", "matched_updates", "matched_flops", "paper"):
        for entry in data["views"][view].values():
            assert {"cost_ratio", "spearman", "regret", "delivered", "mean_gap"} <= set(entry)
            assert set(entry["budget"]) == {"batch_size", "updates_per_pair", "samples_per_pair", "flops"}
            assert (entry["cost_ratio"]["flops"] is None) or entry["reference_budget"]["flops"]
    assert data["views"]["as_run"].keys() == {"hyma", "cka"}
    assert read_summary(Path(report.where) / "summary.json") == report.summary


def test_not_a_number_is_null(maker: Any, tmp_path: Path) -> None:
    specs = maker.realistic(2, 2, 1)
    specs["hyma"].status = {(0, None): "diverged"}
    report = build_report(maker.run(tmp_path / "run", specs, images=2, texts=2))
    text = read(report, "summary.json")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["methods"]["hyma"]["spearman"] == {"value": None, "ci95": None, "per_seed": [None]}


def test_the_page_stands_alone_and_says_what_it_must(report: Report) -> None:
    page = read(report, "index.html")
    linked = set(re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page))
    files = {link for link in linked if not link.startswith(("data:", "#"))}
    assert files <= set(report.files), "a link leads out of the report"
    assert {name for name in report.files if name.startswith("tables/")} <= files, "every table can be fetched"
    assert "<script src" not in page and "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page
    drawn = set(re.findall(r'<figure id="figure-([^"]+)">', page))
    assert drawn == {name[len("plots/") : -len(".png")] for name in report.files if name.endswith(".png")}
    assert "data:image/png" not in page, "figures follow the colours of the page"
    verdict = re.search(r'<div class="verdict">(.*?)</div>', page, re.DOTALL)
    assert verdict
    assert 1 <= verdict[1].count("<p>") <= 3
    words = re.sub(r"<[^>]+>", "", page)
    for part in ("best of all 12 pairs", "As run, ape costs", "batch 128", "updates", "chance", "random pick"):
        assert part in words
    assert "indistinguishable" not in page
    assert "prefers-color-scheme" in page


def test_ids_and_reasons_are_escaped(maker: Any, tmp_path: Path) -> None:
    names = (["x:<b>bold</b>", "x:plain"], ["t:a|b", "t:c"])
    specs = maker.realistic(2, 2, 2)
    specs["ape"].status = {(0, 1): "failed"}
    report = build_report(maker.run(tmp_path / "run", specs, names=names))
    page, markdown = read(report, "index.html"), read(report, "report.md")
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert "failed on purpose" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| 1 |")]
    assert all(
        line.replace("\\|", "").count("|")
        == len(rows[0].replace("\\|", "")) - len(rows[0].replace("\\|", "").replace("|", ""))
        for line in rows
    )


def test_two_reports_of_one_run_are_equal(report: Report, tmp_path: Path) -> None:
    first = Path(report.where)
    again = build_report(RunStore(str(first.parent)), FolderBlobs(tmp_path / "again"))
    assert again.where == str(tmp_path / "again")
    assert again.files == report.files
    assert len(report.files) == 44
    for name in report.files:
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_tables_hold_what_the_store_holds(report: Report) -> None:
    finished = RunStore(str(Path(report.where).parent))
    pairs = table(report, "pairs")
    assert len(pairs) == 12 * 3 * 3  # pairs x seeds x methods
    record = next(iter(finished.records(finished.manifest()).values()))
    row = pairs[(pairs["method"] == "ape") & (pairs["seed"] == 0)].iloc[0]
    assert row["score"] == pytest.approx(record.metrics[0].score)
    assert row["test/retrieval/text_to_image_r5"] == pytest.approx(
        record.metrics[0].test["retrieval"]["text_to_image_r5"]
    )
    cost = table(report, "cost")
    assert cost.groupby("method")["flops_total"].sum()["ape"] == pytest.approx(36 * 2e10)
    assert table(report, "missing").empty


def test_pdf_carries_the_runs_name_and_parameters(report: Report) -> None:
    pdf = (Path(report.where) / "plots" / "heatmaps.pdf").read_bytes()
    assert b"/Title (finished: heatmaps)" in pdf
    assert b"seeds" in pdf[pdf.index(b"/Keywords") :][:200]


def test_rows_for_the_terminal(report: Report) -> None:
    rows = report.rows
    assert [row.method for row in rows] == ["ape (reference)", "hyma", "cka"]
    assert len(OVERVIEW_COLUMNS) == len(rows[0])
    assert rows[1].cells == "3/3"
    assert rows[1].cost_ratio == "6x / 4x"
    assert rows[2].delivered == "–"


def test_a_report_never_imports_torch_or_ray(finished: RunStore) -> None:
    code = (
        "import sys\n"
        "from harness.run.store import RunStore\n"
        "from reports.build import build_report\n"
        "build_report(RunStore(sys.argv[1]))\n"
        "sys.exit(' '.join(m for m in ('torch', 'ray', 'timm') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, finished.where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_empty_run_can_be_reported(maker: Any, tmp_path: Path) -> None:
    specs = maker.realistic(2, 2, 2)
    for spec in specs.values():
        spec.status = {(s, p): "missing" for s in range(2) for p in [*range(4), None]}
    report = build_report(maker.run(tmp_path / "run", specs, images=2, texts=2))
    assert "has no finished pair" in read(report, "index.html")
    assert isinstance(report.summary, Summary)
    assert len(table(report, "missing")) == 12


class CountingBlobs(FolderBlobs):
    """A folder that counts how often each blob is read."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.read: Counter[str] = Counter()

    def get(self, name: str) -> bytes:
        self.read[name] += 1
        return super().get(name)


def test_every_file_of_hundreds_of_cells_is_read_once(maker: Any, tmp_path: Path) -> None:
    """However many pairs, metrics and resamples use it, nothing is opened twice."""
    store = maker.run(tmp_path / "run", maker.realistic(12, 8, 3), images=12, texts=8)
    blobs = CountingBlobs(store.where)
    build_report(RunStore(store.where, blobs))
    cells = 12 * 8 * 3 + 3 + 3  # ape's, hyma's and cka's
    assert {name: times for name, times in blobs.read.items() if times > 1} == {}
    assert len([name for name in blobs.read if name.startswith("cells/") and name.endswith(".json")]) == cells


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
