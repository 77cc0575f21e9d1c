"""Figures as files carry the run's parameters, and no path of the machine that made them."""

import json
from pathlib import Path

from PIL import Image

from harness.run.store import RunStore
from harness.storage.blobs import FolderBlobs
from reports.analysis import analyse
from reports.plots import write_plots


def test_a_figure_names_its_run_and_no_folder(finished: RunStore, tmp_path: Path) -> None:
    drawn = write_plots(analyse(finished), FolderBlobs(tmp_path))
    file = tmp_path / next(name for name in drawn["heatmaps"] if name.endswith(".png"))
    with Image.open(file) as picture:
        said = picture.info
    parameters = json.loads(said["Description"])
    manifest = finished.manifest()
    assert said["Title"] == f"{manifest.name}: heatmaps"
    assert parameters["seeds"] == manifest.seeds
    assert not {"source", "storage"} & parameters.keys()
    for names in drawn.values():
        assert all(finished.where.encode() not in (tmp_path / name).read_bytes() for name in names)
