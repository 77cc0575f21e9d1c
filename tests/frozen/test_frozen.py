"""The numbers of every method, part, precision and kind of budget are those that were frozen."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from harness.contract.method import METHODS as REGISTERED
from harness.contract.method import takes_budget
from harness.sweep.ladders import BUDGET_KEYS
from harness.training.recipe import Recipe
from tests.frozen.cases import BUDGETS, CASES, METHODS, PRECISIONS, TRAINED_METHODS, WITHOUT_BUDGET
from tests.frozen.numbers import fingerprint, numbers_of, quickstart, read, swept

UNREPRODUCIBLE = "ape_asha"
"""Its numbers depend on the order in which trials end."""

COUNTS = ("epoch", "flops", "samples", "samples_per_pair", "step", "trained_params", "updates", "updates_per_pair")
"""What is counted and not computed is the same on every machine."""


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_the_frozen_ones(name: str, tmp_path: Path) -> None:
    agrees(name, numbers_of(*swept(CASES[name], tmp_path)))


@pytest.mark.real
def test_quickstart_is_the_frozen_one() -> None:
    """Its banks stay in ``runs/frozen``, so that they are extracted once."""
    agrees("quickstart", numbers_of(*quickstart(Path(__file__).parents[2] / "runs" / "frozen")))


@pytest.mark.parametrize("name", ["method-hyma", "method-ape_halving", "method-low_rank", "method-svcca"])
def test_a_run_repeats_to_the_last_bit(name: str, tmp_path: Path) -> None:
    first, second = (numbers_of(*swept(CASES[name], tmp_path / folder)) for folder in ("first", "second"))
    assert first == second


def test_every_method_is_frozen() -> None:
    assert sorted([*METHODS, UNREPRODUCIBLE]) == REGISTERED.names()


def test_every_precision_and_reproducible_budget_of_every_trained_method_is_frozen() -> None:
    recipes = [name for name in METHODS if issubclass(REGISTERED.get(name), Recipe)]
    trained = [name for name in METHODS if takes_budget(REGISTERED.get(name))]  # type: ignore[arg-type]
    assert sorted(TRAINED_METHODS) == sorted(trained)
    assert sorted([*trained, *WITHOUT_BUDGET]) == sorted(recipes)
    assert get_args(get_type_hints(Recipe)["precision"]) == PRECISIONS
    assert sorted([*BUDGETS, "seconds"]) == sorted(BUDGET_KEYS)
    for name in trained:
        frozen = {
            (settings["precision"], budget)
            for settings in CASES[f"precision-{name}"]["methods"].values()
            for budget in BUDGETS
            if budget in settings
        }
        assert len(frozen) == len(PRECISIONS) * len(BUDGETS)


def test_another_learning_rate_is_noticed_on_any_machine(tmp_path: Path) -> None:
    """Even where numbers need not agree to the last bit."""
    sweep = copy.deepcopy(CASES["method-ape"])
    sweep["methods"]["ape"]["lr"] *= 2
    found = numbers_of(*swept(sweep, tmp_path))
    frozen = read("method-ape")
    del frozen["made_on"]
    differences = list(differing(frozen, found, exact=False))
    assert differences
    assert not any(".grid" in difference.split(":")[0] for difference in differences), "the grid is the same"


@dataclasses.dataclass(frozen=True)
class Change:
    """What happens to one number, and whether it is noticed on the machine of the freeze, and on another one."""

    at: str
    to: Any
    exact: bool
    tolerant: bool


@pytest.mark.parametrize(
    "change",
    [
        Change("score", 0.5 + 1e-15, exact=True, tolerant=False),
        Change("score", 0.5 + 1 / 24, exact=True, tolerant=False),
        Change("score", 0.5 + 2 / 24, exact=True, tolerant=True),
        Change("median_rank", 24.5, exact=True, tolerant=False),
        Change("median_rank", 26.0, exact=True, tolerant=True),
        Change("score", None, exact=True, tolerant=True),
        Change("status", "diverged", exact=True, tolerant=True),
        Change("hit", False, exact=True, tolerant=True),
        Change("updates", 101, exact=True, tolerant=True),
        Change("flops", {"connector": 1e9 + 1, "eval": 5.0}, exact=True, tolerant=True),
        Change("flops", {"connector": 1e9}, exact=True, tolerant=True),
        Change("curve", [0.1, 0.2], exact=True, tolerant=True),
    ],
    ids=lambda change: f"{change.at}={change.to}",
)
def test_what_counts_as_a_difference(change: Change) -> None:
    frozen = {
        "score": 0.5,
        "median_rank": 24.0,
        "status": "done",
        "hit": True,
        "updates": 100,
        "flops": {"connector": 1e9, "eval": 5.0},
        "curve": [0.1, 0.2, 0.3],
    }
    found = frozen | {change.at: change.to}
    assert bool(list(differing(frozen, found, exact=True))) == change.exact
    assert bool(list(differing(frozen, found, exact=False))) == change.tolerant


def agrees(name: str, found: dict[str, Any]) -> None:
    """Fail where numbers are not the frozen ones."""
    frozen = read(name)
    made_on = frozen.pop("made_on")
    # Another processor or library sums in another order: then the numbers agree, but not to the last bit.
    differences = list(differing(frozen, found, exact=made_on == fingerprint()))
    assert not differences, "\n".join(differences[:10])


def differing(frozen: Any, found: Any, *, exact: bool, at: str = "") -> Iterator[str]:
    """Where two trees of numbers differ, one line each.

    Args:
        frozen: The one.
        found: The other.
        exact: Whether the last bit counts. If not, ``COUNTS`` and what is no number must still be equal.
        at: Where in the tree.
    """
    if isinstance(frozen, dict) and isinstance(found, dict):
        for key in sorted(frozen.keys() | found.keys()):
            if key not in frozen or key not in found:
                yield f"{at}.{key}: only {'found' if key in found else 'frozen'}"
            else:
                here = f"{at}.{key}"
                yield from differing(frozen[key], found[key], exact=exact or key in COUNTS, at=here)
    elif isinstance(frozen, list) and isinstance(found, list) and len(frozen) == len(found):
        for number, (one, other) in enumerate(zip(frozen, found, strict=True)):
            yield from differing(one, other, exact=exact, at=f"{at}[{number}]")
    elif frozen != found and (exact or not _close(frozen, found)):
        yield f"{at}: frozen {frozen!r}, found {found!r}"


def _close(one: Any, other: Any) -> bool:
    """Numbers that differ by a hit more or less among the 24 validation and 48 test images of these worlds at most."""
    return _number(one) and _number(other) and abs(one - other) <= 0.05 * max(1.0, abs(one))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
