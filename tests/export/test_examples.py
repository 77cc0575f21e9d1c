"""Pictures for the report: what is stored is what the exported model finds, and the page shows it."""

import base64
import io
import json
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import harness
from harness.contract.pairs import Pair
from harness.export.examples import CAPTIONS, FIRST, WORST, write_examples
from harness.export.folder import export_connector
from harness.export.illustrate import illustrate
from harness.export.thumbnails import SIDE
from reports.build import build_report
from tests.pictures import captioned_pictures

SWEEP = """
    name: pictures
    data: {kind: manifest, file: rows.csv, split: {train: 0.5, validation: 0.2, test: 0.3}}
    image_encoders: ["synthetic:24", {id: "synthetic:b", dim: 12, seed: 3}]
    text_encoders: ["synthetic:20"]
    methods:
      ape: {epochs: 4, batch_size: 16, lr: 1.0e-2}
      cka: {}
    seeds: [0, 1]
    storage: runs
"""
PAIR: Pair = ("synthetic:b", "synthetic:20")


@pytest.fixture
def pictured(temp_project):
    captioned_pictures(temp_project.folder, 100, side=90)
    temp_project.write("pictures.yaml", SWEEP)
    return temp_project.run("pictures.yaml", "data.captions=[caption]")


def test_what_is_shown_is_what_the_exported_model_finds(pictured, tmp_path: Path) -> None:
    plan, store = pictured
    found = write_examples(plan.resolved, store, [("ape", PAIR), ("cka", PAIR)])
    assert found is not None and found == store.examples()
    assert found.images == 30
    assert (len(found.captions), len(found.worst)) == (CAPTIONS, WORST)
    model = harness.load(export_connector(store, "ape", PAIR, tmp_path / "model"))
    test, captions, owner = plan.resolved.index.paired("test")
    images = model.encode_image(list(plan.resolved.dataset.samples("image", test.tolist())))
    texts = list(plan.resolved.dataset.samples("text", captions.tolist()))
    scores = model.similarity(images, model.encode_text(texts)).numpy()
    ranks = [1 + int((column > column[own]).sum()) for column, own in zip(scores.T, owner, strict=True)]
    for one in (*found.captions, *found.worst):
        at = texts.index(one.caption)
        (shown,) = one.lists  # cka trains no connector
        assert one.own == test[owner[at]]
        assert shown.rank == ranks[at]
        order = (-scores[:, at]).argsort(kind="stable")
        assert shown.first == test[order[:FIRST]].tolist()
        assert set(shown.first) <= set(found.pictures)
    assert [one.lists[0].rank for one in found.worst] == sorted(ranks, reverse=True)[:WORST]


def test_pictures_are_small_and_those_of_their_rows(pictured) -> None:
    plan, store = pictured
    found = write_examples(plan.resolved, store, [("ape", PAIR)])
    assert found is not None
    for row, written in found.pictures.items():
        small = Image.open(io.BytesIO(base64.b64decode(written)))
        assert (small.format, small.size) == ("JPEG", (SIDE, SIDE))
        (own,) = plan.resolved.dataset.samples("image", [row])
        assert isinstance(own, Image.Image)
        apart = [abs(a - b) for a, b in zip(_mean(small), _mean(own), strict=True)]
        assert max(apart) < 6


def _mean(picture: Image.Image) -> list[float]:
    return [float(value) for value in picture.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))]  # type: ignore[union-attr]


def test_the_report_asks_for_what_it_speaks_of_and_keeps_it(pictured) -> None:
    plan, store = pictured
    made = build_report(store, illustrate=partial(write_examples, plan.resolved, store))
    page = (Path(made.where) / "index.html").read_text(encoding="utf-8")
    examples = store.examples()
    assert examples is not None
    first = examples.captions[0]
    assert (first.lists[0].image, first.lists[0].text) == made.summary.methods["ape"].best_pair
    assert first.caption in page and examples.pictures[first.own] in page
    assert page.count('class="caption-row"') == CAPTIONS + WORST
    assert f"right one at place {first.lists[0].rank}" in page
    again = build_report(store)
    assert (Path(again.where) / "index.html").read_text(encoding="utf-8") == page


def test_pictures_that_are_gone_do_not_stop_a_report(pictured, temp_project) -> None:
    plan, store = pictured
    for picture in temp_project.folder.glob("*.png"):
        picture.unlink()
    assert write_examples(plan.resolved, store, [("ape", PAIR)]) is None
    assert store.examples() is None


def test_embeddings_without_pictures_and_scores_without_connectors_show_nothing(finished, pictured) -> None:
    plan, store = finished.plan(), finished.store(finished.plan())
    assert write_examples(plan.resolved, store, [("ape", plan.resolved.pairs[0])]) is None
    plan, store = pictured
    assert write_examples(plan.resolved, store, [("cka", PAIR)]) is None


def test_a_run_that_is_only_opened_gets_the_same_pictures(pictured, monkeypatch) -> None:
    """Also from another folder: the manifest says where its data lie. A run of embeddings has none."""
    plan, store = pictured
    wanted = [("ape", PAIR)]
    swept = write_examples(plan.resolved, store, wanted)
    store.blobs.delete("examples.json")
    monkeypatch.chdir("/")
    assert illustrate(store, wanted) == swept == store.examples()
    monkeypatch.setattr("harness.export.examples.write_examples", lambda *given: pytest.fail("they are there already"))
    assert illustrate(store, wanted) == swept
    monkeypatch.undo()
    other = illustrate(store, [("ape", ("synthetic:24", "synthetic:20"))])
    assert other is not None and other != swept


def test_a_report_of_a_run_whose_data_are_gone_has_no_pictures(pictured, temp_project) -> None:
    _, store = pictured
    (temp_project.folder / "rows.csv").unlink()
    assert illustrate(store, [("ape", PAIR)]) is None
    made = harness.open_run(store.where).report()
    assert 'class="caption-row"' not in (Path(made.where) / "index.html").read_text(encoding="utf-8")


def test_a_run_of_embeddings_has_no_pictures(finished) -> None:
    store = finished.store(finished.plan())
    assert illustrate(store, [("ape", finished.plan().resolved.pairs[0])]) is None


def test_the_library_makes_pictures_as_the_command_line_does(temp_project, without_plots) -> None:
    captioned_pictures(temp_project.folder, 60)
    temp_project.write("pictures.yaml", SWEEP)
    overrides = {"data.captions": ["caption"], "seeds": [0], "methods.ape.epochs": 1}
    run = harness.sweep(temp_project.folder / "pictures.yaml", backend="serial", overrides=overrides)  # type: ignore[operator]
    page = Path(run.store.where) / "report" / "index.html"
    assert 'class="caption-row"' in page.read_text(encoding="utf-8")
    run.store.blobs.delete("examples.json")
    (code, out, err) = temp_project.invoke("report", run.store.where, "--json", "--no-pictures")
    assert code == 0, err
    assert json.loads(out) == json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
    assert 'class="caption-row"' not in page.read_text(encoding="utf-8")
    temp_project.invoke("report", run.store.where)
    assert 'class="caption-row"' in page.read_text(encoding="utf-8")
