"""The page of a pick: what it says of a record made by hand."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contract.pairs import Pair
from harness.run.picked import PickRecord, StageRecord, WayCost
from harness.run.store import RunStore
from reports.definitions import DEFINITIONS
from reports.pick_page import RIVALS, cautions, write_pick

PAIR = ("synthetic:image0", "synthetic:text0")


def record(rivals: int = 0, **changes: Any) -> PickRecord:
    """A pick of two stages, of 16 pairs, with so many pairs that may be as good."""
    others: list[Pair] = [(f"synthetic:other{n}", "synthetic:text0") for n in range(rivals)]
    first = StageRecord(
        run="p-pick-1",
        images=tuple(f"synthetic:image{n}" for n in range(8)),
        texts=("synthetic:text0", "synthetic:text1"),
        train_images=1000,
        validation_images=500,
        racing=[PAIR, *others],
        score=0.31,
        flops=2e9,
        encode_flops=8e12,
        seconds=1.0,
    )
    one = {"images": PAIR[:1], "texts": PAIR[1:], "racing": [PAIR], "score": 0.35, "encode_flops": 1.5e12}
    fields = {
        "name": "p",
        "pair": PAIR,
        "run": "p-pick-2",
        "label": "pick",
        "not_separated": [PAIR, *others],
        "candidates": 16,
        "metric": "text_to_image_r5",
        "validation": 0.35,
        "stages": [first, first.model_copy(update={"run": "p-pick-2", **one})],
        "cost": WayCost(connectors=5e11, encode=9.5e12),
        "grid": WayCost(connectors=1e13, encode=4e13),
        "grid_label": "ape",
    }
    return PickRecord(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def last(maker: Any, tmp_path: Path) -> RunStore:
    """The run of the last stage: one pair, of whose 200 test queries 80 are answered."""
    scores = np.array([[0.4]])
    spec = maker.Spec(np.array([[0.35]]), scores, kind="joint")
    return maker.run(tmp_path / "p-pick-2", {"pick": spec}, images=1, texts=1, reference=None)


def written(made: PickRecord, last: RunStore) -> tuple[list[str], str]:
    sentences = write_pick(made, last, last.under("page"), "/models/one")
    return sentences, last.under("page").get("index.html").decode()


def test_the_verdict_is_four_short_sentences(last: RunStore) -> None:
    sentences, page = written(record(rivals=3), last)
    which, sure, cost, grid = sentences
    assert which.startswith("Stitch image0 + text0: text_to_image_r5 0.400 [0.3")
    assert sure == "3 other pairs of 16 may be as good."
    assert cost == "That cost 10 TFLOP, 9.5 TFLOP of it to embed."
    assert grid == "The grid (ape, one seed) would have cost 50 TFLOP: 5x end to end, 20x for connectors alone."
    assert all(len(sentence) < 100 for sentence in sentences)
    assert all(sentence in page for sentence in sentences)


def test_one_other_pair_and_no_other_pair(last: RunStore) -> None:
    assert written(record(rivals=1), last)[0][1] == "1 other pair of 16 may be as good."
    sentences, page = written(record(), last)
    assert sentences[1] == "No other of 16 pairs may be as good."
    assert "Pairs that may be as good" not in page


@pytest.mark.parametrize(("rivals", "more"), [(RIVALS, None), (RIVALS + 1, 1), (RIVALS + 25, 25)])
def test_a_long_list_of_rivals_is_cut(last: RunStore, rivals: int, more: int | None) -> None:
    _, page = written(record(rivals=rivals), last)
    named = [n for n in range(rivals) if f"other{n} + text0" in page]
    assert named == list(range(min(rivals, RIVALS)))
    assert (f"... and {more} more" in page) == (more is not None)


def test_both_savings_stand_in_the_table(last: RunStore) -> None:
    _, page = written(record(), last)
    cells = page[page.index("grid / pick") :].split("</tr>")[0]
    assert [number in cells for number in ("4.21x", "20x", "5x")] == [True] * 3


def test_without_a_grid_nothing_is_compared(last: RunStore) -> None:
    sentences, page = written(record(grid=None, grid_label=None), last)
    assert len(sentences) == 3
    assert "names no grid" in page
    assert "grid / pick" not in page


def test_unknown_flops_are_said_and_no_saving_end_to_end_is_claimed(last: RunStore) -> None:
    sentences, page = written(record(unknown=("synthetic:image7",)), last)
    assert sentences[2] == "That cost 10 TFLOP, and an embedding of unknown FLOPs."
    assert sentences[3] == "The grid (ape, one seed) would have cost 20x for connectors alone."
    assert "missing from all costs: synthetic:image7" in page
    assert "5x" not in page[page.index("grid / pick") :].split("</tr>")[0]


def test_few_validation_images_are_warned_of() -> None:
    assert cautions(record()) == []
    few = record().stages[-1].model_copy(update={"validation_images": 60})
    (caution,) = cautions(record(stages=[few]))
    assert "60 validation images" in caution


def test_the_record_beside_the_page_is_the_whole_record(last: RunStore) -> None:
    made = record(rivals=2)
    _, page = written(made, last)
    stored = last.under("page").get("pick.json")
    assert PickRecord.model_validate(json.loads(stored)) == made
    assert "harness.load(&#34;/models/one&#34;)" in page or 'harness.load("/models/one")' in page


def test_its_words_of_the_trade_are_defined_at_its_end(last: RunStore) -> None:
    _, page = written(record(), last)
    targets = re.findall(r'id="(def-[^"]+)"', page)
    assert targets == [definition.anchor for definition in DEFINITIONS]
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(targets)
