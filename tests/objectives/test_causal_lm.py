"""The causal loss of captions: transformers' own, its gradient, and its FLOPs in closed form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.connectors.linear import Linear
from harness.connectors.prefix import Prefix
from harness.contract.connector import Connector, ConnectorKind, Dims, prefix_length
from harness.contract.language import Language
from harness.contract.objective import CostsByBatch, ObjectiveSetting, ScalesTargets, StackedObjective
from harness.contract.split import Batch, Split
from harness.errors import HarnessError
from harness.objectives.causal_lm import CausalLm, CausalLmKind
from harness.training.counting import counted
from tests.language import loaded, random_model, token_rows, words_of
from tests.problems import tables

CPU, PAIR = torch.device("cpu"), ("i", "lm")
CAPTIONS = ["red", "green yellow", "blue", "white red"]
KINDS = [Linear(), Prefix(3)]


class Rows:
    """A token table in memory."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows.numpy().astype(np.int32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.rows[rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def batch(folder: Path) -> Batch:
    at = np.arange(len(CAPTIONS))
    images = tables({"i": np.random.default_rng(0).standard_normal((len(CAPTIONS), 8))})
    split = Split(images, {}, at, at, at, token_banks={"lm": Rows(token_rows(loaded(folder), CAPTIONS))})
    return Batch(at, at, split, CPU)


def kind_for(folder: Path, connector: ConnectorKind) -> CausalLmKind:
    model = loaded(folder)
    return CausalLm.of_language(Language({"lm": model.shape}, prefix_length(connector), lambda name, device: model))


def objective_for(folder: Path, connector: ConnectorKind) -> CausalLm:
    return kind_for(folder, connector)(ObjectiveSetting(pairs=(PAIR,), direction="image_to_text", device=CPU))


def by_hand(folder: Path, weights: list[tuple[torch.Tensor, torch.Tensor]], batch: Batch) -> torch.Tensor:
    """The loss as a loop over captions, each alone and without padding, through transformers' own loss."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    words, total, count = model.get_input_embeddings(), torch.zeros(()), 0
    for features, tokens in zip(batch.image("i"), batch.tokens("lm"), strict=True):
        ids = tokens[tokens >= 0]
        prefix = torch.stack([weight @ features + bias for weight, bias in weights])
        inputs = torch.cat([words(torch.tensor([0])), prefix, words(ids)])[None]
        labels = torch.cat([torch.full((1 + len(weights),), -100), ids])[None]
        total = total + model(inputs_embeds=inputs, labels=labels).loss * len(ids)
        count += len(ids)
    return total / count


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_loss_and_gradient_are_those_of_a_plain_loop(folder: Path, batch: Batch, kind: ConnectorKind) -> None:
    tensors = kind.init(Dims(8, 16), torch.Generator().manual_seed(1))
    loss = objective_for(folder, kind).loss(Connector(kind, tensors), PAIR, batch)
    names = list(tensors)
    leaves = [tensors[name].detach().clone().requires_grad_() for name in names]
    plain = by_hand(folder, list(zip(leaves[::2], leaves[1::2], strict=True)), batch)
    torch.testing.assert_close(loss, plain)
    loss.backward()
    plain.backward()
    for name, leaf in zip(names, leaves, strict=True):
        torch.testing.assert_close(tensors[name].grad, leaf.grad)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_flops_of_a_step_in_closed_form(folder: Path, batch: Batch, kind: ConnectorKind) -> None:
    objective, dims = objective_for(folder, kind), Dims(8, 16)
    connector = Connector(kind, kind.init(dims, torch.Generator().manual_seed(1)))
    spent = counted(lambda: objective.loss(connector, PAIR, batch).backward())
    closed = kind.step_flops(dims, len(batch)) + sum(kind_for(folder, kind).step_flops(dims, PAIR, len(batch)).values())
    assert closed == pytest.approx(spent, rel=0.005)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_padding_that_is_not_read_changes_neither_loss_nor_gradient(
    folder: Path, batch: Batch, kind: ConnectorKind
) -> None:
    dims, whole = Dims(8, 16), kind_for(folder, kind)
    short = replace(whole, language=replace(whole.language, trimmed=True))
    setting = ObjectiveSetting(pairs=(PAIR,), direction="image_to_text", device=CPU)
    found = []
    for objective in (whole, short):
        tensors = kind.init(dims, torch.Generator().manual_seed(1))
        loss = objective(setting).loss(Connector(kind, tensors), PAIR, batch)
        loss.backward()
        found.append([loss, *(tensor.grad for tensor in tensors.values())])
    torch.testing.assert_close(*found)
    assert batch.longest("lm") == int((token_rows(loaded(folder), CAPTIONS) >= 0).sum(1).max())
    narrow = Batch(batch.images[:1], batch.captions[:1], batch.split, CPU)
    connector = Connector(kind, kind.init(dims, torch.Generator().manual_seed(1)))
    assert isinstance(short, CostsByBatch)
    for objective, least in ((whole, False), (short, True)):
        made = objective(setting)
        spent = counted(lambda made=made: made.loss(connector, PAIR, narrow).backward())
        closed = sum(objective.batch_flops(dims, PAIR, narrow).values())
        assert closed + kind.step_flops(dims, 1) == pytest.approx(spent, rel=0.005)
        assert (closed < sum(objective.step_flops(dims, PAIR, 1).values())) is least


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_pairs_of_equal_shape_share_a_forward_and_keep_their_losses(folder: Path, kind: ConnectorKind) -> None:
    at, rng, model = np.arange(len(CAPTIONS)), np.random.default_rng(0), loaded(folder)
    images = tables({name: rng.standard_normal((len(CAPTIONS), 8)) for name in ("i", "j")})
    tokens = {name: Rows(token_rows(model, CAPTIONS)) for name in ("lm", "other")}
    batch = Batch(at, at, Split(images, {}, at, at, at, token_banks=tokens), CPU)
    language = Language(dict.fromkeys(tokens, model.shape), prefix_length(kind), lambda name, device: model)
    pairs = [(image, text) for image in ("i", "j") for text in tokens]
    setting = ObjectiveSetting(pairs=tuple(pairs), direction="image_to_text", device=CPU)
    objective = CausalLm.of_language(language)(setting)
    assert isinstance(objective, StackedObjective)
    own = [kind.init(Dims(8, 16), torch.Generator().manual_seed(seed)) for seed in range(len(pairs))]
    stacked = Connector(kind, {name: torch.stack([tensors[name] for tensors in own]) for name in own[0]})
    alone = [objective.loss(Connector(kind, tensors), pair, batch) for tensors, pair in zip(own, pairs, strict=True)]
    torch.testing.assert_close(objective.stacked_loss(stacked, pairs, batch), torch.stack(alone))


def test_mapped_rows_should_be_as_long_as_words(folder: Path) -> None:
    words = words_of(folder)
    kind = kind_for(folder, Linear())
    assert isinstance(kind, ScalesTargets)
    assert kind.target_norm(PAIR, CPU) == pytest.approx(words.norm(dim=1).mean().item())


def test_nothing_is_trained_beside_the_connector(folder: Path) -> None:
    assert not objective_for(folder, Linear()).parameters()
    assert kind_for(folder, Linear()).trained_params(7, "learned") == 0


def test_without_language_models_it_says_so() -> None:
    with pytest.raises(HarnessError, match="causal_lm needs language models"):
        CausalLm(ObjectiveSetting(pairs=(PAIR,), direction="image_to_text", device=CPU))
