import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from harness.data import digests


def test_json_digest_is_sha256_of_the_canonical_text():
    assert digests.digest_json({"b": [1, 2.5], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        digests.digest_json(float("nan"))


def test_array_digest_sees_dtype_shape_and_values():
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    different = [base.T, base.astype(np.float64), base.reshape(3, 2), base + 1]
    assert len({digests.digest_array(array) for array in [base, *different]}) == 5
    assert digests.digest_array(np.asfortranarray(base)) == digests.digest_array(base)


def test_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(digests, "_REMEMBER_ON_DISK", 1)
    file, calls = tmp_path / "x", []

    def compute() -> str:
        calls.append(1)
        return digests.digest_file(file)

    file.write_bytes(b"one")
    first = digests.remembered([file], compute)
    assert first == hashlib.sha256(b"one").hexdigest()
    assert digests.remembered([file], compute) == first
    digests._known.clear()  # as another process would find it
    assert digests.remembered([file], compute) == first
    assert len(calls) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert digests.remembered([file], compute) == hashlib.sha256(b"two").hexdigest()
