"""What the documents show works as shown."""

import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import yaml

import harness
from harness.run.cell import run_cell
from harness.run.stopping import missing, record_skipped
from harness.sweep.config import PickConfig
from harness.sweep.estimates import estimates
from tests.pictures import captioned_pictures

DOCS = Path(__file__).parents[1]


def block(document: str, language: str, number: int = 0) -> str:
    text = (DOCS / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)[number]


def test_the_method_of_the_guide_runs(world) -> None:
    world.write("nearest.py", block("docs/adding_a_method.md", "python"))
    plan, store = world.run(
        "world.yaml", "seeds=[0]", 'methods.ridge={method: "./nearest.py:FixedRidge", penalty: 0.3, epochs: 1}'
    )
    records = [store.record(cell.key) for cell in plan.cells if cell.label == "ridge"]
    assert [record.status for record in records] == ["done"] * 6
    scores = {(m.image, m.text): m.score for record in records for m in record.metrics}
    assert max(scores.values()) > 0.2  # five of 40 validation images would be found by chance in 0.125


@pytest.mark.parametrize("connector", ["{}", "{hidden_layers: 1, width: 24}", "{kind: low_rank, rank: 8}"])
def test_the_hypernetwork_of_the_guide_learns_and_counts_its_flops(world, connector: str) -> None:
    world.write("rank_one.py", block("docs/adding_a_method.md", "python", 1))
    plan, store = world.run(
        "world.yaml",
        "seeds=[0]",
        "reference=null",
        f"connector={connector}",
        "methods={one: {method: './rank_one.py:HymaRankOne', epochs: 40, batch_size: 64, pairs_per_step: 3, lr: 1e-2}}",
    )
    (record,) = (store.record(cell.key) for cell in plan.cells)
    assert record.status == "done", record.error
    assert max(score for score in record.curve[-1].scores if score is not None) > 0.2  # chance: 0.125
    planned = estimates(plan)["one"].flops
    assert planned is not None
    assert planned["hypernet"] == pytest.approx(record.ledger.flops["hypernet"])


def test_the_policy_of_the_guide_stops_pairs_that_are_far_behind(world) -> None:
    world.write("one_look.py", block("docs/adding_a_method.md", "python", 2))
    recipe = "epochs: 8, batch_size: 64, lr: 1.0e-2, warmup: 0.1"
    plan, store = world.run(
        "world.yaml",
        "seeds=[0]",
        f"methods.ape={{{recipe}}}",
        f"methods.look={{method: './one_look.py:OneLook', margin: 0.03, {recipe}}}",
    )
    first = {cell.pairs[0]: store.record(cell.key).metrics[0].score for cell in plan.cells if cell.rung == 0}
    near = {pair for pair, score in first.items() if score >= max(first.values()) - 0.03}
    assert 0 < len(near) < len(first)
    record_skipped(plan, store)
    for cell in missing(plan, store):
        run_cell(plan, store, cell)
    ended = {cell.pairs[0]: store.record(cell.key) for cell in plan.cells if cell.rung == 1}
    assert {pair for pair, record in ended.items() if record.status == "done"} == near
    assert {pair for pair, record in ended.items() if record.status == "skipped"} == first.keys() - near
    for cell in plan.cells:
        if cell.label == "ape" and cell.pairs[0] in near:
            assert store.record(cell.key).metrics == ended[cell.pairs[0]].metrics


PICK = """
    name: world
    data: {kind: synthetic, rows: 400, image_encoders: 3, text_encoders: 2, image_dims: [12, 20], text_dims: [8, 16]}
    methods:
      ape: {epochs: 1, batch_size: 64}
    storage: runs
    pick: {settings: {updates: 2, rounds: 1}}
"""


def test_the_commands_of_the_page_on_picking_work_and_its_settings_are_the_defaults(temp_project) -> None:
    temp_project.write("world.yaml", PICK)
    captioned_pictures(temp_project.folder, 40)
    rows = (temp_project.folder / "rows.csv").read_text(encoding="utf-8")
    temp_project.write("pairs.csv", rows.replace("image,caption", "path,caption"))
    shown = block("docs/picking.md", "").replace("\\\n", " ").splitlines()
    assert len(shown) == 5
    for line in shown:
        _, *arguments = shlex.split(line.replace("SWEEP", "world.yaml"), comments=True)
        code, out, err = temp_project.invoke(*arguments)
        assert code == 0, line + err
        assert out.startswith("world: a pick at its most expensive" if "--plan" in line else "Stitch ")
    assert harness.load(temp_project.folder / "model")
    assert harness.load(temp_project.folder / "other")
    written = yaml.safe_load(block("docs/picking.md", "yaml"))["pick"]
    assert written == PickConfig().model_dump(exclude={"resources": {"timeout_s"}})


@pytest.mark.parametrize("name", ["hyma_vlm_27", "hyper_align_scaling"])
def test_the_page_on_picking_says_what_the_plan_prints(temp_project, name: str) -> None:
    command = f"harness pick sweeps/{name}.yaml --plan"
    text = (DOCS / "docs/picking.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"\| `{command}` \| (.*) \|", text)
    _, out, _ = temp_project.invoke("pick", str(DOCS / f"sweeps/{name}.yaml"), "--plan")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    pick, grid, ratio = cells[-3:]
    assert row.split(" | ") == [pick[-1], grid[-1], ratio[-1], ratio[-2]]


DOCUMENTS = [DOCS / "README.md", DOCS / "CONTRIBUTING.md", *sorted((DOCS / "docs").glob("*.md"))]
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


@every_document
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", prose):
        assert (document.parent / target).exists(), target
    for file in re.findall(r"(?<![\w/.])((?:harness|hyma|baselines|reports|sweeps|tests)/[\w/]+\.\w+)", text):
        assert (DOCS / file).is_file(), file


@every_document
def test_every_module_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w/.\"])((?:harness|hyma|baselines|reports)(?:\.\w+)+)", text):
        pkgutil.resolve_name(name)


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [DOCS / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            links = re.findall(r"\]\((?!http|#)([^)#]+\.md)", page.read_text(encoding="utf-8"))
            ahead += [(page.parent / link).resolve() for link in links]
    assert set(DOCUMENTS) <= seen


@every_document
def test_every_command_that_a_document_shows_can_be_given(document: Path) -> None:
    """Its verb is there and takes the options that are shown."""
    from typer.main import get_command

    from harness.cli.app import app

    verbs = get_command(app).commands  # type: ignore[attr-defined]
    text = document.read_text(encoding="utf-8")
    code = [*re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL), *re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    lines = [line for part in code for line in " ".join(part.split(chr(92) + chr(10))).splitlines()]
    for line in lines:
        if shown := re.match(r"\s*harness ([a-z][a-z-]*)(.*)", line):
            verb, rest = shown[1], shown[2].partition("#")[0]
            assert verb in verbs, line
            known = {option for own in verbs[verb].params for option in (*own.opts, *own.secondary_opts)}
            for option in re.findall(r"(?<!\S)(--[a-z-]+)", rest):
                assert option in known, line
