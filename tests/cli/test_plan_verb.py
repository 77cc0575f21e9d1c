"""``harness plan`` and ``validate``: what a sweep will do, before it does anything."""

import json

import pytest
from harness.store import PHASES


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
