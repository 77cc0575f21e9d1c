"""A method in one small file, as the documentation shows: tried before it is packaged."""

import json

MINE = '''
    """Least squares: the connector that maps each caption closest to its image."""

    from dataclasses import dataclass
    from typing import ClassVar, Literal

    import torch

    from harness.method import Fit


    @dataclass(frozen=True, kw_only=True)
    class Mine:
        """Ridge regression from text to image."""

        ridge: float = 1.0

        kind: ClassVar[Literal["per_pair"]] = "per_pair"
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            (pair,) = problem.pairs
            train = problem.train
            x, y = train.texts(pair[1]), train.images(pair[0])[train.caption_image]
            x, y = x - x.mean(0), y - y.mean(0)
            gram = x.T @ x + self.ridge * torch.eye(x.shape[1])
            weight = torch.linalg.solve(gram, x.T @ y).T.contiguous()
            problem.ledger.add("solve", 2.0 * len(x) * x.shape[1] * (x.shape[1] + y.shape[1]))
            layers = [(weight, torch.zeros(len(weight)))]
            score = problem.score(pair, layers)
            return Fit(scores={pair: score}, connectors={pair: layers}, ledger=problem.ledger)
'''


def test_a_plug_in_file_works_in_plan_sweep_report_and_export(world) -> None:
    world.write("methods/my.py", MINE)
    text = (world.folder / "world.yaml").read_text()
    mine = "  mine: {method: ./methods/my.py:Mine, epochs: 1, ridge: 0.5}\nreference"
    world.write("sweeps/world.yaml", text.replace("reference", mine).replace("./methods", "../methods"))
    sweep = "sweeps/world.yaml"

    code, out, _ = world.invoke("plan", sweep, "--json")
    assert code == 0
    told = json.loads(out)["methods"]["mine"]
    assert (told["cells"], told["done"]) == (12, 0)
    assert (told["flops"], told["updates_per_pair"], told["trained_params"]) == (None, None, None), "it does not say"
    code, out, _ = world.invoke("plan", sweep)
    assert code == 0

    code, out, err = world.invoke("sweep", sweep, "--backend", "serial", "--methods", "ape,mine")
    assert (code, "cells 24/24 done" in err) == (0, True)
    summary = json.loads((world.folder / "sweeps/runs/world/report/summary.json").read_text())
    mine = summary["methods"]["mine"]
    assert mine["status"]["done"] == 12
    assert mine["flops"]["solve"] > 0
    assert mine["mean_score"] > 0.2, "chance is 0.06"
    manifest = json.loads((world.folder / "sweeps/runs/world/manifest.json").read_text())
    assert manifest["methods"]["mine"]["method"] == "my.py:Mine"
    assert manifest["methods"]["mine"]["config"] == {"ridge": 0.5}

    code, out, err = world.invoke("export", "sweeps/runs/world", "--method", "mine", "--out", "exported")
    assert (code, err) == (0, "")
    config = json.loads((world.folder / "exported" / "config.json").read_text())
    assert config["method"] == "my.py:Mine"


def test_a_plug_in_is_found_from_any_folder_and_moving_it_changes_no_key(world, monkeypatch) -> None:
    world.write("one/my.py", MINE)
    world.write("two/my.py", MINE)
    keys = []
    for folder in ("one", "two"):
        monkeypatch.chdir("/" if folder == "one" else world.folder)
        methods = f"methods={{mine: {{method: './{folder}/my.py:Mine', epochs: 1}}}}"
        plan = world.plan("world.yaml", methods, "reference=null")
        keys.append([cell.key for cell in plan.cells])
    assert keys[0] == keys[1]


def test_a_plug_in_that_is_not_there_or_broken_is_one_line(world, refused) -> None:
    methods = ("--set", "methods={mine: {method: './my.py:Mine', epochs: 1}}", "--set", "reference=null")
    assert "method './my.py:Mine' cannot be loaded: FileNotFoundError: no such file" in refused(
        world, "plan", "world.yaml", *methods
    )
    world.write("my.py", MINE.replace("import torch", "import torhc"))
    assert "ModuleNotFoundError: No module named 'torhc'" in refused(world, "sweep", "world.yaml", *methods)
    world.write("my.py", MINE.replace("def fit", "def train"))
    assert "is not a method (it needs kind" in refused(world, "validate", "world.yaml", *methods)
    world.write("my.py", MINE.replace('"per_pair"', '"pair"'))
    assert "is not a method (it needs kind" in refused(world, "validate", "world.yaml", *methods)
