import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.data.base import SPLITS
from harness.data.splits import SplitConfig, split_rows
from harness.errors import HarnessError


def test_shares_by_image():
    splits = split_rows(1000, SplitConfig())
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 700, "validation": 100, "test": 200}
    assert all(rows.dtype == np.int64 and np.all(np.diff(rows) > 0) for rows in splits.values())


@given(
    groups=st.lists(st.integers(0, 40), min_size=1, max_size=200),
    seed=st.integers(0, 5),
    train=st.integers(0, 10),
    validation=st.integers(0, 10),
)
def test_disjoint_complete_and_whole_groups(groups: list[int], seed: int, train: int, validation: int):
    train, validation = min(train, 10), min(validation, 10 - min(train, 10))
    config = SplitConfig(train=train / 10, validation=validation / 10, test=(10 - train - validation) / 10, seed=seed)
    try:
        splits = split_rows(len(groups), config, groups)
    except HarnessError as error:
        assert "is empty" in str(error)
        return
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(groups)))
    members = {name: {groups[row] for row in rows} for name, rows in splits.items()}
    assert not members["train"] & members["validation"]
    assert not members["train"] & members["test"]
    assert not members["validation"] & members["test"]
    for name, share in zip(SPLITS, config.shares, strict=True):
        assert (len(splits[name]) > 0) == (share > 0)


def test_groups_keep_the_shares():
    groups = np.repeat(np.arange(500), 4)
    splits = split_rows(2000, SplitConfig(seed=3), groups)
    assert len(splits["train"]) == pytest.approx(1400, abs=4)
    assert len(splits["validation"]) == pytest.approx(200, abs=4)


def test_the_seed_decides():
    first, again, other = (split_rows(300, SplitConfig(seed=seed))["test"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_split_is_refused_and_an_unwanted_one_is_not():
    with pytest.raises(HarnessError, match="test split of 2 images is empty"):
        split_rows(2, SplitConfig())
    only_test = split_rows(2, SplitConfig(train=0, validation=0, test=1))
    assert [len(only_test[name]) for name in SPLITS] == [0, 0, 2]
    with pytest.raises(HarnessError, match="more groups"):
        split_rows(100, SplitConfig(), ["one group"] * 100)


def test_shares_must_sum_to_one():
    with pytest.raises(ValidationError, match="must be 1, got 1.1"):
        SplitConfig(train=0.8)
    assert sum(SplitConfig(train=1 / 3, validation=1 / 3, test=1 / 3).shares) == pytest.approx(1)
