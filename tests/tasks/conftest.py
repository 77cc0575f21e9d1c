from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.bank import Bank, BankMeta


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


def layers_by_hand(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """A connector in numpy."""
    for number, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if number else x) @ weight.T + bias
    return x


@pytest.fixture
def apply_connector() -> Callable[[list[tuple[np.ndarray, np.ndarray]], np.ndarray], np.ndarray]:
    return layers_by_hand
