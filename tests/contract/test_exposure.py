"""Warnings of a comparison that is unfair before it has begun."""

from harness.contract.exposure import FEW_UPDATES, Exposure, few_updates, unlike_updates, updates_text


def test_small_numbers_of_updates_are_not_rounded_away() -> None:
    assert [updates_text(n) for n in (None, 0.0, 0.04, 0.64, 1.3, 2.0, 32.4, 1234.0)] == [
        "-", "0", "0.04", "0.64", "1.3", "2", "32", "1,234",
    ]  # fmt: skip


def test_methods_of_equal_epochs_and_unlike_updates_are_told_apart() -> None:
    ten = {"epochs": 10.0}
    found = unlike_updates(
        {
            "ape": Exposure(ten, 32),
            "hyma": Exposure(ten, 1.3),
            "other": Exposure({"epochs": 20.0}, 64),
            "ridge": Exposure({}, 0),
        }
    )
    assert len(found) == 1
    assert found[0].startswith("10 epochs are not the same training: updates per pair are 32 for ape, 1.3 for hyma.")


def test_a_ladder_is_warned_of_once() -> None:
    ladder = {
        f"{label}@{n}": Exposure({"epochs": n}, n * u) for n in (2, 1, 4) for label, u in (("ape", 8), ("hyma", 2))
    }
    (found,) = unlike_updates(ladder)
    assert found.startswith(
        "4 epochs are not the same training: updates per pair are 32 for ape@4, 8 for hyma@4; so it is"
    )
    assert "so it is at 1, 2." in found


def test_equal_training_is_not_warned_of() -> None:
    ten = {"epochs": 10.0}
    assert unlike_updates({"ape": Exposure(ten, 32), "stacked": Exposure(ten, 32), "all": Exposure(ten, 33)}) == []
    assert (
        unlike_updates({"ape": Exposure({"updates_per_pair": 8}, 8), "b": Exposure({"updates_per_pair": 80}, 80)}) == []
    )


def test_a_reference_needs_some_updates_if_it_trains_in_steps() -> None:
    assert few_updates("ape", Exposure({"epochs": 1.0}, FEW_UPDATES - 1)) is not None
    assert few_updates("ape", Exposure({"epochs": 1.0}, FEW_UPDATES)) is None
    assert few_updates("ridge", Exposure({}, 0.0)) is None
