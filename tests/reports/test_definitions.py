"""Every word of the trade is defined at the end of the report, and linked from where it is used."""

import re
from pathlib import Path

import pytest

from reports.build import Report
from reports.definitions import DEFINITIONS, linked


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_every_link_leads_to_a_definition_at_the_end(report: Report, name: str) -> None:
    page = (Path(report.where) / name).read_text(encoding="utf-8")
    targets = re.findall(r'id="(def-[^"]+)"', page)
    assert targets == [definition.anchor for definition in DEFINITIONS]
    links = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links <= set(targets)
    assert {"def-spearman", "def-regret", "def-delivered-score", "def-mean-gap", "def-noise-ceiling"} <= links
    assert page.index("Definitions") < page.index(f'id="{targets[0]}"')
    assert page.rindex('id="def-') > page.rindex("Provenance" if name == "index.html" else "Missing and failed")


def test_each_word_is_linked_once_and_the_rest_is_escaped() -> None:
    def link(word: str, definition: object) -> str:
        return f"<{word}>"

    text = linked("Spearman 0.9 & regret, Spearman 0.8; pairs not separated", link, lambda part: part.replace("&", "+"))
    assert text == "<Spearman> 0.9 + <regret>, Spearman 0.8; pairs <not separated>"


def test_words_inside_words_are_left_alone() -> None:
    assert linked("regretful tuned_grid", lambda word, _: f"<{word}>") == "regretful tuned_grid"


def test_anchors_are_distinct() -> None:
    anchors = [definition.anchor for definition in DEFINITIONS]
    assert len(set(anchors)) == len(anchors)
