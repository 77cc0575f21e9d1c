"""``harness sweep`` from options alone: the run is that of the file that it writes."""

import json

import pytest
import yaml

from harness.cli.given import given_sweep
from tests.pictures import captioned_pictures

OPTIONS = ["--data", "rows.csv", "--image-encoders", "packaged:pixels16", "--text-encoders", "packaged:glove50"]
QUICK = ["--backend", "serial", "--seeds", "0", "--set", "methods={spectral: {}}", "--set", "reference=null"]


@pytest.fixture
def pictures(temp_project, without_plots):
    captioned_pictures(temp_project.folder, 60)
    return temp_project


def test_a_sweep_needs_no_file_and_goes_on_with_the_one_that_it_writes(pictures) -> None:
    code, out, err = pictures.invoke("sweep", *OPTIONS, *QUICK)
    assert code == 0, out + err
    assert "these options as a file: harness sweep runs/rows/sweep.yaml goes on" in err
    assert out.splitlines()[0] == "rows"
    code, _, err = pictures.invoke("sweep", "runs/rows/sweep.yaml", "--backend", "serial")
    assert code == 0, err
    assert "nothing to run: 1 of 1 cells are done" in err
    written = yaml.safe_load((pictures.folder / "runs" / "rows" / "sweep.yaml").read_text())
    assert (written["image_encoders"], written["text_encoders"]) == (["packaged:pixels16"], ["packaged:glove50"])
    assert written["seeds"] == [0]
    (pictures.folder / "elsewhere").mkdir()
    code, _, err = pictures.invoke("sweep", *OPTIONS, *QUICK)
    assert "nothing to run" in err, "the same options are the same run"


def test_the_options_stand_for_what_init_writes(pictures, monkeypatch) -> None:
    """All but the place of the data: a file says it from its own folder."""
    assert pictures.invoke("init", "rows.yaml", *OPTIONS)[0] == 0
    mine = yaml.safe_load((pictures.folder / "rows.yaml").read_text())
    monkeypatch.chdir(pictures.folder)
    sides = {"image_encoders": "packaged:pixels16", "text_encoders": "packaged:glove50"}
    config, text = given_sweep("sweep", None, sides, str(pictures.folder / "rows.csv"), [], None, None)
    theirs = yaml.safe_load(text)
    assert theirs["data"].pop("file") == str(pictures.folder / mine["data"].pop("file"))
    assert theirs.pop("storage") == str((pictures.folder / mine.pop("storage")).resolve())
    assert theirs == mine
    assert config.name == "rows"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "neither a sweep file nor data with encoders of both sides (harness sweep SWEEP, or --image-encoders"),
        (OPTIONS[:4], "neither a sweep file nor data with encoders of both sides"),
        (["x.yaml", *OPTIONS], "--data: give a sweep file or --data, not both"),
        (["--data", "no.csv", *OPTIONS[2:]], "no.csv: no such file"),
    ],
)
def test_what_is_missing_is_one_line(pictures, refused, options, told: str) -> None:
    assert told in refused(pictures, "sweep", *options)
    assert not (pictures.folder / "runs").exists()


def test_programs_can_read_what_verbs_find(pictures, copy_of_world) -> None:
    code, out, _ = copy_of_world.invoke("validate", "world.yaml", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["cells"], found["image_encoders"]) == (0, True, 14, 3)
    assert sum(found["images"].values()) == 400
    code, out, _ = copy_of_world.invoke("export", "world", "--method", "ape", "--out", "model", "--json")
    assert code == 0
    assert json.loads(out)["folder"] == str(copy_of_world.folder / "model") and len(json.loads(out)["pair"]) == 2
    code, out, _ = copy_of_world.invoke("embed", "world.yaml", "--json")
    assert (code, {bank["extracted"] for bank in json.loads(out)["banks"]}) == (0, {False})
    code, out, _ = copy_of_world.invoke("pick", "world.yaml", "--json", "--out", "picked")
    found = json.loads(out)
    assert (code, found["model"]) == (0, "picked")
    assert found["verdict"][0].startswith("Stitch ")
    assert found["pick"]["pair"][0].startswith("image")
