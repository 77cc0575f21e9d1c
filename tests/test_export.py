"""Export and ``harness.load``: the exported model says what the run measured."""

import json

import numpy as np
import pytest
import torch
from harness.metrics import from_ranks, rank_of_right
from PIL import Image

import harness
from harness.errors import HarnessError

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 180, 40),
    "blue": (30, 40, 230),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
    "yellow": (240, 230, 20),
    "pink": (250, 150, 200),
    "grey": (128, 128, 128),
}

SWEEP = """
    name: flags
    data: {kind: manifest, file: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}
    image_encoders: ["synthetic:24", {id: "synthetic:b", dim: 12, seed: 3}]
    text_encoders: ["synthetic:20"]
    methods:
      ape: {epochs: 30, batch_size: 16, lr: 1.0e-2}
      hyma: {epochs: 30, batch_size: 16, lr: 1.0e-2, pairs_per_step: 1, hidden: [8]}
    seeds: [0, 1]
    storage: runs
"""


@pytest.fixture(params=["text_to_image", "image_to_text"])
def flags(temp_project, request):
    """Little flags of two colours, each with two captions, swept."""
    rows = ["image,caption,other"]
    for left, a in COLOURS.items():
        for right, b in COLOURS.items():
            pixels = np.zeros((12, 16, 3), dtype=np.uint8)
            pixels[:, :8], pixels[:, 8:] = a, b
            Image.fromarray(pixels).save(temp_project.folder / f"{left}-{right}.png")
            rows.append(f"{left}-{right}.png,{left} left and {right} right,a flag of {left} then {right}")
    temp_project.write("rows.csv", "\n".join(rows) + "\n")
    temp_project.write("flags.yaml", SWEEP)
    override = (
        "data.captions=[caption, other]",
        f"connector={{hidden_layers: 1, width: 32, direction: {request.param}}}",
    )
    return temp_project, temp_project.run("flags.yaml", *override)


def test_the_loaded_model_reproduces_the_test_metrics(flags) -> None:
    project, plan = flags
    for method, pair in (("ape", ("synthetic:b", "synthetic:20")), ("hyma", ("synthetic:24", "synthetic:20"))):
        out = f"exported {method}"
        code, said, err = project.invoke(
            "export", "flags", "--method", method, "--pair", *pair, "--out", out, "--seed", "1"
        )
        assert (code, err) == (0, "")
        assert said.strip() == f"wrote {project.folder / out}"
        model = harness.load(project.folder / out)
        config = json.loads((project.folder / out / "config.json").read_text())
        assert (config["image_encoder"]["id"], config["text_encoder"]["id"], config["seed"]) == (*pair, 1)

        index = plan.workspace.index
        test = index.splits["test"]
        captions = np.flatnonzero(np.isin(index.caption_image, test))
        owner = np.searchsorted(test, index.caption_image[captions])
        images = model.encode_image(list(plan.workspace.dataset.images(test.tolist())))
        texts = model.encode_text(plan.workspace.dataset.captions(captions.tolist()), batch_size=5)
        assert images.shape == (len(test), config_dim(plan, pair))
        assert texts.shape == (2 * len(test), images.shape[1])
        for rows in (images, texts):
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
        scores = model.similarity(images, texts).numpy()
        record = next(
            r
            for r in map(plan.store.record, (c.key for c in plan.cells))
            if r.label == method and r.seed == 1 and pair in r.pairs
        )
        metrics = next(m for m in record.metrics if (m.image, m.text) == pair)
        found = from_ranks(
            "retrieval",
            {
                "text_to_image": rank_of_right(scores.T, owner),
                "image_to_text": np.array(
                    [
                        rank_of_right(np.r_[row[owner == n].max(), row[owner != n]][None], np.array([0]))[0]
                        for n, row in enumerate(scores)
                    ]
                ),
            },
        )
        assert found == pytest.approx(metrics.test["retrieval"])
        assert config["test"]["retrieval"] == metrics.test["retrieval"]
        assert metrics.test["retrieval"]["text_to_image_r5"] > 0.5, "it learned something to reproduce"


def config_dim(plan, pair: tuple[str, str]) -> int:
    """Dimension of the space that both sides end up in."""
    return plan.workspace.sizes((pair,)).shape(pair).out_dim


def test_best_is_the_pair_that_the_method_picks_on_validation(finished, tmp_path) -> None:
    plan = finished.plan()
    for method in ("ape", "hyma"):
        out = tmp_path / method
        assert finished.invoke("export", "world", "--method", method, "--pair", "best", "--out", str(out))[0] == 0
        config = json.loads((out / "config.json").read_text())
        records = [plan.store.record(cell.key) for cell in plan.cells if cell.label == method]
        scores = [metrics.score for record in records for metrics in record.metrics]
        assert config["validation"]["retrieval"]["text_to_image_r5"] == max(scores)
        assert sorted(path.name for path in out.iterdir()) == ["README.md", "config.json", "connector.safetensors"]
        card = (out / "README.md").read_text()
        assert f"# {config['image_encoder']['id']} x {config['text_encoder']['id']}" in card
        assert "nan" not in card


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--method", "apes"], "the run has no method 'apes' (did you mean 'ape'?)"),
        (["--method", "ape", "--pair", "image00", "text09"], "the run has no pair image00 x text09 (did you mean"),
        (["--method", "ape", "--pair", "image00"], "--pair takes an image encoder and a text encoder, or best"),
        (["--method", "ape", "--seed", "7"], "the run has no seed 7 (seeds: [0, 1])"),
        (["--method", "ape", "--out", "runs"], "runs: is there already (name a folder that does not exist)"),
        (["--method", "ape", "--out", "world.yaml"], "world.yaml: is there already"),
        (["--method", "ape", "--out", "."], "is there already"),
    ],
)
def test_what_cannot_be_exported_is_one_line(finished, tmp_path, options: list[str], told: str) -> None:
    out = [] if "--out" in options else ["--out", str(tmp_path / "out")]
    code, said, err = finished.invoke("export", "world", *options, *out)
    assert (code, said) == (2, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_pair_that_is_not_finished_cannot_be_exported(copy_of_world) -> None:
    plan = copy_of_world.plan()
    for cell in plan.cells:
        if cell.label == "hyma":
            plan.store.drop_cell(cell.key)
    code, _, err = copy_of_world.invoke("export", "world", "--method", "hyma", "--out", "x")
    assert (code, "no finished connector of this method, pair and seed (run the sweep first)" in err) == (2, True)


def test_a_renamed_method_exports_what_was_trained_under_its_old_label(copy_of_world, without_plots) -> None:
    text = (copy_of_world.folder / "world.yaml").read_text()
    copy_of_world.write(
        "world.yaml", text.replace("ape:  {", "grid:  {method: ape, ").replace("reference: ape", "reference: grid")
    )
    assert copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")[0] == 0
    assert copy_of_world.invoke("export", "world", "--method", "grid", "--out", "x")[0] == 0


def test_embeddings_without_an_encoder_say_what_to_do(finished, tmp_path) -> None:
    finished.invoke("export", "world", "--method", "ape", "--out", str(tmp_path / "x"))
    with pytest.raises(HarnessError, match="names embeddings that came with the data, not an encoder"):
        harness.load(tmp_path / "x").encode_text(["a caption"])


@pytest.mark.parametrize("damage", ["missing", "config", "connector", "format"])
def test_what_is_not_an_export_is_one_line(finished, tmp_path, damage: str) -> None:
    folder = tmp_path / "x"
    finished.invoke("export", "world", "--method", "ape", "--out", str(folder))
    if damage == "missing":
        folder = tmp_path / "nothing"
    elif damage == "format":
        config = json.loads((folder / "config.json").read_text()) | {"format": 9}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        name = {"config": "config.json", "connector": "connector.safetensors"}[damage]
        (folder / name).write_bytes(b"\x08\0\0\0\0\0\0\0garbage")
    with pytest.raises(HarnessError) as caught:
        harness.load(folder)
    assert str(caught.value).startswith(f"{folder}: is ")
    assert "\n" not in str(caught.value)
