"""A run swept again with another plan under the same name: finished cells stay, or the change is named and refused."""

import json

from tests.stored import rewrite


def sweep(project, *args: str) -> tuple[int, str, str]:
    return project.invoke("sweep", "world.yaml", "--backend", "serial", *args)


def cells(project) -> set[str]:
    return {path.name for path in project.folder.glob("runs/world/cells/*.json")}


def test_another_learning_rate_is_named_and_refused(copy_of_world, refused) -> None:
    manifest = copy_of_world.folder / "runs/world/manifest.json"
    before, report = manifest.read_bytes(), (copy_of_world.folder / "runs/world/report/summary.json").read_bytes()
    line = refused(copy_of_world, "sweep", "world.yaml", "--backend", "serial", "--set", "methods.ape.lr=0.5")
    assert "methods.ape.lr: 0.01 -> 0.5" in line
    assert "12 of its finished cells" in line
    assert "--set name=world_2" in line
    assert manifest.read_bytes() == before
    assert (copy_of_world.folder / "runs/world/report/summary.json").read_bytes() == report


def test_fewer_seeds_are_named_and_refused(copy_of_world, refused) -> None:
    line = refused(copy_of_world, "sweep", "world.yaml", "--backend", "serial", "--seeds", "0")
    assert "seeds: [0, 1] -> [0]" in line


def test_under_a_name_of_its_own_both_runs_stand(copy_of_world) -> None:
    kept = cells(copy_of_world)
    code, out, err = sweep(copy_of_world, "--seeds", "0", "--set", "methods.ape.lr=0.5", "--set", "name=world_2")
    assert code == 0, out + err
    assert cells(copy_of_world) == kept
    assert (copy_of_world.folder / "runs/world_2/report/index.html").is_file()


def test_what_is_only_added_keeps_every_cell(copy_of_world) -> None:
    kept = cells(copy_of_world)
    added = ("--seeds", "0,1,2", "--set", "methods.ridge={}")
    code, out, err = sweep(copy_of_world, *added)
    assert code == 0, out + err
    assert kept < cells(copy_of_world)
    assert "seeds: [0, 1] -> [0, 1, 2]" in err
    assert "methods.ridge added" in err
    summary = json.loads((copy_of_world.folder / "runs/world/report/summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    assert summary["methods"]["ridge"]["status"]["done"] == 3


def test_another_reference_changes_the_report_alone(copy_of_world) -> None:
    kept = cells(copy_of_world)
    code, _, err = sweep(copy_of_world, "--set", "reference=hyma")
    assert code == 0
    assert cells(copy_of_world) == kept
    assert "reference: ape -> hyma" in err


def test_a_new_version_of_a_method_is_no_change_of_the_sweep(copy_of_world, monkeypatch) -> None:
    from baselines.ape import Ape

    kept = cells(copy_of_world)
    monkeypatch.setattr(Ape, "version", Ape.version + 1)
    code, out, err = sweep(copy_of_world)
    assert code == 0, out + err
    assert len(cells(copy_of_world)) == len(kept) + 12


def test_fields_that_an_older_version_did_not_know_are_no_change(copy_of_world) -> None:
    path = copy_of_world.folder / "runs/world/manifest.json"
    rewrite(path, lambda manifest: [manifest["sweep"].pop(new) for new in ("sample", "pick")])
    code, _, err = sweep(copy_of_world, "--set", "pick.first=50")
    assert code == 0
    assert "has changed" not in err
    assert "nothing to run" in err


def test_a_sample_is_another_plan(copy_of_world, refused) -> None:
    line = refused(copy_of_world, "sweep", "world.yaml", "--backend", "serial", "--set", "sample={train: 128}")
    assert "sample: None -> " in line
