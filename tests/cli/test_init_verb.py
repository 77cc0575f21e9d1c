"""``harness init``: a file that the other verbs take as it is."""

import pytest
import yaml
from PIL import Image

ENCODERS = ("--image-encoders", "packaged:pixels16,packaged:untrained_resnet18", "--text-encoders", "packaged:glove50")


@pytest.fixture
def pictures(temp_project):
    """A folder with a table of 300 pictures, under a name that a run cannot have."""
    folder = temp_project.folder / "my data"
    folder.mkdir()
    rows = ["Image,Text,Label,note"]
    for number in range(300):
        Image.new("RGB", (8, 8), (number % 256, number // 2, 9)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,a red thing of size {number},{'odd' if number % 2 else 'even'},x")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return temp_project


def test_the_file_validates_plans_and_says_what_its_fields_are(pictures) -> None:
    code, out, err = pictures.invoke("init", "first.yaml", "--data", "my data/pairs.csv", *ENCODERS)
    assert (code, err) == (0, "")
    assert out.startswith("wrote first.yaml: 2 image x 1 text encoders, 210 training images\n")
    text = (pictures.folder / "first.yaml").read_text()
    written = yaml.safe_load(text)
    assert written["name"] == "first"
    assert written["data"] == {
        "kind": "manifest",
        "file": "my data/pairs.csv",
        "image": "Image",
        "captions": ["Text"],
        "label": "Label",
    }
    assert written["methods"]["hyma"]["pairs_per_step"] == 2, "no more than there are pairs"
    assert all(method["batch_size"] <= 210 for method in written["methods"].values())
    assert text.count("#") > 10
    code, out, _ = pictures.invoke("validate", "first.yaml")
    assert (code, out.startswith("ok: 2 image x 1 text encoders")) == (0, True)
    assert pictures.invoke("plan", "first.yaml", "--json")[0] == 0


def test_paths_start_in_the_files_own_folder(pictures) -> None:
    (pictures.folder / "sweeps").mkdir()
    assert pictures.invoke("init", "sweeps/x.yaml", "--data", "my data/pairs.csv", *ENCODERS)[0] == 0
    assert yaml.safe_load((pictures.folder / "sweeps" / "x.yaml").read_text())["data"]["file"] == "../my data/pairs.csv"
    assert pictures.invoke("validate", "sweeps/x.yaml")[0] == 0


def test_nothing_is_written_over_and_nothing_wrong_is_written(pictures, refused) -> None:
    mine = pictures.write("mine.yaml", "name: mine\n")
    told = refused(pictures, "init", "mine.yaml", "--data", "my data/pairs.csv", *ENCODERS)
    assert told == "mine.yaml: is there already (name another file)"
    assert mine.read_text() == "name: mine\n"
    wrong = [*ENCODERS[:-1], "packaged:glov50"]
    assert "did you mean 'glove50'" in refused(pictures, "init", "--data", "my data/pairs.csv", *wrong)
    assert refused(pictures, "init", "--data", "none.csv", *ENCODERS).startswith("none.csv: no such file")
    assert not (pictures.folder / "sweep.yaml").exists()


def test_a_table_without_pictures_says_what_it_looked_for(pictures, refused) -> None:
    (pictures.folder / "odd.csv").write_text("a,b\n1,2\n")
    told = refused(pictures, "init", "--data", "odd.csv", *ENCODERS)
    assert told == "odd.csv: no column looks like image: a, b (call it 'image', or name it as data.image in a file)"


def test_where_nobody_can_be_asked_it_names_the_missing_option(pictures, refused) -> None:
    assert refused(pictures, "init", "--data", "my data/pairs.csv").startswith("--image-encoders: is missing (e.g. ")
