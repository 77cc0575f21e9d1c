"""Caption perplexity: exp of transformers' own losses, and its controls."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.connectors.linear import Linear
from harness.connectors.prefix import Prefix
from harness.contract.connector import Connector, ConnectorKind, Dims, prefix_length
from harness.contract.language import Language
from harness.contract.metric import values
from harness.data.bank import Bank
from harness.data.base import Index
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView
from harness.tasks.caption_perplexity import CaptionPerplexity
from tests.language import loaded, random_model, token_rows

CAPTIONS = ["red", "green yellow", "blue", "white red", "black"]
OWNER = np.array([0, 0, 1, 2, 2])
PAIR, DIMS = ("i", "lm"), Dims(8, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def measured(folder: Path, rows: type, bank_of: Callable[[np.ndarray], Bank]):
    """Evaluation, view and features of a test split of three images."""

    def measured(kind: ConnectorKind) -> tuple[Evaluation, SplitView, torch.Tensor]:
        index = Index(3, OWNER, {"train": np.arange(0), "validation": np.arange(0), "test": np.arange(3)})
        model, dataset = loaded(folder), rows("data", index)
        language = Language({"lm": model.shape}, prefix_length(kind), lambda name, device: model)
        features = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
        banks = {"image": bank_of(features), "tokens": bank_of(token_rows(model, CAPTIONS).numpy())}
        view = SplitView("test", "image_to_text", torch.device("cpu"), lambda data, modality, name: banks[modality])
        task = CaptionPerplexity()
        evaluation = task.resolve_language("p", dataset, language, own_data=False)
        return evaluation, view, torch.from_numpy(features)

    return measured


def mean_losses(folder: Path, prefixes: list[torch.Tensor]) -> np.ndarray:
    """Mean loss of each caption behind its prefix, by transformers, one at a time."""
    model, words = AutoModelForCausalLM.from_pretrained(folder).eval(), loaded(folder)
    table, found = model.get_input_embeddings(), []
    for prefix, tokens in zip(prefixes, token_rows(words, CAPTIONS), strict=True):
        ids = tokens[tokens >= 0]
        inputs = torch.cat([table(torch.tensor([0])), prefix, table(ids)])[None]
        labels = torch.cat([torch.full((1 + len(prefix),), -100), ids])[None]
        found.append(model(inputs_embeds=inputs, labels=labels).loss.item())
    return np.array(found)


@pytest.mark.parametrize("kind", [Linear(), Prefix(2)], ids=lambda kind: kind.name)
def test_every_condition_is_what_transformers_says(folder: Path, measured, kind: ConnectorKind) -> None:
    evaluation, view, features = measured(kind)
    connector = Connector(kind, kind.init(DIMS, torch.Generator().manual_seed(1))).frozen()
    gave = evaluation.measure(view, PAIR, connector, list(evaluation.metrics))
    mapped = connector(features).view(3, prefix_length(kind), 16)
    own = mean_losses(folder, [mapped[image] for image in OWNER])
    np.testing.assert_allclose(gave["perplexity"], own, rtol=1e-4)
    np.testing.assert_allclose(gave["no_image"], mean_losses(folder, [0 * mapped[0]] * 5), rtol=1e-4)
    np.testing.assert_allclose(gave["alone"], mean_losses(folder, [mapped[0, :0]] * 5), rtol=1e-4)
    np.testing.assert_allclose(gave["explained"], gave["shuffled"] - own, rtol=1e-3, atol=1e-5)
    found = values(evaluation.metrics, gave)
    assert found["perplexity"] == pytest.approx(np.exp(own.mean()), rel=1e-4)
    others = [{tuple(np.round(mean_losses(folder, [mapped[i]] * 5), 3)) for i in range(3) if i != o} for o in OWNER]
    for caption, (value, of_others) in enumerate(zip(gave["shuffled"], others, strict=True)):
        assert any(abs(value - losses[caption]) < 2e-3 for losses in of_others), "another image of the split"


def test_units_are_images_and_costs_are_counted(measured) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    evaluation, view, _ = measured(Prefix(2))
    kind = Prefix(2)
    connector = Connector(kind, kind.init(DIMS, torch.Generator().manual_seed(1))).frozen()
    assert evaluation.units("test")["caption"].tolist() == OWNER.tolist()
    for metrics in (["perplexity"], list(evaluation.metrics)):
        with FlopCounterMode(display=False) as counter:
            evaluation.measure(view, PAIR, connector, metrics)
        cost = evaluation.cost("test", metrics).flops(kind, DIMS, PAIR, "image_to_text")
        assert cost == counter.get_total_flops()


def test_lower_is_better_and_chance_is_not_known(measured) -> None:
    evaluation, _, _ = measured(Linear())
    assert not evaluation.metrics["perplexity"].higher_is_better
    assert evaluation.metrics["explained"].higher_is_better
    assert evaluation.random("test", np.random.default_rng(0), ["perplexity"]) is None


def test_without_language_models_it_says_so(rows: type) -> None:
    with pytest.raises(HarnessError, match="needs language models"):
        CaptionPerplexity().resolve("p", rows("data", None), ["t"], own_data=False)
