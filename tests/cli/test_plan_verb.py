"""``harness plan`` and ``validate``: what a sweep will do, before it does anything."""

import json

import pytest

from harness.contract.ledger import PHASES


@pytest.mark.parametrize("verb", ["world", "finished"])
def test_json_has_the_documented_fields(verb: str, request: pytest.FixtureRequest) -> None:
    project = request.getfixturevalue(verb)
    code, out, err = project.invoke("plan", "world.yaml", "--json")
    assert (code, err) == (0, "")
    methods = json.loads(out)["methods"]
    assert list(methods) == ["ape", "hyma"]
    for label, method in methods.items():
        assert set(method) >= {"cells", "done", "flops", "updates_per_pair", "trained_params"}
        assert method["cells"] == {"ape": 12, "hyma": 2}[label]
        assert method["done"] == (method["cells"] if verb == "finished" else 0)
        assert method["updates_per_pair"] == 12
        phases = dict(method["flops"])
        assert phases.pop("total") == sum(phases.values()) > 0
        assert set(phases) <= set(PHASES)
    assert methods["ape"]["trained_params"] == 2 * sum(i * t + i + 1 for i in (12, 20, 12) for t in (8, 16)) // 2
    assert methods["ape"]["flops"]["optimizer"] == 14 * 12 * methods["ape"]["trained_params"]


def test_the_table_names_what_is_to_do(world, copy_of_world) -> None:
    code, out, _ = world.invoke("plan", "world.yaml")
    assert code == 0
    assert "world: 6 pairs, seeds [0, 1]" in out
    assert "banks to extract first: image00, image01, image02, text00, text01" in out
    assert not (world.folder / "runs").exists()
    next(copy_of_world.folder.glob("runs/world/cells/*.json")).unlink()
    _, out, _ = copy_of_world.invoke("plan", "world.yaml")
    assert "banks to extract" not in out
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:5]]
        for line in out.splitlines()
        if "│" in line
    }
    done = {label: (int(cells[1]), int(cells[2])) for label, cells in rows.items()}
    assert sorted(done.values()) in ([(1, 1), (12, 0)], [(2, 0), (11, 1)])


def test_validate_says_what_it_found(world) -> None:
    code, out, err = world.invoke("validate", "world.yaml")
    assert (code, err) == (0, "")
    assert out.strip() == "ok: 3 image x 2 text encoders, 14 cells, images: 280 train, 40 validation, 80 test"
    assert not (world.folder / "runs").exists()


def test_unlike_and_hardly_any_training_are_warned_of_and_not_rounded_away(world) -> None:
    hyma = "methods.hyma={epochs: 1, batch_size: 64, pairs_per_step: 2}"
    code, out, err = world.invoke("plan", "world.yaml", "--set", "methods.ape.epochs=1", "--set", hyma)
    assert code == 0
    assert "ape, the reference, gives each pair 4 updates: that is hardly any training" in out
    assert "1 epoch is not the same training: updates per pair are 4 for ape, 1.3 for hyma" in out
    row = next(line for line in out.splitlines() if "│ hyma" in line)
    assert "1.3" in row
    code, out, _ = world.invoke(
        "plan", "world.yaml", "--set", "methods.ape.epochs=30", "--set", "methods.hyma.epochs=60"
    )
    assert "warning" not in out


PAPER = """
    name: paper
    data:
      kind: shapes
      rows: 6000
      captions_per_image: 2
      image: {a: {dim: 16, flops_per_sample: 1.0e+6}, b: {dim: 32, flops_per_sample: 3.0e+6}}
      text: {x: {dim: 8, flops_per_sample: 5.0e+5}}
    methods:
      ape: {epochs: 3, batch_size: 64}
      half: {method: ape, epochs: 1, batch_size: 64}
    reference: ape
"""


def test_the_saving_is_stated_twice_connectors_alone_and_end_to_end(world) -> None:
    """6,000 pictures of two captions each, two image encoders and one text encoder; banks are float32."""
    world.write("paper.yaml", PAPER)
    code, out, _ = world.invoke("plan", "paper.yaml", "--json")
    assert code == 0
    found = json.loads(out)
    encode = 6000 * 4e6 + 12000 * 5e5
    assert found["encoding"]["flops"] == pytest.approx(encode)
    assert found["encoding"]["disk"] == 4 * (6000 * (16 + 32) + 12000 * 8)
    assert found["encoding"]["unknown"] == []
    ape, half = (found["methods"][label]["flops"]["total"] for label in ("ape", "half"))
    assert found["methods"]["ape"]["saving"] is None
    saving = found["methods"]["half"]["saving"]
    assert saving == {
        "connectors": pytest.approx(ape / half),
        "end_to_end": pytest.approx((ape + encode) / (half + encode)),
    }
    _, out, _ = world.invoke("plan", "paper.yaml")
    assert "embedding all rows: 30 G FLOPs" in out
    row = next(line for line in out.splitlines() if f"{saving['end_to_end']:.3g}x" in line)
    assert f"{saving['connectors']:.3g}x" in row


def test_without_an_encoders_flops_there_is_no_saving_end_to_end(world) -> None:
    world.write("paper.yaml", PAPER.replace("x: {dim: 8, flops_per_sample: 5.0e+5}", "x: 8"))
    code, out, _ = world.invoke("plan", "paper.yaml", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["encoding"]["unknown"] == ["x"]
    saving = found["methods"]["half"]["saving"]
    assert saving["connectors"] > 1
    assert saving["end_to_end"] is None
    _, out, _ = world.invoke("plan", "paper.yaml")
    assert "unknown before they are loaded: x" in out


def test_what_is_left_to_embed_shrinks_with_what_has_been(world) -> None:
    """A sample is embedded, then a larger one is planned: only the rows that it adds are to do."""
    world.write(
        "pictures.yaml",
        """
        name: pictures
        data: {kind: packaged, name: openmoji}
        sample: {train: 6, validation: 3, test: 0}
        image_encoders: ["packaged:untrained_resnet18"]
        text_encoders: ["packaged:wordllama"]
        methods: {ridge: {}}
        storage: runs
        """,
    )

    def encoding(*sets: str) -> dict[str, float]:
        return json.loads(world.invoke("plan", "pictures.yaml", "--json", *sets)[1])["encoding"]

    before, larger = encoding(), encoding("--set", "sample.train=10")
    assert before["flops_left"] == before["flops"] > 0
    per_picture = (larger["flops"] - before["flops"]) / 4
    assert before["flops"] == pytest.approx(9 * per_picture, rel=1e-6)
    world.harness("embed", "pictures.yaml")
    assert encoding()["flops_left"] == 0
    after = encoding("--set", "sample.train=10")
    assert after["flops"] == pytest.approx(13 * after["flops_left"] / 4), "what was counted is of all rows alike"
    assert after["flops_left"] == pytest.approx(4 * per_picture, rel=0.05), "the count of the loaded encoder"
