"""A sweep on a sample without test data: it runs, reports no verdict, and its connectors can be exported."""

import json

SAMPLE = "sample={train: 128, validation: 40, test: 0}"


def test_a_sweep_without_test_data_says_so_and_exports(world) -> None:
    sets = ["--set", SAMPLE, "--set", "seeds=[0]", "--set", "name=sampled", "--backend", "serial"]
    code, out, err = world.invoke("sweep", "world.yaml", *sets)
    assert code == 0, err
    assert "No test data take part in this run" in out
    assert "trains no connector" not in out
    summary = json.loads((world.folder / "runs/sampled/report/summary.json").read_text())
    assert summary["methods"]["ape"]["best_pair"]
    assert summary["methods"]["ape"]["delivered"]["value"] is None
    manifest = json.loads((world.folder / "runs/sampled/manifest.json").read_text())
    assert {split: manifest["rows"][split] for split in ("train", "validation", "test")} == {
        "train": 128,
        "validation": 40,
        "test": 0,
    }
    code, _, err = world.invoke("export", "runs/sampled", "--method", "ape", "--out", "model")
    assert code == 0, err
    card = (world.folder / "model/README.md").read_text()
    assert "| not measured |" in card
    assert "nan" not in card


def test_another_sample_has_cells_of_its_own(world) -> None:
    """A larger sample is another training: what the smaller one trained is not taken for it."""
    small, large = (world.plan("world.yaml", f"sample.train={train}") for train in (128, 192))
    assert not small.by_key.keys() & large.by_key.keys()
    assert not small.by_key.keys() & world.plan().by_key.keys()
