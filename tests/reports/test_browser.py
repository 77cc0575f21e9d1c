"""The page in a real browser (make test-browser)."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.build import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def browse(page: Path, profile: Path, *options: str) -> str:
    """Open a page without a network to speak of; returns the browser's output."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *QUIET]
    command += [f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [1300, 700])
def test_the_page_is_drawn(report: Report, tmp_path: Path, width: int) -> None:
    page = Path(report.where) / "index.html"
    shot = tmp_path / "page.png"
    browse(page, tmp_path / "profile", f"--screenshot={shot}", f"--window-size={width},5000")
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    background = pixels[2, 2]
    drawn = (pixels != background).any(axis=2)
    assert drawn[:600].mean() > 0.02  # the answer and the table
    assert drawn[2000:4500].mean() > 0.05  # the figures
    assert not drawn[:, :4].any()  # a margin is kept, nothing hangs out


def test_images_load_and_the_page_does_not_need_script(report: Report, tmp_path: Path) -> None:
    page = Path(report.where) / "index.html"
    probe = tmp_path / "probe.html"
    script = (
        "<script>addEventListener('load', () => { const images = [...document.images];"
        "const loaded = images.filter(i => i.complete && i.naturalWidth > 300);"
        "document.body.dataset.loaded = loaded.length + '/' + images.length;"
        "document.body.dataset.wide = document.documentElement.scrollWidth <= innerWidth; });</script></body>"
    )
    probe.write_text(page.read_text().replace("</body>", script))
    dom = browse(probe, tmp_path / "profile", "--dump-dom", "--window-size=1300,1000")
    assert 'data-loaded="5/5"' in dom
    assert 'data-wide="true"' in dom
