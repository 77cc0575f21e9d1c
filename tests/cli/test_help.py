"""Every verb's ``--help`` has an example that can be given, and what a program may read has ``--json``."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from harness.cli.app import app

ROOT = Path(__file__).parents[2]
VERBS = get_command(app).commands  # type: ignore[attr-defined]
WITHOUT_JSON = {
    "init": "it writes a file",
    "language-models": "it writes folders",
    "schema": "it prints JSON as it is",
    "sweep": "its report has summary.json, and harness report --json prints that",
}


def examples(verb: str) -> list[str]:
    told = " ".join((VERBS[verb].help or "").split())
    found = re.search(r"Examples?: (.*)", told)
    return [] if found is None else [one.strip() for one in re.split(r"; |, and ", found[1]) if "harness" in one]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_an_example_that_it_takes(verb: str) -> None:
    shown = examples(verb)
    assert shown, "no example"
    for line in shown:
        words = shlex.split(line.partition(" > ")[0])
        assert words[:2] == ["harness", verb]
        with VERBS[verb].make_context(verb, words[2:], resilient_parsing=False) as context:
            assert context.command is VERBS[verb]
        for word in words[2:]:
            if word.startswith("sweeps/"):
                assert (ROOT / word).is_file(), word


def test_what_a_program_may_read_has_json() -> None:
    without = {verb for verb, command in VERBS.items() if not any("--json" in p.opts for p in command.params)}
    assert without == set(WITHOUT_JSON)
