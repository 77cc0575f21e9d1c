"""Export where trailing pairs were stopped and constraints leave pairs out, and of encoders that share one id."""

import json

import pytest
import torch
from PIL import Image

import harness
from harness.errors import HarnessError
from harness.run.store import RunStore
from tests.pictures import captioned_pictures

HALVING = "methods={halving: {method: ape_halving, epochs: 8, batch_size: 64, lr: 1.0e-2, eta: 2}}"


def sweep(project, *overrides: str) -> None:
    sets = [word for override in (HALVING, "reference=null", *overrides) for word in ("--set", override)]
    code, _, err = project.invoke("sweep", "world.yaml", "--backend", "serial", "--seeds", "0", *sets)
    assert code == 0, err


def exported(project, *options: str) -> dict:
    out = project.folder / "exported" / str(len(list(project.folder.glob("exported/*"))))
    code, _, err = project.invoke("export", "world", "--method", "halving", "--out", str(out), *options)
    assert (code, err) == (0, "")
    return json.loads((out / "config.json").read_text())


@pytest.fixture
def race(world, without_plots):
    """One seed of a race over six pairs, and how far each pair came: pair -> (rung, validation score there)."""
    sweep(world)
    store = RunStore(str(world.folder / "runs/world"))
    rungs = {cell.key: cell.rung or 0 for cell in store.manifest().cells}
    reached: dict[tuple[str, str], tuple[int, float]] = {}
    for record in store.records(store.manifest()).values():
        if record.status == "done":
            (entry,) = record.metrics
            place = rungs[record.key], entry.score
            reached[entry.image, entry.text] = max(place, reached.get((entry.image, entry.text), place))
    return world, reached


@pytest.mark.parametrize("limits", ["{image_dim: 20}", "{text_dim: 16}", "{image_dim: 12, text_dim: 8}"])
def test_the_pick_of_a_race_is_the_allowed_pair_that_came_furthest(race, limits: str) -> None:
    """The survivor of the race may be a pair that the constraints leave out: then it is no pick, however good."""
    project, reached = race
    sweep(project, f"selection.constraints={limits}")
    sizes = project.plan().resolved.sizes(())
    wanted = {"image_dim": sizes.image_dims, "text_dim": sizes.text_dims}
    asked = {key: int(value) for key, value in (part.split(": ") for part in limits.strip("{}").split(", "))}
    allowed = [
        pair
        for pair in reached
        if all(wanted[key][pair[0] if key == "image_dim" else pair[1]] == value for key, value in asked.items())
    ]
    assert 0 < len(allowed) < len(reached)
    config = exported(project)
    picked = config["image_encoder"]["id"], config["text_encoder"]["id"]
    assert picked == max(allowed, key=lambda pair: reached[pair])
    assert config["validation"]["retrieval"]["text_to_image_r5"] == reached[picked][1]


def test_constraints_limit_the_pick_and_not_what_may_be_named(race) -> None:
    project, reached = race
    sweep(project, "selection.constraints={image_dim: 20}")
    outside = next(pair for pair in reached if pair[0] != "image01")
    config = exported(project, "--pair", *outside)
    assert (config["image_encoder"]["id"], config["text_encoder"]["id"]) == outside
    assert config["selection"]["constraints"] == {"image_dim": [20]}


def test_where_no_allowed_pair_has_run_there_is_nothing_to_pick(copy_of_world, without_plots) -> None:
    limits = ("--set", "selection.constraints={image_dim: 20}")
    assert copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial", *limits)[0] == 0
    plan = copy_of_world.plan()
    store = copy_of_world.store(plan)
    for cell in plan.cells:
        if cell.label == "ape" and cell.pairs[0][0] == "image01":
            store.drop_cell(cell.key)
    out = copy_of_world.folder / "x"
    code, said, err = copy_of_world.invoke("export", "world", "--method", "ape", "--out", str(out))
    assert (code, said) == (2, "")
    assert err == "error: method 'ape' has no pair to pick (run the sweep first, or name a --pair)\n"
    assert not out.exists()


TWINS = """
    name: twins
    data: {kind: manifest, file: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}
    image_encoders: [{id: "synthetic:twin", dim: 24, seed: 3}]
    text_encoders: [{id: "synthetic:twin", dim: 10, seed: 5}]
    methods: {ape: {epochs: 2, batch_size: 8}}
    storage: runs
"""


@pytest.fixture
def twins(temp_project):
    """An image and a text encoder with one id and different options, and a connector between them."""
    captioned_pictures(temp_project.folder, 30, 8)
    temp_project.write("twins.yaml", TWINS)
    temp_project.run("twins.yaml")
    return temp_project


def test_encoders_of_one_id_keep_their_own_options(twins, tmp_path) -> None:
    out = tmp_path / "exported"
    code, _, err = twins.invoke("export", "twins", "--method", "ape", "--out", str(out))
    assert (code, err) == (0, "")
    config = json.loads((out / "config.json").read_text())
    assert (config["image_encoder"]["dim"], config["image_encoder"]["seed"]) == (24, 3)
    assert (config["text_encoder"]["dim"], config["text_encoder"]["seed"]) == (10, 5)
    model = harness.load(out)
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    scores = model.similarity(model.encode_image(pictures), model.encode_text(["number 1", "number 2", "three"]))
    assert scores.shape == (2, 3)
    assert torch.isfinite(scores).all()
    assert (scores.abs() <= 1 + 1e-6).all()


@pytest.mark.parametrize("lacking", ["image_encoder", "text_encoder", "connector", "direction", "weights"])
def test_an_export_that_lacks_a_part_is_one_line(finished, tmp_path, lacking: str) -> None:
    folder = tmp_path / "x"
    finished.invoke("export", "world", "--method", "ape", "--out", str(folder))
    config = json.loads((folder / "config.json").read_text())
    del config[lacking]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError) as caught:
        harness.load(folder)
    assert str(caught.value) == f"{folder}: is not an exported model: config.json lacks {lacking} (harness export)"


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null"])
def test_a_config_that_is_no_mapping_is_one_line(finished, tmp_path, content: str) -> None:
    folder = tmp_path / "x"
    finished.invoke("export", "world", "--method", "ape", "--out", str(folder))
    (folder / "config.json").write_text(content)
    with pytest.raises(HarnessError, match="is of format None, this version reads"):
        harness.load(folder)


def test_a_connector_of_an_unknown_kind_is_one_line(finished, tmp_path) -> None:
    folder = tmp_path / "x"
    finished.invoke("export", "world", "--method", "ape", "--out", str(folder))
    config = json.loads((folder / "config.json").read_text())
    config["connector"] = {"kind": "liner"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match="unknown connector kind 'liner' .did you mean 'linear'"):
        harness.load(folder)
