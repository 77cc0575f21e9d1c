"""Ranking texts by likelihood: a plain loop over transformers' own losses, ties by words, chance and costs."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.connectors.prefix import Prefix
from harness.contract.connector import Connector, Dims
from harness.contract.language import Language
from harness.contract.metric import values
from harness.data.bank import Bank
from harness.data.base import Index
from harness.data.classes import prompts
from harness.encoders.causal_lm import TransformersLanguageModel
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView
from harness.tasks.candidates import AmongCaptions
from harness.tasks.caption_ranking import CaptionRanking
from tests.language import loaded, random_model, token_rows

CAPTIONS = ["red", "green yellow", "blue", "white red", "black", "red", "yellow", "white"]
OWNER = np.array([0, 0, 1, 2, 2, 3, 4, 5])
CLASSES, TEMPLATES = ["red", "blue", "white"], ["{class}", "a {class}"]
LABELS = np.array([0, 1, 2, -1, 1, 0])
PAIR, DIMS, KIND = ("i", "lm"), Dims(8, 16), Prefix(2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"), spread=0.6)


@pytest.fixture
def resolved(folder: Path, rows: type, bank_of: Callable[[np.ndarray], Bank]):
    """An evaluation with these settings, its view, and the prefix of every image."""

    def resolved(**settings: Any) -> tuple[Evaluation, SplitView, Connector, torch.Tensor]:
        none = np.arange(0)
        index = Index(6, OWNER, {"train": none, "validation": none, "test": np.arange(6)}, LABELS)
        model, data = read(folder)[1], rows("data", index)
        features = np.random.default_rng(3).standard_normal((6, 8)).astype(np.float32)
        asked = [text for of_class in prompts(CLASSES, settings.get("templates", "{class}")) for text in of_class]
        banks = {
            ("data", "image"): bank_of(features),
            ("data", "tokens"): bank_of(token_rows(model, CAPTIONS).numpy()),
            ("data-prompts", "tokens"): bank_of(token_rows(model, asked).numpy()),
        }
        view = SplitView("test", "image_to_text", torch.device("cpu"), lambda d, modality, _: banks[d.name, modality])
        language = Language({"lm": model.shape}, 2, lambda name, device: model)
        evaluation = CaptionRanking(**settings).resolve_language("r", data, language, own_data=False)
        connector = Connector(KIND, KIND.init(DIMS, torch.Generator().manual_seed(1))).frozen()
        return evaluation, view, connector, connector(torch.from_numpy(features)).view(6, 2, 16)

    return resolved


@cache
def read(folder: Path) -> tuple[Any, TransformersLanguageModel]:
    """The model as transformers reads it, and as the harness does."""
    return AutoModelForCausalLM.from_pretrained(folder).eval(), loaded(folder)


def likelihood(folder: Path, prefix: torch.Tensor, text: str, *, per: str = "text") -> float:
    """Of one text behind one prefix, by transformers and a plain loop over its tokens."""
    model, words = read(folder)
    table = model.get_input_embeddings()
    ids = token_rows(words, [text])[0]
    ids = ids[ids >= 0]
    with torch.no_grad():
        logits = model(inputs_embeds=torch.cat([table(torch.tensor([0])), prefix, table(ids)])[None]).logits[0]
    found = 0.0
    for place, number in enumerate(ids.tolist()):
        found += float(torch.log_softmax(logits[len(prefix) + place].double(), 0)[number])
    return found / len(ids) if per == "token" else found


def rank_of(right: str, scores: dict[str, list[float]]) -> int:
    """Place of the right text; a text of the same words counts half, rounded up."""
    own = scores[right][0]
    above = sum(len(found) for text, found in scores.items() if found[0] > own and text != right)
    return 1 + above + len(scores[right]) // 2


@pytest.mark.parametrize("per", ["text", "token"])
def test_captions_are_ranked_as_by_a_plain_loop(folder: Path, resolved, per: str) -> None:
    evaluation, view, connector, prefixes = resolved(candidates=6, per=per)
    gave = evaluation.measure(view, PAIR, connector, list(evaluation.metrics))
    table = AmongCaptions(evaluation.dataset, 6).table("test")
    alone = {text: likelihood(folder, prefixes[0, :0], text, per=per) for text in CAPTIONS}
    assert table.of.shape == (6, 6)
    assert table.of[:, 0].tolist() == [0, 2, 3, 5, 6, 7], "the first caption of every image"
    for image, of in enumerate(table.of):
        assert len(set(of)) == 6 and (OWNER[of[1:]] != image).all()
        behind: dict[str, list[float]] = {}
        added: dict[str, list[float]] = {}
        for text in (CAPTIONS[place] for place in of):
            found = likelihood(folder, prefixes[image], text, per=per)
            behind.setdefault(text, []).append(found)
            added.setdefault(text, []).append(found - alone[text])
        for scores, mark in ((behind, ""), (added, "gain_")):
            rank = rank_of(CAPTIONS[of[0]], scores)
            hit = [int(gave[f"{mark}image_to_text_r{k}"][image]) for k in (1, 5, 10)]
            assert hit == [rank <= 1, rank <= 5, True]


def test_classes_are_ranked_by_the_mean_over_templates(folder: Path, resolved) -> None:
    evaluation, view, connector, prefixes = resolved(among="classes", classes=CLASSES, templates=TEMPLATES)
    gave = evaluation.measure(view, PAIR, connector, ["top1", "gain_top1"])
    asked = [image for image, label in enumerate(LABELS) if label >= 0]
    nothing = prefixes[0, :0]
    alone = [np.mean([likelihood(folder, nothing, text) for text in of]) for of in prompts(CLASSES, TEMPLATES)]
    for row, image in enumerate(asked):
        behind, added = [], []
        for number, of_class in enumerate(prompts(CLASSES, TEMPLATES)):
            behind.append(np.mean([likelihood(folder, prefixes[image], text) for text in of_class]))
            added.append(behind[-1] - alone[number])
        assert gave["top1"][row] == (np.argmax(behind) == LABELS[image])
        assert gave["gain_top1"][row] == (np.argmax(added) == LABELS[image])
    assert evaluation.units("test")["zero_shot"].tolist() == [0, 1, 2, 3, 4]
    assert evaluation.chance("test") == {
        "top1": pytest.approx(1 / 3), "top5": 1.0, "gain_top1": pytest.approx(1 / 3), "gain_top5": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("metrics", [["image_to_text_r1"], ["image_to_text_r1", "gain_image_to_text_r5"]])
def test_costs_are_counted(resolved, metrics: list[str]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    evaluation, view, connector, _ = resolved(candidates=4)
    with FlopCounterMode(display=False) as counter:
        evaluation.measure(view, PAIR, connector, metrics)
    assert evaluation.cost("test", metrics).flops(KIND, DIMS, PAIR, "image_to_text") == counter.get_total_flops()


def test_chance_is_that_of_the_candidates_that_there_are(resolved) -> None:
    evaluation, *_ = resolved(candidates=4)
    assert evaluation.chance("test")["image_to_text_r1"] == 1 / 4
    assert evaluation.chance("test")["gain_image_to_text_r5"] == 1.0
    many = resolved(candidates=20)[0]
    assert many.chance("test")["image_to_text_r1"] == pytest.approx(1 / 7), "six captions are of other images"
    rng, name = np.random.default_rng(0), "image_to_text_r1"
    drawn = [values(many.metrics, many.random("test", rng, [name]))[name] for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(1 / 7, abs=0.02)
    assert evaluation.metrics[name].higher_is_better
    assert evaluation.units("test")["image_to_text"].tolist() == list(range(6))


def test_what_is_lacking_is_named(rows: type, folder: Path) -> None:
    model = read(folder)[1]
    language = Language({"lm": model.shape}, 1, lambda name, device: model)
    bare = Index(2, np.arange(0), {"test": np.arange(2)})
    with pytest.raises(HarnessError, match="needs language models"):
        CaptionRanking().resolve("r", rows("data", bare), ["t"], own_data=False)
    with pytest.raises(HarnessError, match="needs captions"):
        CaptionRanking().resolve_language("r", rows("data", bare), language, own_data=False)
    with pytest.raises(HarnessError, match="needs class labels"):
        CaptionRanking(among="classes", classes=CLASSES).resolve_language(
            "r", rows("data", bare), language, own_data=False
        )
