"""The page in a real browser: it is drawn, and it answers clicks, sorts, filters and pointers (make test-browser)."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.build import Report, build_report
from reports.formatting import flops, number, times

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
DARK = "--blink-settings=preferredColorScheme=0"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]

HELPERS = """
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const rows = () => all("#pair-table tbody tr").filter((row) => !row.hidden);
const column = (n) => rows().map((row) => row.cells[n].textContent);
const choose = (name, value) => {
  const field = one(`#filters [name=${name}]`);
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
"""


def browse(page: Path, profile: Path, *options: str) -> str:
    """Open a page without a network to speak of; returns the browser's output."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *QUIET]
    command += [f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def answers(report: Report, folder: Path, script: str, width: int = 1300) -> dict[str, Any]:
    """Run a script on the page after it has loaded; returns the fields that it sets on ``found``."""
    probe = folder / "probe.html"
    tail = f"""<script>addEventListener("load", () => {{ const found = {{ errors: window.problems }};{HELPERS}
    try {{ {script} }} catch (error) {{ found.errors.push(String(error)); }}
    document.body.dataset.found = JSON.stringify(found); }});</script></body>"""
    head = (
        """<script>window.problems = []; addEventListener("error", (e) => problems.push(e.message));</script></head>"""
    )
    page = (Path(report.where) / "index.html").read_text(encoding="utf-8")
    probe.write_text(page.replace("</body>", tail).replace("</head>", head, 1), encoding="utf-8")
    wait = "--virtual-time-budget=4000"  # for what a script sets going
    dom = browse(probe, folder / "profile", "--dump-dom", f"--window-size={width},1000", wait)
    written = re.search(r'data-found="([^"]*)"', dom)
    assert written, "the script ran to its end"
    found = json.loads(html.unescape(written[1]))
    assert found["errors"] == []
    return found


@pytest.mark.parametrize("width", [1440, 768, 500])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn(report: Report, tmp_path: Path, width: int, scheme: str) -> None:
    page = Path(report.where) / "index.html"
    shot = tmp_path / "page.png"
    dark = [DARK] if scheme == "dark" else []
    browse(page, tmp_path / "profile", f"--screenshot={shot}", f"--window-size={width},5000", *dark)
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    background = pixels[2, 2]
    assert (background.mean() < 60) == (scheme == "dark")
    drawn = (pixels != background).any(axis=2)
    assert drawn[:600].mean() > 0.02  # the answer and the figure that decides
    assert drawn[800:2500].mean() > 0.05  # heatmaps and tables
    assert not drawn[:, :4].any()  # a margin is kept, nothing hangs out


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_nothing_is_wider_than_the_window(report: Report, tmp_path: Path, width: int) -> None:
    """In a frame, because a window has a least width."""
    script = f"""
    const frame = document.createElement("iframe");
    frame.style.width = "{width}px";
    frame.srcdoc = document.documentElement.outerHTML.replace(/<script>[^]*?<.script>/g, "");
    document.body.replaceChildren(frame);
    frame.onload = () => {{
      const inside = frame.contentDocument.documentElement;
      inside.querySelectorAll("details").forEach((room) => {{ room.open = true; }});
      found.width = inside.scrollWidth;
      found.fields = inside.querySelectorAll("svg").length;
      document.body.dataset.found = JSON.stringify(found);
    }};"""
    found = answers(report, tmp_path, script)
    assert found["fields"] > 8
    assert found["width"] <= width


def test_a_click_on_a_cell_opens_its_pair(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        found.before = one("#pair").hidden;
        const cell = one('#figure-heatmaps g.cell[data-pair="4"]');
        cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        found.after = one("#pair").hidden;
        found.title = one("#pair h3").textContent;
        found.methods = all("#pair tbody tr").map((row) => row.cells[0].textContent);
        found.lines = all("#pair svg polyline").length;
        found.chosen = all("#pair-table tr.chosen").map((row) => row.dataset.pair);
        all("#pair-table tbody tr")[0].click();
        found.next = one("#pair").dataset.pair;
        found.row = all("#pair-table tbody tr")[0].dataset.pair;
        """,
    )
    assert found["before"] and not found["after"]
    assert found["title"] == "image1 + text1"
    assert found["methods"] == ["ape", "hyma", "cka"]
    assert found["lines"] == 2, "the methods with checkpoints and connectors"
    assert found["chosen"] == ["4"] * 3
    assert found["next"] == found["row"]


def test_headings_sort_by_number_and_by_name(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        const press = (n) => all("#pair-table thead th")[n].querySelector("button.sort").click();
        press(4); found.down = column(4);
        press(4); found.up = column(4);
        press(0); press(0); found.names = column(0);
        found.words = ["999 GFLOP", "3.2 TFLOP", "4 min 10 s", "850 ms", "1,204", "-0.032 [-0.1, 0]"].map(measured);
        found.buttons = all("main table thead th").every((th) => th.querySelector("button.sort"));
        """,
    )
    down = [float(text) for text in found["down"] if text != "–"]
    assert down == sorted(down, reverse=True) and len(down) == 24
    assert found["down"][24:] == ["–"] * 12, "what has no score stands last"
    assert [float(text) for text in found["up"] if text != "–"] == down[::-1]
    assert found["names"] == sorted(found["names"])
    assert found["words"] == [9.99e11, 3.2e12, 250, 0.85, 1204, -0.032]
    assert found["buttons"]


def test_filters_keep_what_is_asked_for(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        found.all = rows().length;
        choose("method", "hyma");
        found.hyma = [...new Set(column(2))];
        found.panels = all("#pairs .panel[data-method]").filter((p) => !p.hidden).map((p) => p.dataset.method);
        choose("image", "image2");
        found.both = rows().map((row) => row.cells[0].textContent + row.cells[2].textContent);
        found.dimmed = all("#figure-heatmaps g.cell.off").length;
        choose("method", ""); choose("image", ""); choose("words", "oracle");
        found.oracle = column(9);
        found.says = one("#shown").textContent;
        """,
    )
    assert found["all"] == 36
    assert found["hyma"] == found["panels"] == ["hyma"]
    assert found["both"] == ["image2hyma"] * 3
    assert found["dimmed"] == 3 * (12 - 3)
    assert len(found["oracle"]) == 1 and "oracle" in found["oracle"][0]
    assert found["says"] == "1 of 36 rows"


def test_a_pointer_is_told_the_numbers(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        const over = (element) => {
          element.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, clientX: 50, clientY: 50 }));
          return one(".tip").hidden ? null : one(".tip").textContent;
        };
        found.cell = over(one('#figure-heatmaps g.cell[data-pair="0"] rect'));
        found.point = over(one('#figure-connectors g[data-method="hyma"] .mark'));
        found.again = over(one('#figure-connectors g[data-method="hyma"] .mark'));
        found.rank = over(one("#figure-ranks g[data-pair] circle"));
        found.cost = over(one("#figure-costs g[data-method] rect"));
        found.nothing = over(one("h1"));
        """,
    )
    assert re.match(r"image0 \+ text0\nape: 0\.\d+ \[0\.\d+, 0\.\d+\] on test data", found["cell"])
    assert "delivered score" in found["point"] and "batch 128, 40 updates" in found["point"]
    assert found["again"] == found["point"]
    assert "place" in found["rank"] and "GFLOP" in found["cost"]
    assert found["nothing"] is None


def test_views_switch_and_links_open_their_room(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        const shown = () => all("[data-view]").filter((view) => !view.hidden).map((view) => view.dataset.view);
        found.first = shown();
        one(".switch button[value=matched_flops]").click();
        found.then = shown();
        found.pressed = all(".switch button[aria-pressed=true]").map((button) => button.value);
        found.closed = one("#definitions").open;
        location.hash = "#def-regret";
        dispatchEvent(new HashChangeEvent("hashchange"));
        found.open = one("#definitions").open;
        all("details").forEach((room) => { room.open = false; });
        dispatchEvent(new Event("beforeprint"));
        found.printed = all("details").every((room) => room.open);
        dispatchEvent(new Event("afterprint"));
        found.back = all("details").some((room) => room.open);
        """,
    )
    assert set(found["first"]) == {"as_run"}
    assert set(found["then"]) == set(found["pressed"]) == {"matched_flops"}
    assert not found["closed"] and found["open"]
    assert found["printed"] and not found["back"]


def test_a_view_moves_the_table_of_methods_and_marks_its_cuts(report: Report, tmp_path: Path) -> None:
    found = answers(
        report,
        tmp_path,
        """
        const table = () => Object.fromEntries(all("#methods-table tbody tr").map((row) =>
          [row.cells[0].textContent, [...row.cells].map((cell) => cell.textContent)]));
        const grey = () => all("#methods-table td.still").length;
        const seen = (g) => getComputedStyle(g).display !== "none";
        const rings = () => all("g[data-cut]").filter(seen).map((g) => g.dataset.cut);
        found.heads = all("#methods-table thead th").map((th) => th.textContent);
        found.first = table(); found.grey = grey(); found.rings = rings();
        one("#methods .switch button[value=matched_flops]").click();
        found.matched = table(); found.greyer = grey(); found.cut = rings();
        found.head = all("#methods-table thead th").map((th) => th.textContent).join();
        all("#methods-table thead th button.sort")[0].click();
        one("#costs .switch button[value=paper]").click();
        found.paper = table();
        one("#costs .switch button[value=as_run]").click();
        found.back = table();
        """,
    )
    entry = report.summary.views.matched_flops["hyma"]
    heads = [text.rstrip("↕↓↑") for text in found["heads"]]
    row = dict(zip(heads, found["matched"]["hyma"], strict=True))
    assert row["FLOPs"] == flops(entry.budget.flops)
    assert row["Spearman [95% CI]"] == number(entry.spearman)
    assert row["regret [95% CI]"] == number(entry.regret)
    ratio = row["cost ratio, as run (FLOPs / wall)"]
    assert ratio.startswith(times(entry.cost_ratio.flops)) and "ape at batch 128, " in ratio
    assert row["kind"] == "joint"
    assert found["matched"]["ape (reference)"] == found["first"]["ape (reference)"]
    assert (found["grey"], found["rings"]) == (0, [])
    assert found["greyer"] > 13 and "cost ratio, matched flops" in found["head"]
    assert set(found["cut"]) == {"matched_flops"}
    assert found["paper"]["hyma"] != found["matched"]["hyma"]
    assert found["back"] == found["first"], "whatever the order of the rows"


def test_a_run_with_nothing_finished_has_a_page_too(maker: Any, tmp_path: Path) -> None:
    specs = maker.realistic(2, 2, 2)
    for spec in specs.values():
        spec.status = {(s, p): "failed" for s in range(2) for p in [*range(4), None]}
    failed = build_report(maker.run(tmp_path / "run", specs, images=2, texts=2))
    found = answers(failed, tmp_path, 'found.run = one("#run").open; found.rows = rows().length;')
    assert found["run"], "what failed is open"
    assert found["rows"] == 12
