"""Numbers and names as a reader sees them: what is printed can be read back, and nothing is rounded into another."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli.common import short
from reports.delivered import Resampled
from reports.formatting import (
    PREFIXES,
    count,
    flops,
    interval,
    number,
    scaled,
    seconds,
    short_names,
    times,
    with_interval,
)
from reports.schema import Spent
from reports.wording import budget_text, counted, estimated, pair_name, score_with_ends, several

NAN = float("nan")
SIZES = dict(PREFIXES)
IDS = st.lists(st.text(alphabet="ab:.@", min_size=1, max_size=9), min_size=1, max_size=7, unique=True)


def read(text: str) -> float:
    """A scaled number as a reader takes it."""
    value, _, prefix = text.partition(" ")
    return float(value) * SIZES.get(prefix, 1.0)


@given(st.floats(1e-3, 9.99e23))
@example(999.9e9)
@example(999.5)
@example(999.4)
def test_a_scaled_number_reads_back_within_half_a_percent_and_has_no_exponent(value: float) -> None:
    text = scaled(value)
    assert read(text) == pytest.approx(value, rel=5.1e-3)
    assert 1e-3 <= float(text.partition(" ")[0]) < 1000
    assert "e+" not in text
    assert scaled(-value) == f"-{text}"


def test_what_rounds_up_to_a_thousand_takes_the_next_prefix() -> None:
    assert [flops(v) for v in (999.4e9, 999.6e9, 999.6, 1e21, 0.5)] == [
        "999 GFLOP",
        "1 TFLOP",
        "1 kFLOP",
        "1 ZFLOP",
        "0.5 FLOP",
    ]
    assert [short(v) for v in (None, 999.6e6, 1234, 12.0, 0.0)] == ["-", "1 G", "1.23 k", "12", "0"]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-99, max_value=99))
@example(-0.0004)
@example(-0.0)
def test_a_score_is_within_half_of_its_last_digit_and_zero_has_no_sign(value: float) -> None:
    text = number(value)
    assert abs(float(text) - value) <= 0.000501
    assert float(text) != 0 or text == "0.000"


@pytest.mark.parametrize("show", [number, flops, times, seconds, count])
@pytest.mark.parametrize("value", [None, NAN, math.inf, -math.inf])
def test_what_is_not_known_is_a_dash(show, value: float | None) -> None:
    assert show(value) == "–"


def test_intervals_stand_only_where_both_ends_are_known() -> None:
    assert interval((0.1, 0.25)) == "[0.100, 0.250]"
    assert [interval(ends) for ends in (None, (NAN, 0.2), (0.1, math.inf))] == ["", "", ""]
    assert with_interval(0.5, (0.4, 0.6)) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, None) == "0.500"
    assert with_interval(None, None) == "–"


@given(st.floats(1e-6, 1e9))
def test_a_count_is_never_rounded_to_nothing(value: float) -> None:
    shown = float(count(value).replace(",", ""))
    assert shown > 0
    assert shown == pytest.approx(value, rel=0.051)


def test_counts_and_ratios_by_hand() -> None:
    assert [count(v) for v in (0, 0.04, 1.5, 1234567, 1999.99)] == ["0", "0.04", "1.5", "1,234,567", "2,000"]
    assert [times(v) for v in (0.25, 99.96, 1234.4, 2.5e6)] == ["0.25x", "100x", "1,234x", "2e+06x"]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_longer_duration_never_reads_shorter(one: float, other: float) -> None:
    def read_back(text: str) -> float:
        words = text.split()
        unit = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
        return sum(float(words[n]) * unit[words[n + 1]] for n in range(0, len(words), 2))

    low, high = sorted((one, other))
    assert read_back(seconds(low)) <= read_back(seconds(high))
    assert read_back(seconds(high)) == pytest.approx(high, abs=60 if high >= 3600 else 1)


@given(IDS, st.integers(10, 12))
@example(["timm:a", "open:a", "s:timm:a"], 10)
def test_short_names_of_different_encoders_are_different(ids: list[str], width: int) -> None:
    names = short_names(ids, width)
    assert list(names) == ids
    assert len(set(names.values())) == len(ids)
    assert all(len(names[one]) <= len(one) for one in ids)


def test_words_of_pairs_and_budgets() -> None:
    assert pair_name(("timm:vit", "st:mini:lm")) == "vit + mini:lm"
    assert pair_name(("image00", "text01")) == "image00 + text01"
    assert [several(list("abcde"), most) for most in (1, 3, 5)] == [
        "a and 4 more",
        "a, b, c and 2 more",
        "a, b, c, d, e",
    ]
    assert [counted(n, "pair") for n in (0, 1, 2, 1200)] == ["0 pairs", "1 pair", "2 pairs", "1,200 pairs"]
    whole = Spent(batch_size=128, updates_per_pair=210.0, samples_per_pair=26880.0, flops=1.2e12)
    assert budget_text(whole) == "batch 128, 210 updates and 26,880 samples per pair, 1.2 TFLOP"
    assert budget_text(Spent(batch_size=None, updates_per_pair=0.0, samples_per_pair=0.0, flops=5e6)) == "5 MFLOP"
    assert budget_text(Spent(batch_size=None, updates_per_pair=None, samples_per_pair=None, flops=None)) == "–"


def test_a_score_is_said_with_its_ends_where_they_are_known() -> None:
    assert score_with_ends(Resampled(0.432, (0.4, 0.46))) == "0.432 (between 0.400 and 0.460)"
    assert score_with_ends(Resampled(0.432)) == "0.432"
    assert estimated(Resampled(0.432, (0.4, 0.46))) == "0.432 [0.400, 0.460]"
    assert estimated(Resampled()) == "–"
