"""``harness pick``: one command to a model, bad input in one line, nothing half-written, and nothing done twice."""

import json
import re

import pytest

import harness
from harness.data.parts import PARTS, Parts
from harness.run.picked import PickRecord
from tests.conftest import Project
from tests.pictures import captioned_pictures

WORLD = """
    name: world
    data:
      {kind: synthetic, rows: 600, image_encoders: 3, text_encoders: 2, image_dims: [12, 20, 12], text_dims: [8, 16],
       latent: 8, image_qualities: [0.3, 0.95, 0.3], text_qualities: [0.3, 0.95], seed: 0}
    methods:
      ape: {epochs: 3, batch_size: 64, lr: 1.0e-2}
    storage: runs
    pick: {first: 100, growth: 3, settings: {updates: 4, rounds: 1}}
"""
PICTURES = """
    name: pictures
    data:
      {kind: manifest, file: rows.csv, image: image, captions: [caption],
       split: {train: 0.8, validation: 0.1, test: 0.1, seed: 0}}
    image_encoders: ["packaged:pixels16", "packaged:untrained_resnet18"]
    text_encoders: ["packaged:wordllama", "packaged:glove50"]
    methods:
      ape: {epochs: 1, batch_size: 32, lr: 1.0e-2}
    storage: runs
    pick: {validation: 20, settings: {updates: 2, rounds: 1}}
"""


@pytest.fixture
def clear(temp_project: Project) -> Project:
    """A world with one pair far ahead."""
    temp_project.write("world.yaml", WORLD)
    return temp_project


@pytest.fixture
def pictures(temp_project: Project) -> Project:
    """160 pictures of noise with their numbers, of which the first stage needs fewer."""
    captioned_pictures(temp_project.folder, 160)
    temp_project.write("pictures.yaml", PICTURES)
    return temp_project


def picked(project: Project, name: str = "world") -> PickRecord:
    text = (project.folder / f"runs/{name}-pick/report/pick.json").read_text(encoding="utf-8")
    return PickRecord.model_validate_json(text)


def held(project: Project, encoder: str) -> int:
    """Rows of the encoder's bank that are there."""
    (bank,) = (path for path in project.folder.glob("runs/banks/*/*") if encoder in path.name)
    meta = bank / "meta.json"
    if meta.is_file():
        return int(json.loads(meta.read_text(encoding="utf-8"))["count"])
    dim = {"pixels16": 16 * 16 * 3, "untrained_resnet18": 512, "wordllama": 256, "glove50": 50}[encoder]
    return sum(len(part.rows) for part in Parts(bank / PARTS, dim, "float32").read())


def test_it_ends_with_the_pair_and_a_model_that_opens(clear) -> None:
    code, out, err = clear.invoke("pick", "world.yaml", "--out", "model")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("Stitch image01 + text01: text_to_image_r5 0.")
    assert lines[1] == "No other of 6 pairs may be as good."
    assert lines[-3:] == [
        "model: model",
        "report: runs/world-pick/report/index.html",
        'next: harness.load("model") in Python opens it; harness sweep world.yaml runs the whole grid',
    ]
    model = harness.load(clear.folder / "model")
    record = picked(clear)
    assert record.pair == ("image01", "text01")
    assert (model.config["image_encoder"]["id"], model.config["text_encoder"]["id"]) == record.pair
    assert model.config["validation"]["retrieval"]["text_to_image_r5"] == record.validation


def test_what_it_says_on_the_way_is_for_people(clear) -> None:
    """A line for what a stage does and one for what it came to; no names of runs, no empty lines."""
    _, _, err = clear.invoke("pick", "world.yaml")
    told = [line for line in err.splitlines() if not line.startswith("embed ")]
    assert told[0] == "stage 1: 3 image x 2 text encoders; 100 training, 60 validation images"
    assert re.fullmatch(r" +1 of 6 pairs left, best image01 \+ text01 0\.\d{3}", told[1])
    assert told[2] == "stage 2: 1 image x 1 text encoders; 300 training, 60 validation images"
    assert re.fullmatch(r" +validation 0\.\d{3}", told[3])
    assert told[-2] == "stage 3: polishing image01 + text01; 300 training, 60 validation, 120 test images"
    assert all(line.strip() for line in err.splitlines())
    assert "-pick-1-" not in err


def test_the_same_command_again_does_nothing_again_and_says_the_same(clear) -> None:
    first = clear.invoke("pick", "world.yaml")
    cells = {path: path.stat().st_mtime_ns for path in clear.folder.glob("runs/*/cells/*.json")}
    assert len(cells) == len(picked(clear).stages)
    again = clear.invoke("pick", "world.yaml")
    assert (first[0], first[1]) == (again[0], again[1])
    assert {path: path.stat().st_mtime_ns for path in clear.folder.glob("runs/*/cells/*.json")} == cells


def test_fewer_rows_are_embedded_than_by_a_sweep(pictures) -> None:
    """128 training pictures, of which the first stage takes 100, and 16 validation; the pair also 16 test pictures."""
    code, out, err = pictures.invoke("pick", "pictures.yaml")
    assert code == 0, err
    record = picked(pictures, "pictures")
    rows = {
        encoder.removeprefix("packaged:"): 116
        for stage in record.stages[:1]
        for encoder in (*stage.images, *stage.texts)
    }
    for stage in record.stages[1:]:
        for encoder in (*stage.images, *stage.texts):
            rows[encoder.removeprefix("packaged:")] = (
                stage.train_images + 16 + (16 if stage is record.stages[-1] else 0)
            )
    assert {encoder: held(pictures, encoder) for encoder in rows} == rows
    assert max(rows.values()) <= 160
    assert sum(rows.values()) < 4 * 160
    assert record.unknown == ()
    assert record.grid is not None
    assert record.grid.encode > record.cost.encode > 0
    assert " of it to embed." in out
    assert " end to end, " in out
    model = harness.load(pictures.folder / out.split("model: ")[1].splitlines()[0])
    (similarity,) = model.similarity(
        model.encode_image([str(pictures.folder / "0.png")]), model.encode_text(["number 0"])
    ).flatten()
    assert -1.001 < float(similarity) < 1.001


def test_a_table_and_encoders_are_enough(temp_project: Project) -> None:
    captioned_pictures(temp_project.folder, 60)
    table = temp_project.folder / "rows.csv"
    table.write_text(table.read_text().replace("image,caption", "path,caption"), encoding="utf-8")
    options = ["--data", "rows.csv", "--image-encoders", "packaged:pixels16", "--out", "model"]
    options += ["--text-encoders", "packaged:wordllama, packaged:glove50", "--at-most-gap", "0.5"]
    code, out, err = temp_project.invoke("pick", *options)
    assert code == 0, err
    assert out.startswith("Stitch pixels16 + ")
    assert harness.load(temp_project.folder / "model").encode_text(["number 1"]).shape == (1, 768)
    assert out.splitlines()[-1].endswith("harness sweep runs/rows-pick/sweep.yaml runs the whole grid")
    code, out, err = temp_project.invoke("validate", "runs/rows-pick/sweep.yaml")
    assert code == 0, err
    assert "1 image x 2 text encoders" in out


def test_the_options_encoders_stand_instead_of_the_files(clear) -> None:
    code, out, err = clear.invoke("pick", "world.yaml", "--image-encoders", "image00,image02")
    assert code == 0, err
    assert picked(clear).candidates == 4
    assert out.startswith("Stitch image0")
    assert not out.startswith("Stitch image01")


BAD = {
    "no file and no data": ((), "neither a sweep file nor data with encoders of both sides"),
    "data without encoders": (("--data", "rows.csv"), "neither a sweep file nor data with encoders of both sides"),
    "file and data": (("world.yaml", "--data", "rows.csv"), "--data: give a sweep file or --data, not both"),
    "no such table": (
        ("--data", "no.csv", "--image-encoders", "packaged:pixels16", "--text-encoders", "packaged:glove50"),
        "no.csv: no such file",
    ),
    "unknown encoder": (
        ("--data", "rows.csv", "--image-encoders", "packaged:pixel16", "--text-encoders", "packaged:glove50"),
        "no packaged encoder 'pixel16'",
    ),
    "unknown encoder of the data": (("world.yaml", "--text-encoders", "text07"), "no text embeddings of 'text07'"),
    "no encoder": (("world.yaml", "--text-encoders", ","), "the list is empty"),
    "no such sweep": (("nowhere.yaml",), "no such sweep file"),
    "limit of no unit": (("world.yaml", "--within", "5x"), "--within: '5x' is no limit"),
    "limit of nothing": (("world.yaml", "--within", "0s"), "--within: '0s' is no limit"),
    "negative limit": (("world.yaml", "--within=-2P"), "--within: '-2P' is no limit"),
    "negative gap": (("world.yaml", "--at-most-gap=-1"), "pick.at_most_gap"),
    "unknown backend": (("world.yaml", "--backend", "rays"), "unknown backend 'rays'"),
    "a folder that is there": (("world.yaml", "--out", "there"), "is there already"),
    "no pair meets the constraints": (
        (
            "world.yaml",
            "--set",
            "selection={task: retrieval, metric: text_to_image_r5, constraints: {image_dim: 999}}",
        ),
        "none of the 6 pairs can meet the constraints",
    ),
    "unknown method": (("world.yaml", "--set", "pick.method=wimner"), "unknown method 'wimner'"),
    "a method that cannot": (("world.yaml", "--set", "pick.method=ape"), "it has no field polish, at_most_gap"),
    "wrong setting": (("world.yaml", "--set", "pick.settings.batch_size=big"), "pick.settings.batch_size"),
    "wrong first": (("world.yaml", "--set", "pick.first=0"), "pick.first"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(clear, refused, case: str) -> None:
    captioned_pictures(clear.folder, 20)
    clear.write("there/file.txt", "something")
    table = clear.folder / "rows.csv"
    table.write_text(table.read_text().replace("image,caption", "path,caption"), encoding="utf-8")
    arguments, told = BAD[case]
    assert told in refused(clear, "pick", *arguments)
    assert not (clear.folder / "runs").exists()
    assert [path.name for path in (clear.folder / "there").iterdir()] == ["file.txt"]


@pytest.mark.parametrize("setting", ["pick.method=wimner", "pick.method=ape", "pick.settings.nosuch=1", "pick.keep=2"])
def test_validate_finds_what_is_wrong_with_the_pick(clear, refused, setting: str) -> None:
    assert setting.split("=")[0].rpartition(".")[0] in refused(clear, "validate", "world.yaml", "--set", setting)


def test_plan_and_validate_take_a_sweep_with_settings_of_a_pick(clear) -> None:
    for verb in ("plan", "validate"):
        code, _, err = clear.invoke(verb, "world.yaml")
        assert (code, err) == (0, "")


FAILING = """
    from dataclasses import dataclass
    from baselines.winner import Winner

    @dataclass(frozen=True, kw_only=True)
    class Failing(Winner):
        def fit(self, problem, budget, *, seed, progress):
            raise {what}
"""


def test_a_stage_that_fails_is_told_and_ends_with_1(clear) -> None:
    clear.write("failing.py", FAILING.format(what="RuntimeError('no luck')"))
    code, out, err = clear.invoke("pick", "world.yaml", "--set", 'pick.method="./failing.py:Failing"')
    assert (code, out) == (1, "")
    assert "no luck" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (clear.folder / "runs/world-pick").exists()


def test_an_interrupt_ends_with_130_and_the_same_command_finishes(clear, monkeypatch) -> None:
    from harness.cli.stages import StageRunner

    run = StageRunner.__call__

    def interrupted(self, stage, plan):
        if stage.number == 2:
            raise KeyboardInterrupt
        return run(self, stage, plan)

    with monkeypatch.context() as patched:
        patched.setattr(StageRunner, "__call__", interrupted)
        code, out, err = clear.invoke("pick", "world.yaml", "--out", "model")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted: what had finished is kept")
    assert not (clear.folder / "model").exists()
    first = {path: path.stat().st_mtime_ns for path in clear.folder.glob("runs/*/cells/*.json")}
    assert len(first) == 1
    code, _, err = clear.invoke("pick", "world.yaml", "--out", "model")
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in first} == first


@pytest.mark.parametrize(
    ("text", "flops", "seconds"),
    [
        ("2P", 2e15, None),
        ("2.5 PFLOPs", 2.5e15, None),
        ("3e15", 3e15, None),
        ("7TFLOP", 7e12, None),
        ("600s", None, 600.0),
        ("10m", None, 600.0),
        ("2h", None, 7200.0),
        (None, None, None),
    ],
)
def test_limits_as_they_are_written(text: str | None, flops: float | None, seconds: float | None) -> None:
    from harness.cli.pick import limits_of

    limits = limits_of(text)
    assert (limits.flops, limits.seconds) == (flops, seconds)


def test_within_keeps_to_what_is_given(clear) -> None:
    """Connectors alone count here, since the world's encoders have no FLOPs: almost none are given."""
    code, _, _ = clear.invoke("pick", "world.yaml", "--within", "1k")
    assert code == 0
    assert [stage.train_images for stage in picked(clear).stages] == [100, 100]
