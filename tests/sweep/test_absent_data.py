"""Tasks with data of their own, and sweeps whose data is not here: planned, tried, and named when missing."""

import json
from pathlib import Path

import pytest

from harness.sweep.loading import load_sweep
from tests.pictures import noise_pictures

REPOSITORY = Path(__file__).parents[2]
PAPERS = ("hyma_vlm_27", "hyma_vlm_small", "hyper_align_scaling", "hyper_align_scales", "apple_to_apple")
LABELS = {"retrieval", "imagenet", "cifar10", "cifar100", "coco", "flickr8k", "flickr30k"}

FAR = """
    name: far
    data: {kind: precomputed, rows: 1000, image: {"timm:resnet18": {file: a.pt, dim: 512}},
           text: {"st:all-MiniLM-L12-v2": {file: t.pt, dim: 384}}}
    tasks:
      - {kind: retrieval}
      - kind: zero_shot
        label: imagenet
        data: {kind: torchvision, name: ImageNet, root: in, split: {train: 0, validation: 0.2, test: 0.8}}
        classes: imagenet
        templates: ["a {class}", "the {class}"]
      - kind: retrieval
        label: coco
        data: {kind: torchvision, name: CocoCaptions, root: coco, annotations: captions_val2017.json,
               split: {train: 0, validation: 0.2, test: 0.8}}
    methods: {ape: {updates_per_pair: 1, batch_size: 100}}
    storage: runs
"""


def planned_eval(project, task: str, metric: str) -> float:
    """FLOPs of the one validation score of one update."""
    choice = f"selection={{task: {task}, metric: {metric}}}"
    code, out, err = project.invoke("plan", "far.yaml", "--json", "--set", choice)
    assert code == 0, err
    return json.loads(out)["methods"]["ape"]["flops"]["eval"]


def test_published_sizes_plan_a_selection_whose_data_is_absent(temp_project) -> None:
    temp_project.write("far.yaml", FAR)
    forward = 2 * 384 * 512  # of the linear connector, for one text
    images, prompts = 0.2 * 50_000, 2 * 1000
    assert planned_eval(temp_project, "imagenet", "top1") == prompts * forward + 2 * images * 1000 * 512
    images, captions = 0.2 * 5_000, 0.2 * 25_000
    assert planned_eval(temp_project, "coco", "text_to_image_r5") == captions * forward + 2 * images * captions * 512
    assert planned_eval(temp_project, "retrieval", "text_to_image_r5") == 100 * forward + 2 * 100 * 100 * 512


def test_everything_that_is_missing_stands_in_one_line(temp_project) -> None:
    temp_project.write("far.yaml", FAR)
    for verb in ("validate", "sweep"):
        code, _, err = temp_project.invoke(verb, "far.yaml")
        assert code == 2
        (line,) = err.strip().splitlines()
        assert "a.pt: no such file (1 more of 2 are missing too)" in line
        assert "in: no such folder (root of ImageNet)" in line
        assert "coco: no such folder (root of CocoCaptions)" in line


def test_data_of_ones_own_without_known_sizes_cannot_be_selected_by(temp_project) -> None:
    """An ImageFolder's size is not known without it: left out of the plan, and retrieval stands in."""
    far = FAR.replace("name: ImageNet, root: in", "name: ImageFolder, root: in")
    temp_project.write("far.yaml", far)
    forward = 2 * 384 * 512
    assert planned_eval(temp_project, "imagenet", "top1") == 100 * forward + 2 * 100 * 100 * 512


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_sweep_states_its_tasks_and_is_planned_without_data(temp_project, name: str) -> None:
    file = REPOSITORY / "sweeps" / f"{name}.yaml"
    assert {task.label for task in load_sweep(file).tasks} == LABELS
    code, out, err = temp_project.invoke("plan", str(file), "--json")
    assert code == 0, err
    assert "no such folder (root of Flickr30k)" in err
    assert all(method["flops"]["eval"] > 0 for method in json.loads(out)["methods"].values())


def test_smoke_has_every_task_of_the_sweep(temp_project, without_plots) -> None:
    file = REPOSITORY / "sweeps/hyma_vlm_small.yaml"
    code, out, err = temp_project.invoke(
        "sweep", str(file), "--smoke", "--backend", "serial", "--storage", str(temp_project.folder / "runs")
    )
    assert code == 0, out + err
    cells = [
        json.loads(p.read_text()) for p in (temp_project.folder / "runs/hyma-vlm-small-smoke/cells").glob("*.json")
    ]
    assert {(cell["label"], cell["status"]) for cell in cells} == {("ape", "done"), ("hyma", "done")}
    assert all(set(metrics["test"]) == LABELS for cell in cells for metrics in cell["metrics"])


@pytest.fixture
def pictures(temp_project):
    """A manifest of 40 pictures of random colour, two captions each."""
    lines = ["image,caption"]
    for number, name in enumerate(noise_pictures(temp_project.folder, 40, 8)):
        lines += [f"{name},picture {number * 7919}", f"{name},number {number * 104729}"]
    (temp_project.folder / "m.csv").write_text("\n".join(lines))
    return temp_project


MAIN = "{kind: manifest, file: m.csv, split: {train: 0.5, validation: 0.25, test: 0.25}}"
OWN = f"""
    name: own
    data: {MAIN}
    image_encoders: ["synthetic:16"]
    text_encoders: ["synthetic:12"]
    tasks:
      - {{kind: retrieval}}
      - {{kind: retrieval, label: same, data: {MAIN}}}
      - {{kind: retrieval, label: other,
          data: {{kind: manifest, file: m.csv, split: {{train: 0, validation: 0.5, test: 0.5, seed: 1}}}}}}
    methods: {{ape: {{updates_per_pair: 3, batch_size: 10}}}}
    storage: runs
"""


def test_retrieval_runs_on_data_of_its_own(pictures) -> None:
    pictures.write("own.yaml", OWN)
    plan, store = pictures.run("own.yaml")
    (record,) = [store.record(cell.key) for cell in plan.cells]
    assert record.status == "done", record.error
    (pair,) = record.metrics
    assert pair.test["same"] == pair.test["retrieval"]
    assert pair.test["other"] != pair.test["retrieval"]
    queries = store.queries(record.key)
    sizes = {label: len(queries[f"0/{label}/text_to_image_r5"]) for label in ("retrieval", "same", "other")}
    assert sizes == {"retrieval": 20, "same": 20, "other": 40}  # captions of 10, 10 and 20 test images


def test_tasks_on_other_rows_of_one_dataset_do_not_mix(pictures) -> None:
    """As many rows of the same banks, but others: each task measures its own, whichever comes first."""
    other = MAIN.replace("}}", ", seed: 1}}")
    tasks = ["{kind: retrieval}", f"{{kind: retrieval, label: other, data: {other}}}"]
    found = []
    for order in (tasks, tasks[::-1]):
        pictures.write("own.yaml", OWN)
        chosen = ("selection={task: retrieval, metric: text_to_image_r5}", f"storage=runs{len(found)}")
        plan, store = pictures.run("own.yaml", f"tasks=[{', '.join(order)}]", *chosen)
        (record,) = [store.record(cell.key) for cell in plan.cells]
        assert record.status == "done", record.error
        found.append((record.metrics[0].validation, record.metrics[0].test))
    assert found[0] == found[1]
    assert found[0][1]["other"] != found[0][1]["retrieval"]


def test_retrieval_data_without_test_images_is_refused(pictures) -> None:
    pictures.write("own.yaml", OWN.replace("validation: 0.5, test: 0.5", "validation: 1, test: 0"))
    code, _, err = pictures.invoke("validate", "own.yaml")
    assert code == 2 and "tasks.2.data: the test split of the task's data is empty" in err


def test_other_data_of_a_task_is_another_cell(pictures) -> None:
    pictures.write("own.yaml", OWN)
    keys = {pictures.plan("own.yaml").cells[0].key}
    keys.add(pictures.plan("own.yaml", "tasks=[retrieval]").cells[0].key)
    pictures.write("own.yaml", OWN.replace("seed: 1", "seed: 2"))
    keys.add(pictures.plan("own.yaml").cells[0].key)
    assert len(keys) == 3
