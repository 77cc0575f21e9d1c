"""The numbers of every method, part, precision and kind of budget are those that were frozen."""

from pathlib import Path
from typing import Any

import pytest

from tests.frozen.cases import CASES
from tests.frozen.numbers import fingerprint, numbers_of, quickstart, read, swept


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_the_frozen_ones(name: str, tmp_path: Path) -> None:
    frozen = read(name)
    made_on = frozen.pop("made_on")
    found = numbers_of(*swept(CASES[name], tmp_path))
    # Another processor or library sums in another order: then the numbers agree, but not to the last bit.
    differences = list(differing(frozen, found, exact=made_on == fingerprint()))
    assert not differences, "\n".join(differences[:10])


@pytest.mark.real
def test_quickstart_is_the_frozen_one() -> None:
    """Its banks stay in ``runs/frozen``, so that they are extracted once."""
    frozen = read("quickstart")
    made_on = frozen.pop("made_on")
    found = numbers_of(*quickstart(Path(__file__).parents[2] / "runs" / "frozen"))
    differences = list(differing(frozen, found, exact=made_on == fingerprint()))
    assert not differences, "\n".join(differences[:10])


def differing(frozen: Any, found: Any, *, exact: bool, at: str = "") -> Any:
    """Where two trees of numbers differ, one line each."""
    if isinstance(frozen, dict) and isinstance(found, dict):
        for key in frozen.keys() | found.keys():
            if key not in frozen or key not in found:
                yield f"{at}.{key}: only {'found' if key in found else 'frozen'}"
            else:
                yield from differing(frozen[key], found[key], exact=exact, at=f"{at}.{key}")
    elif isinstance(frozen, list) and isinstance(found, list) and len(frozen) == len(found):
        for number, (one, other) in enumerate(zip(frozen, found, strict=True)):
            yield from differing(one, other, exact=exact, at=f"{at}[{number}]")
    elif frozen != found:
        # A hit more or less among the 24 validation and 48 test images of these worlds, and what follows from it.
        if exact or not _number(frozen) or not _number(found) or abs(frozen - found) > 0.05 * max(1.0, abs(frozen)):
            yield f"{at}: frozen {frozen!r}, found {found!r}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
