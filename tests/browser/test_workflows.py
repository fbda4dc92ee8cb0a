"""The shipped workflows in ComfyUI's real page: they open as they are, run by its button, and do what they say."""

from __future__ import annotations

import io
import json
import os
import urllib.parse
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.browser.clips import FRINGE, SHORT_HAIR, SPOILT, people, read_clip, write_clip, write_spoilt
from tests.browser.example_workflows import (
    DEGRADE_RESTORE_METRICS,
    MASK_GUIDED_RESTORE,
    RESTORE_APP,
    RESTORE_ONE_FACE,
    RESTORE_VIDEO,
    SCORE_FOLDER,
    WORKFLOWS,
)
from tests.browser.graphs import Workflow, lay_out, marked, overlaps, plain, wired
from tests.browser.make_pictures import SHOW, view
from tests.browser.page import ComfyPage
from tests.browser.thumbnails import compared, last_saved
from tests.browser.workflow_inputs import API_FOLDER, FILE, FOLDER, SHARP
from tests.comfyui.server import PACK, ComfyServer, comfy_version
from vividface_core.degrade import Degradation
from vividface_core.mllm.judges.technical import TechnicalJudge
from vividface_core.mllm.rubric import RUBRIC

pytestmark = pytest.mark.slow
FRAMES, HEIGHT, FPS = 17, 160, 24
NAMES = [workflow.name for workflow in WORKFLOWS]
TITLES = {workflow.name: workflow.title for workflow in WORKFLOWS}
SAVING = [name for name in NAMES if name in (RESTORE_VIDEO.name, RESTORE_ONE_FACE.name, MASK_GUIDED_RESTORE.name)]
"""Those that restore a degraded video and save it."""
LEFT, RIGHT = slice(75, 140), slice(265, 312)
"""Columns with the face of the left and of the right person."""
FACES = slice(55, 125)
"""Rows with both faces."""
NESTED = (0, 13)
"""The first versions whose core nodes have nested choices and more inputs and outputs."""
CORE_NODES = ("CreateVideo", "GetVideoComponents", "MaskPreview", "PreviewAny", "PreviewImage", "SaveVideo")
"""Core nodes in shipped graphs that have gained inputs or outputs."""
NOISE = ("Failed to load resource", "[Jobs API]", "graph accessed before initialization")
"""What this page reports on this server without any pack."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ComfyServer:
    with ComfyServer(tmp_path_factory.mktemp("comfy")) as running:
        clean = people([FRINGE, SHORT_HAIR], HEIGHT, FRAMES)
        write_clip(running.folder / "input" / FILE, Degradation(2, 2, 5, 25)(clean), FPS)
        running.post("/settings", SHOW)
        yield running


@pytest.fixture(scope="module")
def page(server) -> ComfyPage:
    with ComfyPage(server) as opened:
        yield opened


@pytest.fixture
def artefacts(tmp_path) -> Path:
    """Where screenshots go."""
    return Path(os.environ.get("VIVIDFACE_ARTEFACTS") or tmp_path)


def shipped(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workflow's graph and its API form."""
    api = RESTORE_VIDEO.name if name == RESTORE_APP.name else name
    return tuple(
        json.loads(path.read_text(encoding="utf-8"))
        for path in (FOLDER / f"{TITLES[name]}.json", API_FOLDER / f"{api}.api.json")
    )


def open_graph(page: ComfyPage, name: str) -> None:
    page.load_graph(shipped(name)[0])
    page.page.wait_for_timeout(1000)


def as_here(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph without what the core's own nodes have gained since the version whose page writes the shipped files."""
    if comfy_version() < NESTED:
        return graph
    gained = ("inputs", "outputs", "widgets_values", "widgets_values_named")
    nodes = [
        {name: value for name, value in node.items() if name not in gained or node["type"] not in CORE_NODES}
        for node in graph["nodes"]
    ]
    return {**graph, "nodes": nodes}


def sizes(graph: dict[str, Any]) -> dict[int, Any]:
    """Of the nodes, but for Save Video where the page makes that as small as it can: a video makes it grow again."""
    shrunk = ("SaveVideo",) if comfy_version() >= NESTED else ()
    return {node["id"]: node["size"] for node in graph["nodes"] if node["type"] not in shrunk}


def own_errors(page: ComfyPage) -> list[str]:
    return [text for text in page.errors if not any(known in text for known in NOISE)]


def source(server: ComfyServer) -> np.ndarray:
    return read_clip(server.folder / "input" / FILE)


def changed(restored: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Mean difference of every pixel over time and colours, of 255."""
    return np.abs(restored.astype(np.float32) - before).mean((0, 3))


def check_result(server: ComfyServer, name: str, path: Path) -> None:
    """A saved result against its source: timing, sound and size the same, faces restored, the rest left alone."""
    with av.open(str(path)) as result:
        video, (audio,) = result.streams.video[0], result.streams.audio
        assert video.average_rate == Fraction(FPS)
        assert sum(packet.size for packet in result.demux(audio)) > 1000
    before, restored = source(server), read_clip(path)
    assert restored.shape == before.shape
    difference = changed(restored, before)
    left, right, background = difference[FACES, LEFT], difference[FACES, RIGHT], difference[:24, :40]
    print(f"{name}: left {left.mean():.2f}, right {right.mean():.2f}, background {background.mean():.2f}")
    assert background.mean() < 2 and left.mean() > 3
    if name == RESTORE_ONE_FACE.name:
        assert right.mean() < 0.5 * left.mean()
    else:
        assert right.mean() > 3


def test_the_server_offers_the_templates_with_their_pictures(server):
    assert sorted(server.get("/workflow_templates")[PACK]) == sorted(TITLES.values())
    for name in NAMES:
        address = f"{server.address}/api/workflow_templates/{PACK}/{urllib.parse.quote(TITLES[name])}"
        with urllib.request.urlopen(f"{address}.jpg") as answer:
            assert answer.status == 200
            with Image.open(io.BytesIO(answer.read())) as picture:
                assert picture.format == "JPEG" and picture.size == (512, 512)
        with urllib.request.urlopen(f"{address}.json") as answer:
            assert json.load(answer) == shipped(name)[0]


def test_the_templates_dialog_shows_and_opens_them(page, artefacts):
    page.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_text(PACK).first.click(timeout=120_000)
    card = dialog.get_by_text(RESTORE_VIDEO.title).first
    card.wait_for(timeout=120_000)
    page.page.wait_for_timeout(1500)
    page.screenshot(artefacts / "templates.png")
    widths = dialog.locator("img").evaluate_all("pictures => pictures.map(picture => picture.naturalWidth)")
    assert widths.count(512) == len(NAMES)
    card.click()
    page.page.wait_for_timeout(2500)
    assert wired(page.to_api()) == wired(shipped(RESTORE_VIDEO.name)[1])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_the_shipped_files_are_those_that_the_command_makes(page, workflow: Workflow):
    graph, prompt = shipped(workflow.name)
    assert wired(prompt) == wired(workflow.api())
    lay_out(page, workflow)
    assert as_here(marked(plain(page.graph()), workflow)) == as_here(graph)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_opens_tidy_and_equals_its_api_file(page, artefacts, name):
    if name == RESTORE_APP.name:
        pytest.skip("opens in App mode: see test_todays_page.py")
    graph, prompt = shipped(name)
    before = own_errors(page)
    open_graph(page, name)
    view(page)
    page.screenshot(artefacts / f"{name}_opened.png")
    assert page.missing_nodes() == []
    assert own_errors(page) == before
    assert page.to_api().keys() == prompt.keys()
    assert wired(page.to_api()) == wired(prompt)
    opened = page.graph()
    assert overlaps(opened) == []
    assert sizes(opened) == sizes(graph)


@pytest.mark.parametrize("name", SAVING)
def test_a_graph_runs_by_the_button(page, server, artefacts, name):
    open_graph(page, name)
    before = own_errors(page)
    entry = page.run()
    (result,) = last_saved(server, entry)
    page.page.wait_for_timeout(2000)
    view(page)
    page.screenshot(artefacts / f"{name}_run.png")
    check_result(server, name, result)
    assert own_errors(page) == before
    assert overlaps(page.graph()) == []  # previews have room
    assert any("vividface_compare" in shown for shown in entry["outputs"].values())
    (report,) = (shown["text"][0] for shown in entry["outputs"].values() if "text" in shown)
    assert f"{FRAMES} frames" in report
    assert ("1 face track\n" if name == RESTORE_ONE_FACE.name else "2 face tracks\n") in report


@pytest.mark.parametrize("name", SAVING)
def test_an_api_file_runs_without_the_page(server, name):
    server.free()  # nothing comes out of the cache
    entry = server.wait(server.queue(shipped(name)[1]))
    (result,) = last_saved(server, entry)
    check_result(server, name, result)


@pytest.fixture
def sharp(server):
    """The sharp clip under the name that the workflow opens; afterwards the pack's own again."""
    path = server.folder / "input" / SHARP
    own = path.read_bytes()
    write_clip(path, people([FRINGE, SHORT_HAIR], HEIGHT, FRAMES), FPS)
    yield read_clip(path)
    path.write_bytes(own)


def psnr(clip: np.ndarray, truth: np.ndarray) -> float:
    """Mean over frames, of 8 bits."""
    errors = np.square(clip.astype(np.float64) - truth).mean((1, 2, 3))
    return float((10 * np.log10(255**2 / errors)).mean())


def check_figures(server: ComfyServer, entry: dict[str, Any], sharp: np.ndarray) -> str:
    """The table's PSNR is that of the files which Compare Video shows, and both parts of the work can be seen."""
    degraded, restored = map(read_clip, compared(server, entry))
    assert degraded.shape == restored.shape == sharp.shape
    (table,) = entry["outputs"]["8"]["text"]
    cells = {
        row[0]: row[1:]
        for row in (
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
        )
    }
    assert cells["clip"] == ["PSNR ↑", "Identity (MobileFaceNet) ↑", "AKD ×1000 ↓", "Temporal ↓"]
    assert "not measured" not in table
    wanted = {"input": psnr(degraded, sharp), "output": psnr(restored, sharp)}
    print(f"PSNR {wanted}, table {cells['input']}, {cells['output']}")
    for name, value in wanted.items():
        # Whoever makes RGB of the same samples rounds a little differently.
        assert float(cells[name][0]) == pytest.approx(value, abs=0.2)
    assert 15 < wanted["input"] < 35, "it was degraded"
    assert changed(restored, degraded)[FACES, LEFT].mean() > 2, "it was restored"
    return table


def test_degrading_restoring_and_measuring_runs_by_the_button(page, server, artefacts, sharp):
    name = DEGRADE_RESTORE_METRICS.name
    open_graph(page, name)
    before = own_errors(page)
    entry = page.run()
    page.page.wait_for_timeout(2000)
    view(page)
    page.screenshot(artefacts / f"{name}_run.png")
    table = check_figures(server, entry, sharp)
    assert own_errors(page) == before and overlaps(page.graph()) == []
    shown = page.page.evaluate("""() => {
        const [picture] = window.app.graph.getNodeById(7).imgs
        const text = window.app.graph.getNodeById(8).widgets.find(one => typeof one.value === 'string')
        return [picture.naturalWidth, picture.naturalHeight, text.value]
    }""")
    (plot,) = last_saved(server, entry, "temp", ["7"])
    assert tuple(shown[:2]) == Image.open(plot).size and shown[2] == table
    drawn = json.loads(entry["outputs"]["4"]["text"][0])
    assert (drawn["preset"], drawn["seed"]) == ("vividface", 8)
    assert wired(page.to_api()) == wired(shipped(name)[1]), "the seed stands still"


def test_degrading_restoring_and_measuring_runs_without_the_page(server, sharp):
    server.free()
    entry = server.wait(server.queue(shipped(DEGRADE_RESTORE_METRICS.name)[1]))
    check_figures(server, entry, sharp)


@pytest.fixture
def spoilt(server):
    """More videos in the input folder, one sharp and the others not, for as long as the test runs."""
    paths = write_spoilt(server.folder / "input", people([FRINGE, SHORT_HAIR], HEIGHT, FRAMES))
    sharp = server.folder / "input" / SHARP
    own = sharp.read_bytes()
    sharp.unlink()  # only the degraded clip and those that are written here
    yield server.folder / "input"
    sharp.write_bytes(own)
    for path in paths:
        path.unlink()


def check_scores(server: ComfyServer, entry: dict[str, Any], folder: Path) -> None:
    """The table is the engine's, the sharp video is the best, and each copy lies in its tier's folder."""
    assert entry["status"]["status_str"] == "success"
    (table,) = entry["outputs"]["1"]["vividface_table"]
    finals = {row[0]: float(row[table["head"].index("final")]) for row in table["rows"]}
    judge = TechnicalJudge()
    assert finals == {
        name: judge.judge(folder / name).assessment.final for name in (*(f"{name}.mp4" for name in SPOILT), FILE)
    }
    assert finals["a_sharp.mp4"] == max(finals.values()) > 5 + finals["d_hard.mp4"]
    copies = (server.folder / "output" / "VividFace" / "scores" / "sorted").rglob("*.mp4")
    assert {path.name: path.parent.name for path in copies} == {
        name: RUBRIC.tier(final) for name, final in finals.items()
    }
    (one,) = entry["outputs"]["4"]["vividface_table"]
    assert float(one["title"].split()[0]) == finals[FILE]


def test_scoring_a_folder_runs_by_the_button_and_shows_its_tables(page, server, artefacts, spoilt):
    name = SCORE_FOLDER.name
    open_graph(page, name)
    before = own_errors(page)
    entry = page.run()
    page.page.wait_for_timeout(1500)
    view(page)
    page.screenshot(artefacts / f"{name}_run.png")
    check_scores(server, entry, spoilt)
    assert own_errors(page) == before and overlaps(page.graph()) == []
    shown = page.page.locator(".vf-table")
    for number, node in enumerate(("1", "4")):
        (table,) = entry["outputs"][node]["vividface_table"]
        assert shown.nth(number).locator(".vf-table-title").inner_text() == table["title"]
        cells = (
            shown.nth(number)
            .locator("tbody tr")
            .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
        )
        assert cells == table["rows"]
        assert shown.nth(number).evaluate("one => one.scrollWidth <= one.clientWidth"), "no column is cut"
    assert wired(page.to_api()) == wired(shipped(name)[1]), "the tables are no part of the prompt"
    saved = {node["id"]: node for node in page.graph()["nodes"]}
    for node in shipped(name)[0]["nodes"]:
        assert saved[node["id"]].get("widgets_values") == node.get("widgets_values"), "nor of the saved graph"


def test_scoring_a_folder_runs_without_the_page(server, spoilt):
    check_scores(server, server.wait(server.queue(shipped(SCORE_FOLDER.name)[1])), spoilt)


YOUNGER = ("identity_guard", "identity_threshold", "keep_size", "scale")
"""Inputs of the restore nodes that came later, in their order."""


@pytest.mark.parametrize("without", [YOUNGER, YOUNGER[2:]], ids=["guard", "keep_size"])
@pytest.mark.parametrize("name", SAVING)
def test_a_graph_saved_before_younger_inputs_opens_with_its_values(page, name, without):
    graph, prompt = shipped(name)
    (node,) = (node for node in graph["nodes"] if node["type"].startswith("VividFaceOneStepRestore"))
    without = [name for name in without if any(one["name"] == name for one in node["inputs"])]
    node["inputs"] = [one for one in node["inputs"] if one["name"] not in without]
    del node["widgets_values"][-len(without) :], node["widgets_values_named"]
    page.load_graph(graph)
    page.page.wait_for_timeout(1000)
    assert page.missing_nodes() == []
    assert wired(page.to_api()) == wired(prompt), "younger inputs have their defaults, everything else what was saved"


def test_with_ffv1_everything_but_the_face_stays_bit_for_bit(server):
    prompt = shipped(RESTORE_ONE_FACE.name)[1]
    (restore,) = (node for node in prompt.values() if node["class_type"] == "VividFaceOneStepRestore")
    restore["inputs"]["encoding"] = "ffv1"
    (result,) = last_saved(server, server.wait(server.queue(prompt)))
    difference = changed(read_clip(result), source(server))
    assert (difference[:, 210:] == 0).all()
    assert difference[FACES, LEFT].mean() > 2


def test_what_is_painted_by_hand_stays_as_it_was(page, server, artefacts):
    """The way of the note: run, copy the first frame, paste it, paint, switch on, run."""
    open_graph(page, MASK_GUIDED_RESTORE.name)
    (unpainted,) = last_saved(server, page.run())
    page.page.wait_for_timeout(1500)
    page.page.evaluate("""() => {
        const { ComfyApp } = window.comfyAPI.app, node = id => window.app.graph.getNodeById(id)
        ComfyApp.copyToClipspace(node(13))
        ComfyApp.pasteFromClipspace(node(5))
    }""")
    page.page.wait_for_timeout(1000)
    assert "[temp]" in page.page.evaluate("() => window.app.graph.getNodeById(5).widgets[0].value")
    page.page.evaluate("""() => {
        const node = window.app.graph.getNodeById(5)
        window.app.canvas.selectNodes([node])
        window.app.extensionManager.command.execute('Comfy.MaskEditor.OpenMaskEditor')
    }""")
    editor = page.page.get_by_role("dialog").filter(has_text="Mask Editor")
    editor.wait_for(timeout=120_000)
    page.page.wait_for_timeout(3000)
    box = max((canvas.bounding_box() for canvas in editor.locator("canvas").all()), key=lambda box: box["width"])
    scale = box["width"] / people([FRINGE, SHORT_HAIR], HEIGHT, 1).shape[3]
    mouse = page.page.mouse
    for y in range(58, 92, 4):
        mouse.move(box["x"] + 80 * scale, box["y"] + y * scale)
        mouse.down()
        mouse.move(box["x"] + 140 * scale, box["y"] + y * scale, steps=12)
        mouse.up()
    page.page.wait_for_timeout(500)
    page.screenshot(artefacts / "mask_editor.png")
    editor.get_by_role("button", name="Save").click()
    editor.wait_for(state="hidden", timeout=120_000)
    page.page.wait_for_timeout(1500)
    page.page.evaluate(
        "() => { const { graph, canvas } = window.app; "
        "canvas.selectNodes([graph.getNodeById(5), graph.getNodeById(6)]); canvas.canvas.focus() }"
    )
    page.page.keyboard.press("Control+b")
    page.page.wait_for_timeout(300)
    (result,) = last_saved(server, page.run())
    page.page.wait_for_timeout(1500)
    view(page)
    page.screenshot(artefacts / "mask_guided_restore_painted.png")
    assert {"5", "6"} <= page.to_api().keys()
    eyes, below = (slice(60, 88), slice(85, 135)), (slice(106, 125), LEFT)
    before, after = (changed(read_clip(path), source(server)) for path in (unpainted, result))
    print(
        f"eyes {before[eyes].mean():.2f} → {after[eyes].mean():.2f}, "
        f"below {before[below].mean():.2f} → {after[below].mean():.2f}"
    )
    assert after[eyes].mean() < 0.5 * before[eyes].mean()
    assert after[below].mean() > 0.7 * before[below].mean()
