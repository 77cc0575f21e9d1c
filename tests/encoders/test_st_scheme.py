from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

from harness.encoders.base import Encoder, EncoderSpec, scheme_of
from harness.encoders.common import CAPTION_TOKENS
from harness.errors import HarnessError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "red", "##s", "query", ":"]
TEXTS = ["a cat", "a red dog dogs a cat", "", "cats unknownword", "dog"]
LAYERS, HIDDEN, WIDE = 2, 16, 24


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with its vocabulary, as a plain transformers folder."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=WIDE,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: that BERT, mean pooling, a dense layer to 10 dimensions."""
    torch.manual_seed(1)
    target = tmp_path_factory.mktemp("st") / "model"
    modules = [Transformer(str(bert), max_seq_length=12), Pooling(HIDDEN, "mean"), Dense(HIDDEN, 10)]
    SentenceTransformer(modules=modules, device="cpu").save(str(target))
    return target


def load(name: object, dim: int | None = None, **options: object) -> Encoder:
    spec = EncoderSpec(f"st:{name}", dim=dim, options=options)
    return scheme_of(spec).load(spec, "text")


def tokens(text: str, limit: int = 12) -> list[int]:
    """The vocabulary applied by hand."""
    split = {"dogs": ["dog", "##s"], "cats": ["cat", "##s"], "unknownword": ["[UNK]"], "query:": ["query", ":"]}
    pieces = [piece for word in text.split() for piece in split.get(word, [word])]
    return [WORDS.index(piece) for piece in ["[CLS]", *pieces[: limit - 2], "[SEP]"]]


def by_hand(bert: Path, texts: list[str], limit: int = 12) -> np.ndarray:
    """Mean of the last hidden states, one text at a time, so without padding."""
    model = BertModel.from_pretrained(bert).eval()
    with torch.no_grad():
        states = [model(input_ids=torch.tensor([tokens(text, limit)])).last_hidden_state for text in texts]
    return torch.cat([state.mean(dim=1) for state in states]).numpy()


def test_a_plain_transformers_folder_is_mean_pooled(bert: Path) -> None:
    encoder = load(bert)
    rows = encoder.encode(TEXTS)
    assert rows.dtype == np.float32 and rows.shape == (len(TEXTS), HIDDEN)
    np.testing.assert_allclose(rows, by_hand(bert, TEXTS), atol=1e-5)
    assert encoder.encode([]).shape == (0, HIDDEN)


def test_modules_on_disk_are_followed(bert: Path, folder: Path) -> None:
    dense = cast("Any", SentenceTransformer(str(folder), device="cpu")[2])
    wanted = np.tanh(by_hand(bert, TEXTS) @ dense.linear.weight.detach().numpy().T + dense.linear.bias.detach().numpy())
    np.testing.assert_allclose(load(folder).encode(TEXTS), wanted, atol=1e-5)


def test_options_prompt_and_max_tokens(bert: Path) -> None:
    prompted = load(bert, prompt="query: ").encode(["a cat"])
    np.testing.assert_allclose(prompted, by_hand(bert, ["query: a cat"]), atol=1e-5)
    cut = load(bert, max_tokens=4).encode(["a red dog cat"])
    np.testing.assert_allclose(cut, by_hand(bert, ["a red dog cat"], limit=4), atol=1e-5)
    options: list[dict[str, Any]] = [{}, {"prompt": "query: "}, {"max_tokens": 4}]
    revisions = {load(bert, **o).info.transform for o in options}
    assert len(revisions) == 3


@pytest.mark.parametrize("which", ["bert", "folder"])
def test_describe_agrees_with_the_loaded_model(which: str, request: pytest.FixtureRequest) -> None:
    spec = EncoderSpec(f"st:{request.getfixturevalue(which)}")
    info, encoder = scheme_of(spec).describe(spec, "text"), load(spec.name)
    assert encoder.info == info
    assert info.dim == encoder.encode(["a"]).shape[1]
    assert info.params == sum(p.numel() for p in SentenceTransformer(spec.name, device="cpu").parameters())


def test_revision_follows_the_weights(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    describe = scheme_of(EncoderSpec("st:x")).describe
    same, before = (describe(EncoderSpec(f"st:{place}"), "text").revision for place in (folder, copy))
    assert same == before
    weights = next(copy.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert describe(EncoderSpec(f"st:{copy}"), "text").revision != before


def test_flops_are_the_closed_form(bert: Path) -> None:
    per_layer = CAPTION_TOKENS * (4 * HIDDEN**2 + 2 * HIDDEN * WIDE) + 2 * CAPTION_TOKENS**2 * HIDDEN
    norms = 5 * (2 * LAYERS + 1) * CAPTION_TOKENS * HIDDEN  # fvcore books a layer norm as five per element
    # BERT's own pooler is not counted: nothing reads its output.
    assert load(bert).forward_flops() == 2 * (LAYERS * per_layer + norms)


def test_a_stated_dimension_must_be_right(folder: Path) -> None:
    assert load(folder, dim=10).info.dim == 10
    with pytest.raises(HarnessError, match="has dimension 10, not 99"):
        load(folder, dim=99)


def test_hub_names_need_a_dimension_then_the_hub(calls_to_hub: list[object], fails) -> None:
    assert "dim: ..." in fails("st:org/model", "text")
    spec = EncoderSpec("st:org/model", dim=384, params=2.2e7)
    info = scheme_of(spec).describe(spec, "text")
    assert (info.dim, info.params, info.revision) == (384, 22_000_000, "org/model@main")
    with pytest.raises(HarnessError, match=r"org/model is not in .* does not answer .*local folder") as caught:
        scheme_of(spec).load(spec, "text")
    assert calls_to_hub == [("127.0.0.1", 9)], "asked once, not again and again"
    assert "\n" not in str(caught.value)


def test_a_model_in_the_hub_cache_needs_no_hub(cached, calls_to_hub: list[object], bert: Path) -> None:
    cached("org/tiny", {file.name: file.read_bytes() for file in bert.iterdir()})
    encoder = load("org/tiny")
    np.testing.assert_allclose(encoder.encode(TEXTS), by_hand(bert, TEXTS), atol=1e-5)
    assert encoder.info.revision == "org/tiny@main"
    assert calls_to_hub == []


def test_bad_folders_and_modality(tmp_path: Path, fails) -> None:
    (tmp_path / "empty").mkdir()
    assert "not a sentence-transformers folder" in fails(f"st:{tmp_path}/empty", "text")
    assert "no such folder" in fails(f"st:{tmp_path}/missing", "text")
    assert "not of images" in fails("st:org/model", "image")


def test_a_prompt_of_the_models_own_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "prompted"
    SentenceTransformer(str(folder), device="cpu", prompts={"query": "query: ", "passage": ""}).save(str(copy))
    named, plain = load(copy, prompt_name="query"), load(copy)
    np.testing.assert_allclose(named.encode(TEXTS), load(copy, prompt="query: ").encode(TEXTS), atol=1e-6)
    assert not np.allclose(named.encode(TEXTS), plain.encode(TEXTS))
    assert named.info.transform == plain.info.transform + ", prompt_name=query"
    with pytest.raises(HarnessError, match=r"the model has no prompt 'queries' \(did you mean 'query'\?\)"):
        load(copy, prompt_name="queries")
    with pytest.raises(HarnessError, match="prompt and prompt_name are both given"):
        load(copy, prompt_name="query", prompt="query: ")
