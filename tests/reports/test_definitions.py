"""Every word of the trade is defined at the end of the report, and linked from where it is used."""

import re
from pathlib import Path

import pytest

from reports.build import Report
from reports.definitions import DEFINITIONS, linked
from reports.schema import Views


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_every_link_leads_to_a_definition_at_the_end(report: Report, name: str) -> None:
    page = (Path(report.where) / name).read_text(encoding="utf-8")
    targets = re.findall(r'id="(def-[^"]+)"', page)
    assert targets == [definition.anchor for definition in DEFINITIONS]
    links = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"\]\(#([^)]+)\)", page))
    assert {link for link in links if link.startswith("def-")} <= set(targets)
    assert links <= set(re.findall(r'id="([^"]+)"', page))
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


def test_the_headings_of_tables_are_linked_too(report: Report) -> None:
    page = (Path(report.where) / "index.html").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"<th scope=\"col\">(.*?)</th>", page))
    for anchor in ("spearman", "p-permutation", "top-k-overlap", "best-pair-hit", "ndcg-k", "regret", "mean-gap"):
        assert f'href="#def-{anchor}"' in headings, anchor


def test_every_view_and_every_word_of_the_tables_has_a_definition() -> None:
    words = {definition.word for definition in DEFINITIONS}
    assert {view.replace("_flops", " FLOPs").replace("_", " ") for view in Views.model_fields} <= words
    assert {"oracle", "undertrained", "device time", "interaction share", "p (permutation)"} <= words
