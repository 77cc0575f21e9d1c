"""Captions for the report: what is stored is what exported models say, and the page shows it."""

from pathlib import Path

import pytest
import torch

import harness
from harness.export.captioned import PICTURES
from harness.export.folder import export_connector
from harness.run.records import Examples
from reports.build import build_report
from tests.conftest import Project
from tests.language import SWEEP, coloured_pictures, random_model


@pytest.fixture
def swept(temp_project: Project, monkeypatch: pytest.MonkeyPatch, without_plots: None, one_thread: None) -> Project:
    """Three pairs of plain pictures and a language model, trained and reported."""
    coloured_pictures(temp_project.folder, 60)
    monkeypatch.chdir(temp_project.folder)  # as folders of models are named from there
    random_model(temp_project.folder / "one", layers=1)
    encoders = '["packaged:pixels16", "synthetic:24", {id: "synthetic:b", dim: 4, seed: 3}]'
    written = SWEEP.replace('["packaged:pixels16"]', encoders).replace(', {id: "local:two", max_tokens: 6}', "")
    temp_project.write("colours.yaml", written.replace("epochs: 40", "epochs: 20"))
    code, _, err = temp_project.invoke("sweep", "colours.yaml", "--backend", "serial")
    assert code == 0, err
    return temp_project


def test_the_page_shows_what_exported_models_of_the_best_the_median_and_the_worst_pair_say(
    swept: Project, tmp_path: Path
) -> None:
    plan, store = swept.plan("colours.yaml"), swept.store(swept.plan("colours.yaml"))
    found = store.examples()
    assert found is not None and not found.captions
    assert len(found.captioned) == PICTURES and set(found.pictures) == {one.own for one in found.captioned}
    scores = {}
    for cell in plan.cells:
        (pair,) = store.record(cell.key).metrics
        scores[pair.image] = pair.test["caption_perplexity"]["perplexity"]
    assert [one.image for one in found.captioners] == sorted(scores, key=lambda image: scores[image])
    rows = [one.own for one in found.captioned]
    pictures = list(plan.resolved.dataset.samples("image", rows))
    captions = list(plan.resolved.dataset.samples("text", rows))  # one caption for each picture
    assert [one.written for one in found.captioned] == captions
    for number, one in enumerate(found.captioners):
        folder = export_connector(store, one.label, (one.image, one.text), tmp_path / str(number))
        assert harness.load(folder).caption(pictures, 6) == [picture.said[number] for picture in found.captioned]
        language = plan.resolved.language
        assert language is not None
        model = language.load(one.text, torch.device("cpu"))
        assert one.no_image == model.continuations(torch.zeros(1, 1, model.shape.dim), 6)[0]

    page = swept.folder / "runs/colours/report/index.html"
    text = page.read_text(encoding="utf-8")
    assert all(f"{place} pair" in text for place in ("best", "median", "worst"))
    assert all(found.pictures[one.own] in text and f"“{one.written}”" in text for one in found.captioned)
    assert "no image" in text and 'id="pictures"' not in text
    build_report(store)
    assert page.read_text(encoding="utf-8") == text, "a report alone needs neither pictures nor models"


def test_an_older_record_has_no_captions() -> None:
    older = {"images": 3, "captions": [], "worst": [], "pictures": {}}
    assert Examples.model_validate(older).captioners == []
