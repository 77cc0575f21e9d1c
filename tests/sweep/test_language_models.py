"""Sweeps with language models: defaults, one line for what does not go, pictures that tell their captions."""

import json
import math
from pathlib import Path

import pytest

from harness.contract.metric import values
from harness.errors import HarnessError
from harness.sweep.loading import load_sweep
from tests.conftest import Project
from tests.language import SWEEP, coloured_pictures, random_model


@pytest.fixture
def colours(temp_project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with ``colours.yaml``: 60 plain pictures, one image encoder, two language models."""
    coloured_pictures(temp_project.folder, 60)
    monkeypatch.chdir(temp_project.folder)  # as folders of models are named from there
    for name, layers in (("one", 1), ("two", 2)):
        random_model(temp_project.folder / name, layers=layers, dim=16 * layers)
    temp_project.write("colours.yaml", SWEEP)
    return temp_project


def test_what_is_not_written_is_for_language_models(colours: Project) -> None:
    sweep = load_sweep(colours.folder / "colours.yaml")
    assert (sweep.connector.direction, sweep.connector.loss) == ("image_to_text", "causal_lm")
    assert [task.kind for task in sweep.tasks] == ["caption_perplexity"]
    assert (sweep.selection.task, sweep.selection.metric) == ("caption_perplexity", "perplexity")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('text_encoders=["packaged:glove50"]', "text_encoders and language_models are both given"),
        ("connector.bucket_batches=0", "connector.bucket_batches"),
        ("connector.direction=text_to_image", "connector.direction is image_to_text"),
        ('language_models=["packaged:glove50"]', "'packaged:glove50' is no language model"),
        ("language_models=[{id: 'local:one', max_tokens: 30}]", "reads 24 tokens, fewer than start"),
        ("language_models=[{id: 'local:three'}]", "local:three"),
        ("methods={spectral: {}}", "solves for similarities, where only directions count"),
        ("methods={winner: {batch_size: 24}}", "solves for similarities, where only directions count"),
        ("methods={ridge: {}}", "solves for similarities, where only directions count"),
        ("connector={kind: prefix, length: 2}|methods={least_squares: {}}", "makes connectors of 1 input embedding"),
        (
            "connector={kind: prefix, length: 2}|methods={encoder_layers: {epochs: 1, pairs_per_step: 1}}",
            "lie side by side",
        ),
    ],
)
def test_what_does_not_go_is_one_line(colours: Project, override: str, message: str) -> None:
    sets = [part for given in override.split("|") for part in ("--set", given)]
    code, out, err = colours.invoke("validate", "colours.yaml", *sets)
    assert code == 2, out
    assert message in err
    assert err.count("\n") == 1


def test_language_models_are_not_text_encoders(colours: Project) -> None:
    written = SWEEP.replace("language_models", "text_encoders")
    colours.write("other.yaml", written + "    selection: {task: retrieval, metric: text_to_image_r5}\n")
    code, _, err = colours.invoke("validate", "other.yaml")
    assert code == 2 and "is a language model" in err and "list it under language_models" in err


@pytest.mark.parametrize("connector", ["{kind: linear}", "{kind: prefix, length: 2}"])
def test_the_image_tells_the_caption(colours: Project, one_thread: None, connector: str) -> None:
    """Plain pictures and their colours: the own image helps, another one misleads, and controls do not move."""
    plan, store = colours.run("colours.yaml", f"connector={connector}")
    records = list(store.records(store.manifest()).values())
    assert [record.status for record in records] == ["done"] * 2
    for record in records:
        (pair,) = record.metrics
        test = pair.test["caption_perplexity"]
        assert test["perplexity"] < 0.5 * test["no_image"]
        assert test["perplexity"] < 0.5 * test["shuffled"]
        assert test["explained"] == pytest.approx(math.log(test["shuffled"] / test["perplexity"]))
        assert pair.score == pytest.approx(pair.validation["caption_perplexity"]["perplexity"])
        first, last = record.curve[0].scores[0], record.curve[-1].scores[0]
        assert first is not None and last is not None and last < first
        assert set(record.ledger.flops) == {"connector", "logits", "optimizer", "eval", "runner_eval"}
    estimated = plan.resolved.sizes(plan.resolved.pairs)
    assert estimated.connector.name == connector[7:13]


def test_planned_flops_are_those_that_are_booked(colours: Project, one_thread: None) -> None:
    from harness.sweep.estimates import estimates

    methods = "methods={ape: {epochs: 2, batch_size: 24}, hyma: {epochs: 2, batch_size: 24, pairs_per_step: 2}}"
    plan, store = colours.run("colours.yaml", methods)
    booked: dict[str, float] = {}
    for cell in plan.cells:
        record = store.record(cell.key)
        booked[cell.label] = booked.get(cell.label, 0.0) + record.ledger.total
    for label, estimate in estimates(plan).items():
        assert estimate.flops and estimate.flops["total"] == pytest.approx(booked[label], rel=0.005)


def test_bucketed_batches_cost_less_than_planned_and_learn_the_same(colours: Project, one_thread: None) -> None:
    from harness.sweep.estimates import estimates

    found, tokens = [], "language_models=[{id: 'local:one', max_tokens: 12}]"
    for batches in (1, 2):
        plan, store = colours.run(
            "colours.yaml", tokens, f"connector.bucket_batches={batches}", "methods.ape.batch_size=12"
        )
        record = store.record(plan.cells[0].key)
        planned = estimates(plan)["ape"].flops
        assert planned
        found.append((record.ledger.flops["logits"] / planned["logits"], record.metrics[0].score, record.key))
    (whole, score, key), (part, bucketed, other) = found
    assert whole == pytest.approx(1.0, rel=0.005) and part < 0.9
    assert bucketed == pytest.approx(score, rel=0.2) and key != other


def test_every_query_is_kept_with_its_image(colours: Project, one_thread: None) -> None:
    plan, store = colours.run("colours.yaml", "methods.ape.epochs=1")
    cell = plan.cells[0]
    queries = store.queries(cell.key)
    (pair,) = store.record(cell.key).metrics
    gave = {name: queries[f"0/caption_perplexity/{name}"] for name in ("perplexity", "alone")}
    found = values(plan.resolved.selection_evaluation.metrics, gave)
    assert found == {name: pair.test["caption_perplexity"][name] for name in gave}
    assert len(queries["caption_perplexity/caption/unit"]) == len(gave["alone"]) == 12


def test_the_report_knows_that_lower_is_better(colours: Project, without_plots: None, one_thread: None) -> None:
    methods = "{ape: {epochs: 30, batch_size: 24, lr: 3.0e-2}, least_squares: {}, random: {}, largest: {}}"
    code, out, err = colours.invoke("sweep", "colours.yaml", "--backend", "serial", "--set", f"methods={methods}")
    assert code == 0, err
    summary = json.loads((colours.folder / "runs/colours/report/summary.json").read_text())
    assert summary["selection"]["higher_is_better"] is False
    ape, solved, chance = (summary["methods"][name] for name in ("ape", "least_squares", "random"))
    assert ape["delivered"]["value"] == ape["best_pair_score"] == ape["oracle_score"]
    assert ape["best_pair"] == ape["oracle_pair"]
    assert solved["mean_gap"] == pytest.approx(solved["mean_score"] - ape["mean_score"])
    assert chance["regret"]["value"] > 0


def test_an_export_captions_pictures_and_measures_texts(colours: Project, one_thread: None) -> None:
    import harness

    plan, store = colours.run("colours.yaml", "language_models=[{id: 'local:one', max_tokens: 6}]")
    code, _, err = colours.invoke("export", "runs/colours", "--method", "ape", "--pair", "best", "--out", "model")
    assert code == 0, err
    model, index = harness.load(colours.folder / "model"), plan.resolved.index
    rows = index.splits["test"].tolist()
    pictures = list(plan.resolved.dataset.samples("image", rows))
    texts = [str(text) for text in plan.resolved.dataset.samples("text", rows)]
    found = model.perplexity(pictures, texts)
    (pair,) = store.record(plan.cells[0].key).metrics
    expected = pair.test["caption_perplexity"]["perplexity"]
    assert math.exp(sum(map(math.log, found)) / len(found)) == pytest.approx(expected, rel=1e-4)
    captions = model.caption(pictures, 1)  # random weights never come to an end
    assert sum(one == text for one, text in zip(captions, texts, strict=True)) > len(texts) / 2
    with pytest.raises(HarnessError, match="12 pictures and 1 texts"):
        model.perplexity(pictures, "red")


def test_a_pick_says_that_its_closed_form_does_not_go(colours: Project) -> None:
    code, _, err = colours.invoke("pick", "colours.yaml", "--out", "model")
    assert code == 2 and "solves for similarities" in err.splitlines()[-1]


def test_the_papers_nine_pairs_are_planned_with_nothing_here(temp_project: Project) -> None:
    """At equal updates per pair nobody is cheaper; a third of the updates is a third of the cost, as published."""
    sweep = str(Path(__file__).parents[2] / "sweeps/hyma_mllm_9.yaml")
    plans = []
    for epochs in (9, 27):
        code, out, err = temp_project.invoke("plan", sweep, "--json", "--set", f"methods.hyma.epochs={epochs}")
        assert code == 0, err
        plans.append(json.loads(out)["methods"])
    grid = plans[0]["ape"]["flops"]["total"]
    assert grid / plans[0]["hyma"]["flops"]["total"] == pytest.approx(3.0, rel=0.02)
    assert grid / plans[1]["hyma"]["flops"]["total"] == pytest.approx(1.0, rel=0.02)
    assert grid == pytest.approx(267e15, rel=0.15)


def test_a_smoke_run_takes_a_few_pictures(colours: Project, without_plots: None, one_thread: None) -> None:
    methods = "{ape: {epochs: 9, batch_size: 24}, hyma: {epochs: 9, batch_size: 24, pairs_per_step: 1}}"
    code, out, err = colours.invoke(
        "sweep", "colours.yaml", "--smoke", "--backend", "serial", "--set", f"methods={methods}"
    )
    assert code == 0, out + err
    cells = [json.loads(file.read_text()) for file in (colours.folder / "runs/colours-smoke/cells").glob("*.json")]
    assert [cell["status"] for cell in cells] == ["done"] * 3
