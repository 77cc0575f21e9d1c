"""Causal language models: facts before weights, token tables, losses as transformers computes them, one line if not."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness.encoders.base import EncoderSpec, scheme_of
from harness.encoders.causal_lm import CausalLmScheme
from harness.encoders.own_language_models import OwnModel, make_tokenizer, texts_of, token_table, train_own
from harness.errors import HarnessError
from tests.language import COLOURS, loaded, random_model, token_rows, words_of

CAPTIONS = ["red", "green yellow", "blue"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"))


def reference_loss(folder: Path, prefix: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """transformers' own loss: labels -100 on start token, prefix and padding."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.cat([torch.zeros(len(tokens), 1, dtype=torch.long), tokens.clamp_min(0)], dim=1)
    words = model.get_input_embeddings()(ids)
    inputs = torch.cat([words[:, :1], prefix, words[:, 1:]], dim=1)
    labels = torch.full(inputs.shape[:2], -100)
    labels[:, 1 + prefix.shape[1] :] = torch.where(tokens < 0, -100, tokens)
    mask = torch.ones_like(labels)
    mask[:, 1 + prefix.shape[1] :] = (tokens >= 0).long()
    return model(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss


def test_facts_are_known_from_the_config_alone(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    info = CausalLmScheme().describe(EncoderSpec(f"local:{tmp_path}", options={"max_tokens": 6}), "text")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert info.params == sum(p.numel() for p in model.parameters())
    assert info.language and dataclasses.asdict(info.language) == {
        "dim": 16,
        "layers": 2,
        "width": 16,
        "weights": 2 * 12 * 16 * 16,
        "vocabulary": model.config.vocab_size,
        "context": 24,
        "tokens": 6,
        "prompt": 0,
    }


def test_stated_facts_stand_in_for_a_model_that_is_not_here(folder: Path) -> None:
    scheme, options = CausalLmScheme(), {"layers": 2, "vocabulary": 262, "context": 24, "max_tokens": 6}
    absent = scheme.describe(EncoderSpec("local:nowhere", dim=16, params=1e4, options=options), "text")
    here = scheme.describe(EncoderSpec(f"local:{folder}", options={"max_tokens": 6}), "text")
    assert absent.language and here.language
    assert dataclasses.replace(absent.language, vocabulary=0) == dataclasses.replace(here.language, vocabulary=0)
    with pytest.raises(HarnessError, match="its local folder is not there, and its dim, layers, vocabulary not stated"):
        scheme.describe(EncoderSpec("local:nowhere"), "text")
    with pytest.raises(HarnessError, match="no such folder: nowhere"):
        scheme.check(EncoderSpec("local:nowhere", dim=16, options=options), "tokens")


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_losses_are_those_of_transformers(folder: Path, prefix: int) -> None:
    model = loaded(folder)
    tokens, given = token_rows(model, CAPTIONS), torch.randn(3, prefix, 16)
    losses = model.losses(given, tokens)
    assert losses.shape == tokens.shape
    assert not losses[tokens < 0].any()
    torch.testing.assert_close(losses.sum() / (tokens >= 0).sum(), reference_loss(folder, given, tokens))


def test_a_prompt_is_read_and_not_predicted(folder: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    bare, model = loaded(folder), loaded(folder, prompt="red white")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.encode("red white", add_special_tokens=False)
    tokens, given = token_rows(bare, CAPTIONS), torch.randn(3, 2, 16)
    # A prompt is what a longer prefix that ends with the prompt's embeddings would be.
    longer = torch.cat([given, words_of(folder)[asked].expand(3, -1, -1)], dim=1)
    torch.testing.assert_close(model.losses(given, tokens), bare.losses(longer, tokens))
    assert model.continuations(given, 4) == bare.continuations(longer, 4)
    assert not torch.allclose(model.losses(given, tokens), bare.losses(given, tokens))
    spec = EncoderSpec(f"local:{folder}", options={"max_tokens": 6, "prompt": "red white"})
    info, plain = CausalLmScheme().describe(spec, "tokens"), CausalLmScheme().describe(EncoderSpec(spec.id), "tokens")
    assert info.language and info.language.prompt == len(asked)
    assert info.transform != plain.transform, "what is learned behind a prompt is another cell"
    with FlopCounterMode(display=False) as step:
        model.losses(given.requires_grad_(), tokens).sum().backward()
    assert model.shape.step_flops(3, 2) == step.get_total_flops()


def test_captions_have_the_tokens_that_they_have_behind_the_prompt(folder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    begun = tokenizer.encode("red", add_special_tokens=False)
    whole = tokenizer.encode("red blue", add_special_tokens=False)
    assert whole[: len(begun)] == begun
    assert loaded(folder, prompt="red").numbers(["blue"]) == [whole[len(begun) :]]
    long = loaded(folder, tokens=3, prompt="red").numbers(["blue green white"])
    assert [len(row) for row in long] == [2], "cut so that an end token still fits"


def test_the_gradient_reaches_the_prefix_and_nothing_else(folder: Path) -> None:
    model = loaded(folder)
    tokens, given = token_rows(model, CAPTIONS), torch.randn(3, 2, 16, requires_grad=True)
    (model.losses(given, tokens).sum() / (tokens >= 0).sum()).backward()
    plain = given.detach().clone().requires_grad_()
    reference_loss(folder, plain, tokens).backward()
    torch.testing.assert_close(given.grad, plain.grad)
    assert all(parameter.grad is None for parameter in model.model.parameters())


def test_captions_become_tokens_and_mean_embeddings(folder: Path) -> None:
    spec, scheme = EncoderSpec(f"local:{folder}", options={"max_tokens": 4}), CausalLmScheme()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    long = "red green blue white black"
    table = scheme.load(spec, "tokens").encode(["red", long])
    assert table.dtype == np.int32 and table.shape == (2, 4)
    own = tokenizer.encode("red", add_special_tokens=False)
    assert table[0].tolist() == [*own, 0, *[-1] * (3 - len(own))]
    first = tokenizer.encode(long, add_special_tokens=False)[:3]
    assert table[1].tolist() == [*first, 0], "cut, and ended all the same"
    words = words_of(folder)
    mean = scheme.load(spec, "text").encode(["red"])
    np.testing.assert_allclose(mean[0], words[own].mean(0).numpy(), rtol=1e-6)


@pytest.mark.parametrize("prefix", [1, 3])
def test_flops_in_closed_form_are_those_of_a_counted_step(folder: Path, prefix: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = loaded(folder)
    tokens = token_rows(model, CAPTIONS)
    given = torch.randn(3, prefix, 16, requires_grad=True)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.losses(given, tokens)
    with FlopCounterMode(display=False) as step:
        model.losses(given, tokens).sum().backward()
    assert model.shape.forward_flops(3, prefix) == forward.get_total_flops()
    assert model.shape.step_flops(3, prefix) == step.get_total_flops()


def test_another_architecture_is_counted_within_half_a_percent(tmp_path: Path) -> None:
    """Llama: no biases, grouped keys, rotary positions, a gated MLP, a head of its own."""
    from torch.utils.flop_counter import FlopCounterMode

    tokenizer = make_tokenizer(list(COLOURS) * 3, 300)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = loaded(tmp_path)
    given, tokens = torch.randn(3, 2, 32, requires_grad=True), token_rows(model, CAPTIONS)
    with FlopCounterMode(display=False) as step:
        model.losses(given, tokens).sum().backward()
    assert model.shape.step_flops(3, 2) == pytest.approx(step.get_total_flops(), rel=0.005)


def test_greedy_captions_are_those_of_generate(folder: Path) -> None:
    model, given = loaded(folder), torch.randn(4, 2, 16)
    plain: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    start = words_of(folder)[0].expand(4, 1, -1)
    made = plain.generate(
        inputs_embeds=torch.cat([start, given], 1), max_new_tokens=5, do_sample=False, pad_token_id=0, use_cache=False
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = [tokenizer.decode([*row, 0][: [*row, 0].index(0)]).strip() for row in made.tolist()]
    assert model.continuations(given, 5) == expected


def test_the_hub_is_read_from_its_cache(
    folder: Path, cached: Callable[[str, dict[str, bytes]], None], calls_to_hub: list[object]
) -> None:
    cached("someone/tiny", {file.name: file.read_bytes() for file in folder.iterdir()})
    spec = EncoderSpec("hf:someone/tiny@main", options={"max_tokens": 6})
    info = scheme_of(spec).describe(spec, "text")
    assert (info.dim, info.revision) == (16, "someone/tiny@main")
    model, own = CausalLmScheme().load_model(spec), loaded(folder)
    tokens, given = token_rows(own, CAPTIONS), torch.randn(3, 1, 16)
    torch.testing.assert_close(model.losses(given, tokens), own.losses(given, tokens))
    assert not calls_to_hub


def test_what_cannot_be_had_is_one_line(no_hub: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    shape = {"layers": 12, "vocabulary": 50257}
    assert "its config is not in the hub's cache" in fails("hf:no/such@main", "text")
    assert "not an image encoder" in fails("hf:no/such", "image")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "not a causal language model" in fails(f"local:{tmp_path}", "text")
    assert "dtype 'int8'" in fails("hf:no/such", "text", dtype="int8", **shape)
    spec = EncoderSpec("hf:no/such@main", dim=768, options=shape)
    with pytest.raises(HarnessError, match="weights cannot be had: no/such is not in"):
        CausalLmScheme().check(spec, "text")


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    torch.save(AutoModelForCausalLM.from_pretrained(folder).state_dict(), copy / "pytorch_model.bin")
    with pytest.raises(HarnessError, match="safetensors"):
        loaded(copy)


def test_half_precision_is_an_option(folder: Path) -> None:
    exact, half = loaded(folder), loaded(folder, dtype="bfloat16")
    tokens, given = token_rows(exact, CAPTIONS), torch.randn(3, 1, 16)
    assert half.table.dtype == torch.bfloat16
    torch.testing.assert_close(half.losses(given, tokens), exact.losses(given, tokens), atol=0.2, rtol=0.05)


def test_texts_hold_an_images_captions_one_after_the_other() -> None:
    texts = texts_of([["red", "blue"], ["green"]])
    assert texts == [["red", "blue"], ["blue", "red"], ["green"]]
    tokenizer = make_tokenizer(list(COLOURS) * 3, 300)
    red, blue = (tokenizer.encode(name, add_special_tokens=False) for name in ("red", "blue"))
    table = token_table(tokenizer, texts, len(red) + len(blue) + 3)
    assert table[0].tolist() == [*red, 0, *blue, 0, -1]


def test_own_models_learn_and_are_reproducible(tmp_path: Path, one_thread: None) -> None:
    captions = [f"a {name} square" for name in COLOURS] * 4
    tokenizer, texts = make_tokenizer(captions, 280), texts_of([[caption] for caption in captions])
    made = [
        train_own(OwnModel(1, 16), tokenizer, texts, texts, tmp_path / name, seed=0, epochs=30, batch_size=4)
        for name in ("one", "other")
    ]
    assert made[0] == made[1]
    # Six captions that differ in one word, of some ten tokens: untrained the perplexity is that of 280 equal tokens.
    assert 6 ** (1 / 10) < made[0].perplexity < 12
    assert loaded(tmp_path / "one").shape.dim == 16
