from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.contract.connector import Connector, as_connector
from harness.contract.pairs import Direction
from harness.data.bank import Bank, BankMeta
from harness.data.base import Dataset, Index
from harness.encoders.base import Modality
from harness.tasks.base import SplitView


@pytest.fixture
def bank_of(tmp_path: Path) -> Callable[[np.ndarray], Bank]:
    """Writes an array as a bank, as it is."""
    made = []

    def bank_of(array: np.ndarray) -> Bank:
        folder = tmp_path / f"bank{len(made)}"
        folder.mkdir()
        np.save(folder / "embeddings.npy", array.astype(np.float32))
        facts = dict.fromkeys(
            ("identity", "digest", "encoder", "revision", "transform", "dataset", "dataset_digest"), "-"
        )
        meta = BankMeta(count=len(array), dim=array.shape[1], dtype="float32", modality="image", **facts)
        (folder / "meta.json").write_text(meta.model_dump_json())
        made.append(folder)
        return Bank(folder)

    return bank_of


class Rows(Dataset):
    """A dataset that is nothing but its rows."""

    def __init__(self, name: str, index: Index) -> None:
        self.name = self.digest = name
        self._index = index

    def index(self) -> Index:
        return self._index


@pytest.fixture
def rows() -> type[Rows]:
    return Rows


@pytest.fixture
def view_of(bank_of: Callable[[np.ndarray], Bank]) -> Callable[..., SplitView]:
    """A view of the test split through these banks: (dataset's name, modality, encoder) -> embeddings."""

    def view_of(direction: Direction, embeddings: Mapping[tuple[str, Modality, str], np.ndarray]) -> SplitView:
        banks = {key: bank_of(array) for key, array in embeddings.items()}

        def open_bank(dataset: Dataset, modality: Modality, encoder: str) -> Bank:
            return banks[dataset.name, modality, encoder]

        return SplitView("test", direction, torch.device("cpu"), open_bank)

    return view_of


def layers_by_hand(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """A connector in numpy."""
    for number, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if number else x) @ weight.T + bias
    return x


@pytest.fixture
def apply_connector() -> Callable[[list[tuple[np.ndarray, np.ndarray]], np.ndarray], np.ndarray]:
    return layers_by_hand


@pytest.fixture
def as_tensors() -> Callable[[list[tuple[np.ndarray, np.ndarray]]], Connector]:
    """The same connector in torch."""

    def as_tensors(layers: list[tuple[np.ndarray, np.ndarray]]) -> Connector:
        float32 = torch.float32
        return as_connector([(torch.tensor(w, dtype=float32), torch.tensor(b, dtype=float32)) for w, b in layers])

    return as_tensors
