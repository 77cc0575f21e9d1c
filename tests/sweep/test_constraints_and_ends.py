"""Pure parts of planning: which pairs may be picked, at which points methods are scored, what a warning says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.exposure import Exposure, few_updates, unlike_updates, updates_text
from harness.contract.record import Latency
from harness.sweep.config import Constraints
from harness.sweep.constraints import MEASURED, TESTS, may_meet, meets
from harness.sweep.ends import ends_of
from harness.sweep.ladders import climbed
from harness.sweep.planned import EncoderRecord

LICENSES = st.sampled_from([None, "mit", "apache-2.0", "cc-by-nc-4.0"])
KNOWN = st.none() | st.integers(1, 100)


def encoders(modality: str) -> st.SearchStrategy[EncoderRecord]:
    return st.builds(
        EncoderRecord,
        id=st.just("e"),
        modality=st.just(modality),
        dim=st.sampled_from([8, 16]),
        params=KNOWN,
        license=LICENSES,
        flops_per_sample=KNOWN.map(lambda n: None if n is None else float(n)),
        encode_flops=st.none(),
        encode_s=st.none(),
        latency=KNOWN.map(lambda n: None if n is None else Latency(seconds_per_sample=n / 1000)),
    )


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "image_dim": st.lists(st.sampled_from([8, 16]), min_size=1),
        "text_dim": st.lists(st.sampled_from([8, 16]), min_size=1),
        "max_image_params": st.integers(1, 100),
        "max_text_params": st.integers(1, 100),
        "max_encode_flops": st.integers(1, 200),
        "max_encode_latency_ms": st.integers(1, 200),
        "licenses": st.lists(st.sampled_from(["mit", "apache-2.0"]), min_size=1),
    },
)


@given(encoders("image"), encoders("text"), LIMITS)
def test_what_meets_the_limits_may_meet_them_and_more_limits_let_fewer_pass(
    image: EncoderRecord, text: EncoderRecord, limits: dict
) -> None:
    pair = image, text
    if meets(pair, limits):
        assert may_meet(pair, limits, unknown=frozenset())
    if may_meet(pair, limits, unknown=frozenset()):
        assert may_meet(pair, limits)
    assert meets(pair, {})
    for name in limits:
        fewer = {key: value for key, value in limits.items() if key != name}
        assert meets(pair, fewer) or not meets(pair, limits)
        assert may_meet(pair, fewer) or not may_meet(pair, limits)
    assert meets(pair, limits) == all(TESTS[name](pair, limit) is True for name, limit in limits.items())


@given(encoders("image"), encoders("text"), st.integers(1, 200))
def test_a_fact_that_is_not_known_meets_no_limit_but_may_be_measured_later(
    image: EncoderRecord, text: EncoderRecord, limit: int
) -> None:
    pair = image, text
    if image.flops_per_sample is None or text.flops_per_sample is None:
        assert not meets(pair, {"max_encode_flops": limit})
        assert may_meet(pair, {"max_encode_flops": limit})
        assert not may_meet(pair, {"max_encode_flops": limit}, unknown=frozenset())
    else:
        assert meets(pair, {"max_encode_flops": limit}) == (image.flops_per_sample + text.flops_per_sample <= limit)
    if image.latency is not None and text.latency is not None:
        spent = 1000 * (image.latency.seconds_per_sample + text.latency.seconds_per_sample)
        assert meets(pair, {"max_encode_latency_ms": limit + 0.5}) == (spent <= limit + 0.5)
    assert set(Constraints.model_fields) == set(TESTS) >= MEASURED


UPDATES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.5, 8.0, 64.0]), max_size=4)


@given(UPDATES, st.sampled_from(["a", "b", "z", None]))
def test_a_method_is_scored_where_those_end_that_it_is_compared_with(
    updates: dict[str, float], reference: str | None
) -> None:
    found = ends_of(reference, updates)
    if reference not in updates:
        assert found == {}
        return
    assert set(found) == set(updates)
    for label, ends in found.items():
        assert list(ends) == sorted(set(ends))
        assert all(0 < end < updates[label] for end in ends), "short of its own end"
        others = updates if label == reference else {reference: updates[reference]}
        assert set(ends) == {end for end in others.values() if 0 < end < updates[label]}


def test_updates_for_people() -> None:
    numbers = (None, 0.0, 0.04, 1.0, 1.3, 9.96, 12.4, 12345.6)
    assert [updates_text(n) for n in numbers] == ["-", "0", "0.04", "1", "1.3", "10", "12", "12,346"]


@given(st.floats(0.01, 1000))
def test_a_reference_is_warned_of_only_below_fifty_updates(updates: float) -> None:
    told = few_updates("ape", Exposure({"epochs": 1}, updates))
    assert (told is not None) == (updates < 50)
    assert told is None or told.startswith(f"ape, the reference, gives each pair {updates_text(updates)} updates")


@given(st.dictionaries(st.sampled_from("abc"), st.floats(1, 1000), min_size=2))
def test_equal_epochs_are_unlike_training_from_one_and_a_half_times_the_updates(updates: dict[str, float]) -> None:
    told = unlike_updates({label: Exposure({"epochs": 4.0}, number) for label, number in updates.items()})
    assert bool(told) == (max(updates.values()) >= 1.5 * min(updates.values()))
    assert all(text.startswith("4 epochs are not the same training") for text in told)
    apart = {label: Exposure({"epochs": n + 1.0}, u) for n, (label, u) in enumerate(updates.items())}
    assert unlike_updates(apart) == [], "other epochs are other training by intention"


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=5, unique=True))
def test_a_ladder_is_one_method_per_value_or_says_that_two_would_have_one_name(values: list[float]) -> None:
    labels = [f"ape@{value:g}" for value in values]
    ladder = {"ape": {"method": "ape", "lr": 0.1, "ladder": {"flops": values}}}
    if len(set(labels)) < len(labels):
        with pytest.raises(ValueError, match="ape: two values of a ladder differ by less than a label's six digits"):
            climbed(ladder)
        return
    found = climbed(ladder)
    assert list(found) == labels
    assert [entry["flops"] for entry in found.values()] == values
    assert all(entry["lr"] == 0.1 and "ladder" not in entry for entry in found.values())


def test_a_step_of_a_ladder_that_is_written_out_as_well_stands_twice() -> None:
    methods = {"ape": {"ladder": {"epochs": [1, 2]}}, "ape@2": {"epochs": 2}, "cka": None}
    with pytest.raises(ValueError, match="methods: label 'ape@2' stands twice"):
        climbed(methods)
    assert list(climbed({"ape": {"ladder": {"epochs": [1, 2]}}, "cka": None})) == ["ape@1", "ape@2", "cka"]
    with pytest.raises(ValueError, match="two values of a ladder differ by less than a label's six digits"):
        climbed({"ape": {"ladder": {"updates_per_pair": [1_000_000, 1_000_001]}}})
