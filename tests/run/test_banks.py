"""A run remembers what its cells were made from, and refuses banks that have become others since."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from harness.run.banks import bank_name
from tests.pictures import captioned_pictures

METHODS = "ape: {epochs: 2, batch_size: 8}\n  hyma: {epochs: 2, batch_size: 8, pairs_per_step: 1, hidden: [8]}"
SWEEP = ("sweep", "towers.yaml", "--backend", "serial")


def set_tower(folder: Path, seed: int) -> None:
    """Weights at a place that says nothing of their content, as a branch of a hub does not."""
    torch.manual_seed(seed)
    save_for_hf(timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=0), str(folder))


@pytest.fixture
def towers(temp_project, without_plots):
    """Forty pictures of noise, an image encoder whose weights can be replaced, and one that stays as it is."""
    folder = temp_project.folder
    captioned_pictures(folder, 40)
    set_tower(folder / "tower", 0)
    tower = f"timm:local-dir:{folder / 'tower'}"
    temp_project.write(
        "towers.yaml",
        f"""
name: towers
data: {{kind: manifest, file: rows.csv, captions: [caption]}}
image_encoders: ["{tower}", "synthetic:24"]
text_encoders: ["synthetic:20"]
methods:
  {METHODS}
storage: runs
""",
    )
    return temp_project, tower


def banks_of_tower(project) -> list[Path]:
    return list((project.folder / "runs/banks").glob("*/image-timm-*"))


def renew(project) -> None:
    """Delete the tower's banks, so that the next sweep makes them again."""
    for path in banks_of_tower(project):
        shutil.rmtree(path)


def reweigh(project, seed: int) -> None:
    """Give the tower other weights under its name, and delete its banks."""
    set_tower(project.folder / "tower", seed)
    renew(project)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def swept(project, *options: str) -> str:
    code, out, err = project.invoke(*SWEEP, *options)
    assert code == 0, out + err
    return err


def refused(project, *options: str) -> str:
    code, _, err = project.invoke(*SWEEP, *options)
    assert code == 2, err
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "Traceback" not in err
    return told[0].removeprefix("error: ")


def test_each_cell_records_the_digests_of_its_own_banks(finished) -> None:
    plan = finished.plan()
    store = finished.store(plan)
    digests = {}
    for request in plan.resolved.banks.values():
        file = request.path / "embeddings.npy"
        digests[request.info.modality, request.spec.id] = bank_name(request), hashlib.sha256(file.read_bytes())
    for cell in plan.cells:
        images, texts = {pair[0] for pair in cell.pairs}, {pair[1] for pair in cell.pairs}
        own = [digests["image", name] for name in images] + [digests["text", name] for name in texts]
        assert store.record(cell.key).banks == {name: digest.hexdigest() for name, digest in own}


def test_a_bank_made_again_with_other_content_is_refused_for_cells_of_the_old_one(towers) -> None:
    project, tower = towers
    swept(project)
    run = project.folder / "runs/towers"
    before = content(run)
    reweigh(project, 1)
    told = refused(project)
    digest = json.loads((banks_of_tower(project)[0] / "meta.json").read_text())["digest"]
    old = json.loads(before["manifest.json"])["banks"][f"rows image {tower}"]["digest"]
    assert told == (
        f"{run}: bank 'rows image {tower}' holds other embeddings ({digest[:12]}) than when 2 finished cells were made "
        f"({old[:12]}) (bring the old bank back, or sweep under another name)"
    )
    assert content(run) == before, "nothing of the run has changed"
    assert tower in refused(project, "--seeds", "0,1"), "not even for seeds that have not run yet"

    reweigh(project, 0)
    assert "nothing to run" in swept(project), "the old content is back"


def test_a_sweep_without_the_encoder_in_between_does_not_make_it_forget(towers) -> None:
    project, tower = towers
    swept(project)
    reweigh(project, 1)
    code, _, err = project.invoke(*SWEEP, "--set", "image_encoders=['synthetic:24']")
    assert (code, "swept with another plan" in err) == (2, True)
    assert f"bank 'rows image {tower}' holds other embeddings" in refused(project)


def test_cells_that_would_run_again_anyway_are_no_reason_to_refuse(towers) -> None:
    project, _ = towers
    timeout = ("--set", "methods={ape: {epochs: 2, batch_size: 8, resources: {timeout_s: 1.0e-6}}}")
    assert project.invoke(*SWEEP, *timeout)[0] == 1
    reweigh(project, 1)
    swept(project, "--set", "methods={ape: {epochs: 2, batch_size: 8}}")


def test_another_run_takes_the_new_bank(towers) -> None:
    project, _ = towers
    swept(project)
    reweigh(project, 1)
    swept(project, "--set", "name=other")


def test_banks_of_one_encoder_made_with_different_weights_are_refused(towers) -> None:
    project, tower = towers
    swept(project)
    shutil.copy(project.folder / "rows.csv", project.folder / "more.csv")
    (project.folder / "more.csv").open("a").write("0.png,one more\n")
    own_data = "{kind: retrieval, label: more, data: {kind: manifest, file: more.csv, captions: [caption]}}"
    more = ("--set", f"tasks=[retrieval, {own_data}]", "--set", "name=more")
    set_tower(project.folder / "tower", 1)
    told = refused(project, *more)
    assert told.startswith(f"{tower}: its banks were made with different weights: ")
    assert told.endswith("(delete the older bank and run harness embed again)")
    renew(project)
    swept(project, *more)
