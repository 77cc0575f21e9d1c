"""A dataset's own class-text embeddings, as a text-only dataset with one row per class."""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.data.base import Dataset, Index
from harness.data.digests import digest_json
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError


class ClassEmbeddings(Dataset):
    """Embeddings of class names that exist already, so that they are imported into banks as captions are.

    Args:
        dataset: Brings ``class_embeddings`` of its own text encoders.
        encoders: Text encoders of the sweep; each must have class embeddings of the same count.

    Raises:
        HarnessError: An encoder has none, or their counts differ.
    """

    def __init__(self, dataset: Dataset, encoders: Sequence[str]) -> None:
        self._dataset = dataset
        self.name = f"{dataset.name}-classes"
        counts = {encoder: len(self._rows(encoder)) for encoder in encoders}
        if len(set(counts.values())) > 1:
            raise HarnessError(f"class_text counts differ: {counts}", where="data.class_text")
        self._count = next(iter(counts.values()))
        self.digest = digest_json({"classes_of": dataset.digest, "count": self._count})

    def _rows(self, encoder: str) -> np.ndarray:
        rows = self._dataset.class_embeddings(encoder)
        if rows is None:
            raise HarnessError(f"no class embeddings of {encoder!r}", where="data.class_text", fix="add its file")
        return rows

    def index(self) -> Index:
        """Caption rows only: one per class."""
        return Index(0, np.arange(self._count), {})

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo] | None:
        """The dataset's own text encoders."""
        return self._dataset.own_encoders("text") if modality == "text" else {}

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of the class embeddings."""
        return self._rows(encoder)[start:stop]
