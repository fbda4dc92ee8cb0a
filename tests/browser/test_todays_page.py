"""What the page of today asks of a pack: widths beside its side panel, narrow help, App mode, blueprints, languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.example_workflows import RESTORE_APP, RESTORE_ONE_FACE, RESTORE_VIDEO, SCORE_FOLDER
from tests.browser.graphs import Workflow, wired
from tests.browser.make_pictures import leave_welcome
from tests.browser.page import ComfyPage
from tests.browser.workflow_inputs import FILE, FOLDER
from tests.comfyui.server import ComfyServer
from tests.paths import REPOSITORY

pytestmark = pytest.mark.slow
SELECT = "type => app.canvas.selectNode(app.graph._nodes.find(node => node.type === type))"
NODES = sorted(json.loads((REPOSITORY / "tests" / "comfyui" / "schema.json").read_text(encoding="utf-8")))
ALONE = """type => {
    app.graph.clear();
    Object.assign(app.canvas.ds, { scale: 1, offset: [0, 0] });
    const node = LiteGraph.createNode(type);
    node.pos = [500, 250];
    app.graph.add(node);
}"""
TOO_WIDE = """element => [element, ...element.querySelectorAll('table, ul')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ComfyServer]:
    with ComfyServer(tmp_path_factory.mktemp("comfy")) as running:
        running.post("/settings", {"Comfy.VueNodes.Enabled": False})
        yield running


@pytest.fixture(scope="module")
def page(server) -> Iterator[ComfyPage]:
    with ComfyPage(server) as opened:
        yield opened


def graph_of(workflow: Workflow) -> dict[str, Any]:
    return json.loads((FOLDER / f"{workflow.title}.json").read_text(encoding="utf-8"))


def show(page: ComfyPage, workflow: Workflow, node: str = "") -> None:
    """Open a shipped graph, and select its node of a type."""
    page.load_graph(graph_of(workflow))
    page.page.wait_for_timeout(800)
    if node:
        page.page.evaluate(SELECT, node)
        page.page.wait_for_timeout(300)


@pytest.mark.parametrize(
    ("workflow", "node", "element"),
    [
        (RESTORE_VIDEO, "VividFaceCompareVideo", ".vf-compare"),
        (SCORE_FOLDER, "VividFaceScoreFolder", ".vf-table"),
    ],
    ids=["picture", "table"],
)
def test_elements_keep_their_nodes_width_when_the_side_panel_was_open(page, workflow, node, element):
    show(page, workflow, node)
    width = page.page.locator(element).first.evaluate("element => element.offsetWidth")
    panel = page.page.get_by_role("button", name="Toggle properties panel")
    panel.click()
    page.page.wait_for_timeout(800)
    page.page.evaluate("() => { app.canvas.ds.offset[0] += 10; app.canvas.draw(true, true) }")
    page.page.wait_for_timeout(300)
    assert page.page.locator(element).first.evaluate("element => element.offsetWidth") == width > 400
    panel.or_(page.page.get_by_role("button", name="Close properties panel")).first.click()


@pytest.mark.parametrize("node", NODES)
def test_help_fits_into_the_side_panel(page, node):
    page.page.evaluate(ALONE, node)
    page.page.wait_for_timeout(300)
    page.page.evaluate(SELECT, node)
    page.page.get_by_role("button", name="Node Info").click()
    title = (REPOSITORY / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8").partition("\n")[0]
    content = page.page.locator(".markdown-content").filter(has_text=title.removeprefix("# ")).first
    content.wait_for(timeout=20_000)
    page.page.wait_for_timeout(500)
    assert content.evaluate(TOO_WIDE) == []


def test_the_example_clips_are_offered_and_are_the_packs_own(server):
    offered = server.get("/object_info/VividFaceVideoLoad")["VividFaceVideoLoad"]["input"]["required"]["file"][1]
    for clip in (REPOSITORY / "nodes" / "assets").glob("*.mp4"):
        assert clip.name in offered["options"] and clip.stat().st_size < 300_000
        assert (server.folder / "input" / clip.name).read_bytes() == clip.read_bytes()


def test_a_graph_that_is_older_than_force_rate_opens_with_its_values(page):
    graph = graph_of(RESTORE_VIDEO)
    (node,) = (node for node in graph["nodes"] if node["type"] == "VividFaceVideoLoad")
    node["inputs"] = [one for one in node["inputs"] if one["name"] != "force_rate"]
    node["widgets_values"] = [FILE, 2, 5, 3, "image"]
    node.pop("widgets_values_named", None)
    page.load_graph(graph)
    page.page.wait_for_timeout(800)
    wanted = {"file": FILE, "start_frame": 2, "frame_count": 5, "stride": 3, "force_rate": 0}
    assert wired(page.to_api())["1"]["inputs"] == wanted


def test_the_app_shows_file_model_strength_and_faces(page):
    show(page, RESTORE_APP)
    page.page.wait_for_timeout(1500)
    leave_welcome(page)
    for name in ("file", "model", "strength", "faces"):
        assert page.page.get_by_text(name, exact=True).first.is_visible()
    shown = page.page.evaluate("() => app.graph.extra.linearData")
    assert len(shown["inputs"]) == 4 and shown["outputs"] == [4, 5]
    show(page, RESTORE_VIDEO)


def test_the_blueprint_is_one_box_that_loads_and_restores(server, page):
    (number,) = (
        number for number, one in server.get("/global_subgraphs").items() if one["name"] == "Restore faces in a video"
    )
    page.load_graph(json.loads(server.get(f"/global_subgraphs/{number}")["data"]))
    page.page.wait_for_timeout(800)
    (box,) = page.page.evaluate(
        "() => app.graph._nodes.map(node => ({ inputs: node.inputs.map(one => one.name),"
        " outputs: node.outputs.map(one => one.name), widgets: node.widgets.map(one => [one.name, one.value]) }))"
    )
    assert box["inputs"][0] == "video" and box["outputs"] == ["video", "report"]
    assert dict(box["widgets"]) == {"model": "vividface-nano", "faces": "all", "face_numbers": "0", "strength": 1}
    inside = {node["class_type"]: node["inputs"] for node in page.to_api().values()}
    assert set(inside) == {"VividFaceLoadModel", "VividFaceOneStepRestore"}
    assert inside["VividFaceOneStepRestore"]["restorer"][1] == 0


def test_every_node_of_a_shipped_graph_names_its_pack(page):
    for path in FOLDER.glob("*.json"):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] != "MarkdownNote":
                own = node["type"].startswith("VividFace")
                assert node["properties"]["cnr_id"] == ("vividface" if own else "comfy-core"), (
                    f"{path.name}: {node['id']}"
                )


def test_values_titles_and_notes_are_in_the_pages_language(server, page):
    texts = json.loads((REPOSITORY / "locales" / "ko" / "main.json").read_text(encoding="utf-8"))
    english = json.loads((REPOSITORY / "locales" / "en" / "main.json").read_text(encoding="utf-8"))
    local = {text: texts["vividfaceTemplates"][key] for key, text in english["vividfaceTemplates"].items()}
    server.post("/settings", {"Comfy.Locale": "ko"})
    page.page.reload()
    page.page.wait_for_function("() => window.app?.graph && window.app?.canvas", timeout=120_000)
    page.page.wait_for_timeout(4000)  # it opens again what was open before
    show(page, RESTORE_ONE_FACE)
    graph, shipped = page.graph(), graph_of(RESTORE_ONE_FACE)
    assert [group["title"] for group in graph["groups"]] == [local[group["title"]] for group in shipped["groups"]]
    notes = [
        [node["widgets_values"][0] for node in one["nodes"] if node["type"] == "MarkdownNote"]
        for one in (graph, shipped)
    ]
    assert notes[0] == [local[text] for text in notes[1]]
    label = page.page.evaluate(
        "() => app.graph._nodes.find(node => node.type === 'VividFaceFaceMask').widgets"
        ".find(widget => widget.name === 'faces').options.getOptionLabel('by number')"
    )
    assert label == f"{texts['vividfaceChoices']['by number']} (by number)"
    assert wired(page.to_api())["3"]["inputs"]["faces"] == "all", "a translation changes no value"
