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
