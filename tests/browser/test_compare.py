"""The picture of Compare Video, used as a person does: real server, real page, real mouse and keys."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.assets import clip, run_ffmpeg
from tests.browser.page import ComfyPage
from tests.comfyui.server import ComfyServer
from tests.paths import REPOSITORY

BITS = 6
FRAMES = 48
RED, BLUE = (200, 30, 30), (30, 30, 200)
NODE = "VividFaceCompareVideo"
READ = """
element => ['before', 'after'].map((side, index) => {
  const canvas = element.querySelectorAll('.vf-compare-picture')[index].querySelector('canvas:not([hidden])')
  if (!canvas) return -1
  const { width, height } = canvas, context = canvas.getContext('2d')
  const bit = i => context.getImageData(Math.floor((i + 0.5) * width / BITS), Math.floor(height / 4), 1, 1).data[1] > 99
  return [...Array(BITS).keys()].reduce((sum, i) => sum + (bit(i) ? 2 ** i : 0), 0)
})
""".replace("BITS", str(BITS))


def numbered(path: Path, color: tuple[int, int, int], width: int, height: int, fps: int = 24) -> Path:
    """Two seconds; the upper half shows the frame's number as dark and light columns (lowest bit left), the lower half
    the colour."""
    bit = f"gt(mod(floor(N/pow(2,floor(X*{BITS}/W))),2),0)"
    shades = ":".join(f"{name}='if(lt(Y,H/2),{bit}*225+15,{value})'" for name, value in zip("rgb", color))
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"color=black:s={width}x{height}:r={fps}:d=2",
        "-vf",
        f"format=gbrp,geq={shades},format=yuv420p",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "18",
        path,
    )
    return path


def face(path: Path, width: int, blur: float) -> Path:
    """One second of a person, for pictures that a person judges."""
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-vf",
        f"fps=24,scale={width // 4}:-2,scale={width}:-2,gblur={blur}" if blur else f"fps=24,scale={width}:-2",
        "-frames:v",
        24,
        "-an",
        "-c:v",
        "libx264",
        "-crf",
        "18",
        "-pix_fmt",
        "yuv420p",
        path,
    )
    return path


def prompt(before: str = "before.mp4", after: str = "after.mp4") -> dict[str, Any]:
    """Two files into Compare Video."""
    load = {"start_frame": 0, "frame_count": 0, "stride": 1}
    return {
        "1": {"class_type": "VividFaceVideoLoad", "inputs": {"file": before, **load}},
        "2": {"class_type": "VividFaceVideoLoad", "inputs": {"file": after, **load}},
        "3": {"class_type": NODE, "inputs": {"before": ["1", 0], "after": ["2", 0], "fps": 24.0}},
    }


class Compare:
    """The widget in the page."""

    def __init__(self, comfy: ComfyPage) -> None:
        self.comfy, self.page = comfy, comfy.page
        self.element = self.page.locator(".vf-compare")

    def part(self, name: str) -> Any:
        """Locator of a part by its class."""
        return self.element.locator(f".vf-compare-{name}")

    def place(self) -> None:
        """The node upper left at full scale, whatever the page's layout was."""
        self.page.evaluate(
            """NODE => {
              const node = app.graph._nodes.find(n => n.type === NODE)
              app.canvas.ds.scale = 1
              app.canvas.ds.offset = [220 - node.pos[0], 150 - node.pos[1]]
              app.canvas.setDirty(true, true)
            }""",
            NODE,
        )
        self.page.wait_for_timeout(400)

    def shown(self) -> list[int]:
        """Frame numbers left and right of the divider, read from the pixels."""
        return self.element.evaluate(READ)

    def counter(self) -> str:
        return self.part("counter").text_content()

    def wait_for(self, frame: int) -> None:
        """Until that frame (from 0) is seen; the pixels of both sides must agree."""
        text = f"Frame {frame + 1} /"
        began = time.monotonic()
        while not self.counter().startswith(text):
            assert time.monotonic() - began < 120, (
                f"{self.counter() or self.part('note').text_content()!r} instead of {text!r}"
            )
            self.page.wait_for_timeout(30)
        assert self.shown() == [frame, frame]

    def divider(self) -> float:
        """Centre of the divider on the page, in pixels."""
        box = self.part("divider").bounding_box()
        return box["x"] + box["width"] / 2

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self.page.mouse.move(*end)
        self.page.mouse.up()
        self.page.wait_for_timeout(100)

    def drag_divider(self, x: float) -> None:
        box = self.part("divider").bounding_box()
        y = box["y"] + box["height"] * 0.75
        self.drag((self.divider(), y), (x, y))

    def color(self, x: float, height: float = 0.75) -> tuple[int, int, int]:
        """What a person sees at ``x`` of the page, at this part of the picture's height."""
        box = self.part("divider").bounding_box()
        clip = {"x": x - 2, "y": box["y"] + box["height"] * height - 2, "width": 4, "height": 4}
        pixels = np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB"))
        return tuple(int(round(value)) for value in pixels.reshape(-1, 3).mean(0))

    def graph_view(self) -> list[float]:
        """Scale and offset of the graph."""
        return self.page.evaluate("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]")

    def picture(self) -> dict[str, float]:
        """The picture's box on the page; it may be larger than the stage."""
        boxes = [self.part("picture").nth(index).bounding_box() for index in range(2)]
        assert boxes[0] == boxes[1]
        return boxes[0]

    def reset(self) -> None:
        """Frame 0, fit, divider in the middle, paused."""
        self.part("fit").click()
        self.part("divider").focus()
        self.page.keyboard.press("Home")
        for _ in range(5):
            self.page.keyboard.press("Shift+ArrowRight")
        self.part("stage").focus()
        self.page.keyboard.press("Home")
        self.wait_for(0)


def is_like(color: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(color, wanted)) < 40


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory) -> Path:
    """Where pictures for a person's eyes go."""
    folder = os.environ.get("VIVIDFACE_ARTEFACTS")
    return Path(folder) / "compare" if folder else tmp_path_factory.mktemp("artefacts")


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    """The page of a server whose input folder holds numbered clips."""
    server = ComfyServer(tmp_path_factory.mktemp("comfyui"))
    inputs = server.folder / "input"
    inputs.mkdir(parents=True)
    numbered(inputs / "before.mp4", RED, 320, 240)
    numbered(inputs / "after.mp4", BLUE, 640, 480)
    numbered(inputs / "slow.mp4", BLUE, 320, 240, fps=12)
    face(inputs / "face_before.mp4", 320, 1)
    face(inputs / "face_after.mp4", 640, 0)
    with server, ComfyPage(server) as page:
        page.page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
        yield page


@pytest.fixture(scope="module")
def hint(comfy, artefacts) -> str:
    """What the widget says before its first run."""
    comfy.load_api(prompt())
    widget = Compare(comfy)
    widget.element.wait_for(timeout=120_000)
    widget.place()
    widget.page.wait_for_function("() => document.querySelector('.vf-compare-note').textContent", timeout=120_000)
    comfy.screenshot(artefacts / "waiting.png")
    return widget.part("note").inner_text()


@pytest.fixture(scope="module")
def executed(comfy, hint) -> Compare:
    """The widget after one run."""
    assert comfy.run()["status"]["status_str"] == "success"
    widget = Compare(comfy)
    widget.place()
    widget.wait_for(0)
    return widget


@pytest.fixture
def compare(executed) -> Compare:
    """The widget at its first frame."""
    executed.reset()
    return executed


def test_asks_for_a_run_before_the_first_one(hint):
    assert hint == "Run the graph to compare"


def test_both_sides_show_their_own_video(compare, artefacts):
    compare.comfy.screenshot(artefacts / "page.png")
    compare.element.screenshot(path=str(artefacts / "widget.png"))
    middle = compare.divider()
    assert is_like(compare.color(middle - 40), RED)
    assert is_like(compare.color(middle + 40), BLUE)
    assert compare.part("sizes").inner_text() == "320×240 → 640×480"


def test_divider_follows_the_mouse(compare, artefacts):
    start = compare.divider()
    view = compare.graph_view()
    compare.drag_divider(start + 90)
    assert compare.divider() == pytest.approx(start + 90, abs=1)
    assert is_like(compare.color(start + 60), RED)
    assert is_like(compare.color(start + 120), BLUE)
    compare.drag_divider(start - 90)
    assert is_like(compare.color(start - 60), BLUE)
    assert is_like(compare.color(start - 120), RED)
    compare.element.screenshot(path=str(artefacts / "divider.png"))
    assert compare.graph_view() == view


def test_divider_by_keys(compare):
    divider = compare.part("divider")
    divider.focus()
    for key, value in (("ArrowRight", 51), ("ArrowLeft", 50), ("Shift+ArrowLeft", 40), ("Home", 0), ("End", 100)):
        compare.page.keyboard.press(key)
        assert int(divider.get_attribute("aria-valuenow")) == value
    assert divider.get_attribute("role") == "slider"
    assert divider.get_attribute("aria-label") == "Divider"
    assert compare.shown() == [0, 0]


def test_steps_are_single_frames_at_both_sides(compare):
    for frame in (1, 2, 3, 4, 5):
        compare.part("next").click()
        compare.wait_for(frame)
    for frame in (4, 3):
        compare.part("previous").click()
        compare.wait_for(frame)
    compare.part("stage").focus()
    compare.page.keyboard.press("ArrowRight")
    compare.wait_for(4)
    compare.page.keyboard.press("End")
    compare.wait_for(FRAMES - 1)
    compare.page.keyboard.press("ArrowRight")
    compare.wait_for(FRAMES - 1)


def test_scrubbing_ends_at_the_frame_under_the_pointer(compare):
    scrub = compare.part("scrub")
    box = scrub.bounding_box()
    y = box["y"] + box["height"] / 2
    compare.drag((box["x"] + 6, y), (box["x"] + box["width"] * 0.6, y))
    frame = int(scrub.input_value())
    assert 0.5 * FRAMES < frame < 0.7 * FRAMES
    compare.wait_for(frame)


def test_playing_never_shows_different_frames(compare):
    compare.part("stage").click()
    compare.page.keyboard.press(" ")
    pairs = []
    for _ in range(40):
        pairs.append(compare.shown())
        compare.page.wait_for_timeout(50)
    compare.page.keyboard.press(" ")
    assert all(before == after for before, after in pairs)
    assert len({before for before, _ in pairs}) > 5
    compare.page.wait_for_timeout(500)
    before, after = compare.shown()
    assert before == after
    assert compare.counter() == f"Frame {before + 1} / {FRAMES}"
    compare.page.wait_for_timeout(300)
    assert compare.shown() == [before, after]


def test_loop_begins_again_and_without_it_playing_ends(compare):
    play, loop = compare.part("play"), compare.part("loop")
    compare.page.keyboard.press("End")
    compare.wait_for(FRAMES - 1)
    compare.page.keyboard.press("ArrowLeft")
    compare.wait_for(FRAMES - 2)
    play.click()
    compare.page.wait_for_function(
        "() => { const n = +document.querySelector('.vf-compare-counter').textContent.split(' ')[1];"
        " return n > 1 && n < 40 }",
        timeout=120_000,
    )
    assert play.get_attribute("aria-label") == "Pause"
    loop.click()
    try:
        compare.page.wait_for_function(
            "() => document.querySelector('.vf-compare-play').getAttribute('aria-label') === 'Play'", timeout=120_000
        )
        compare.wait_for(FRAMES - 1)
    finally:
        loop.click()


def test_wheel_zooms_the_picture_and_not_the_graph(compare, artefacts):
    view, fitting = compare.graph_view(), compare.picture()
    x, y = fitting["x"] + fitting["width"] * 0.25, fitting["y"] + fitting["height"] * 0.25
    compare.page.mouse.move(x, y)
    for _ in range(4):
        compare.page.mouse.wheel(0, -120)
    compare.page.wait_for_timeout(200)
    zoomed = compare.picture()
    assert zoomed["width"] > 2 * fitting["width"]
    # Across, the picture stays centred until it has filled the margins at its sides.
    assert (x - zoomed["x"]) / zoomed["width"] == pytest.approx(0.25, abs=0.04)
    assert (y - zoomed["y"]) / zoomed["height"] == pytest.approx(0.25, abs=0.01)
    compare.element.screenshot(path=str(artefacts / "zoomed.png"))

    compare.drag((x, y), (x - 50, y - 30))
    panned = compare.picture()
    assert panned["x"] == pytest.approx(zoomed["x"] - 50, abs=1)
    assert panned["y"] == pytest.approx(zoomed["y"] - 30, abs=1)

    compare.page.mouse.dblclick(x, y)
    compare.page.wait_for_timeout(200)
    assert compare.picture() == fitting
    assert compare.graph_view() == view


def test_sound_is_off_until_asked_for(compare):
    muted = "element => [...element.querySelectorAll('video')].map(video => video.muted)"
    assert compare.element.evaluate(muted) == [True, True]
    compare.part("sound").click()
    assert compare.element.evaluate(muted) == [False, True]
    compare.part("sound").click()
    assert compare.element.evaluate(muted) == [True, True]


def test_keys_stay_in_the_widget(compare):
    nodes = len(compare.comfy.graph()["nodes"])
    compare.part("stage").click()
    for key in ("Delete", "Backspace", "m", "b"):
        compare.page.keyboard.press(key)
    after = compare.comfy.graph()["nodes"]
    assert len(after) == nodes
    assert all(node["mode"] == 0 for node in after)


def test_a_larger_node_has_a_larger_picture(compare, artefacts):
    before = compare.picture()
    resize = (
        "([NODE, size]) => { app.graph._nodes.find(n => n.type === NODE).setSize(size);"
        " app.canvas.setDirty(true, true) }"
    )
    compare.page.evaluate(resize, [NODE, [820, 640]])
    compare.page.wait_for_timeout(500)
    larger = compare.picture()
    assert larger["width"] > 1.4 * before["width"]
    assert larger["width"] / larger["height"] == pytest.approx(4 / 3, abs=0.01)
    compare.element.screenshot(path=str(artefacts / "large.png"))
    compare.page.evaluate(resize, [NODE, [280, 200]])
    compare.page.wait_for_timeout(500)
    assert compare.part("stage").bounding_box()["height"] > 120
    fit, whole = compare.part("fit").bounding_box(), compare.element.bounding_box()
    assert fit["x"] + fit["width"] <= whole["x"] + whole["width"]
    compare.element.screenshot(path=str(artefacts / "small.png"))
    compare.page.evaluate(resize, [NODE, [480, 420]])
    compare.page.wait_for_timeout(500)


def test_a_second_run_keeps_divider_zoom_and_frame(compare):
    for frame in (1, 2, 3):
        compare.part("next").click()
        compare.wait_for(frame)
    start = compare.divider()
    compare.drag_divider(start + 60)
    compare.page.mouse.move(start - 60, compare.picture()["y"] + 60)
    compare.page.mouse.wheel(0, -120)
    compare.page.wait_for_timeout(100)
    place, box = compare.divider(), compare.picture()
    old = compare.element.evaluate("element => element.querySelector('video').src")
    compare.page.evaluate(
        "NODE => { const w = app.graph._nodes.find(n => n.type === NODE).widgets.find(w => w.name === 'fps');"
        " w.value = w.value === 24 ? 25 : 24 }",
        NODE,
    )
    assert compare.comfy.run()["status"]["status_str"] == "success"
    compare.page.wait_for_function("old => document.querySelector('.vf-compare video').src !== old", arg=old)
    compare.wait_for(3)
    assert compare.divider() == pytest.approx(place, abs=0.5)
    assert compare.picture() == box


def test_saved_workflow_and_prompt_know_nothing_of_it(compare):
    graph = compare.comfy.graph()
    [node] = [node for node in graph["nodes"] if node["type"] == NODE]
    assert len(node["widgets_values"]) == 1 and node["widgets_values"][0] in (24, 25)
    [api] = [node for node in compare.comfy.to_api().values() if node["class_type"] == NODE]
    assert set(api["inputs"]) == {"before", "after", "fps"}
    assert "vividface_compare" not in json.dumps(graph)


def test_different_rates_meet_at_the_same_time(comfy, executed):
    executed.page.evaluate(
        """files => {
          const [before, after] = files.map(f => ({ filename: f.name, subfolder: '', type: 'input', fps: f.fps,
                                                    frames: f.fps * 2, width: 320, height: 240 }))
          app.graph._nodes.find(n => n.type === 'VividFaceCompareVideo').onExecuted(
            { vividface_compare: [{ before, after }] })
        }""",
        [{"name": "before.mp4", "fps": 24}, {"name": "slow.mp4", "fps": 12}],
    )
    executed.page.wait_for_function("() => document.querySelectorAll('.vf-compare video').length === 2")
    executed.page.wait_for_timeout(500)
    executed.part("stage").focus()
    executed.page.keyboard.press("Home")
    for frame in range(1, 6):
        executed.page.keyboard.press("ArrowRight")
        executed.page.wait_for_function(
            "n => document.querySelector('.vf-compare-counter').textContent.startsWith(`Frame ${n} /`)", arg=frame + 1
        )
        assert executed.shown() == [frame, frame // 2]


def test_a_missing_or_broken_file_is_told(comfy, executed, artefacts):
    (comfy.server.folder / "input" / "broken.mp4").write_bytes(b"not a video" * 100)
    for name, said in (("gone.mp4", "no longer there"), ("broken.mp4", "can't play")):
        executed.page.evaluate(
            """name => {
              const one = filename => ({ filename, subfolder: '', type: 'input', fps: 24, frames: 48, width: 320,
                                         height: 240 })
              app.graph._nodes.find(n => n.type === 'VividFaceCompareVideo').onExecuted(
                { vividface_compare: [{ before: one('before.mp4'), after: one(name) }] })
            }""",
            name,
        )
        executed.page.wait_for_function(
            """([name, said]) => {
              const note = document.querySelector('.vf-compare-note').textContent
              return note.includes(name) && note.includes(said)
            }""",
            arg=[name, said],
            timeout=120_000,
        )
        assert executed.part("play").is_disabled()
    executed.element.screenshot(path=str(artefacts / "unplayable.png"))


def test_saved_and_loaded_again_it_works(comfy, executed, artefacts):
    # As a file holds it: without what is undefined.
    graph = comfy.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    comfy.load_graph(graph)
    widget = Compare(comfy)
    widget.element.wait_for(timeout=120_000)
    assert widget.page.locator(".vf-compare").count() == 1
    again = comfy.graph()
    saved, loaded = ([(n["type"], n["size"], n["widgets_values"]) for n in g["nodes"]] for g in (graph, again))
    assert saved == loaded
    widget.page.evaluate("NODE => { app.graph._nodes.find(n => n.type === NODE).widgets[0].value = 23 }", NODE)
    assert comfy.run()["status"]["status_str"] == "success"
    widget.place()
    widget.wait_for(0)


def test_outputs_that_the_page_kept_need_no_run(comfy, executed):
    """As another tab of the page and a job out of the history bring them back."""
    outputs = comfy.page.evaluate("() => JSON.parse(JSON.stringify(app.nodeOutputs))")
    assert any("vividface_compare" in output for output in outputs.values())
    comfy.load_graph(comfy.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))
    widget = Compare(comfy)
    widget.element.wait_for(timeout=120_000)
    widget.place()
    assert widget.part("note").text_content() == "Run the graph to compare"
    comfy.page.evaluate("outputs => { app.nodeOutputs = outputs }", outputs)
    widget.wait_for(0)


def test_nodes_2(comfy, executed, artefacts):
    """The same in nodes that are elements of the page; there the wheel is the widget's once it has the focus."""
    comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    try:
        comfy.page.locator(".lg-node .vf-compare").wait_for(timeout=120_000)
        widget = Compare(comfy)
        widget.place()
        comfy.screenshot(artefacts / "nodes2.png")
        widget.reset()
        start, fitting = widget.divider(), widget.picture()
        node = "() => [...app.graph._nodes.find(n => n.type === 'VividFaceCompareVideo').pos]"
        view, place = widget.graph_view(), comfy.page.evaluate(node)
        widget.drag_divider(start + 60)
        assert widget.divider() == pytest.approx(start + 60, abs=1)
        widget.part("stage").click(position={"x": 60, "y": 60})
        widget.page.mouse.wheel(0, -120)
        widget.page.wait_for_timeout(200)
        assert widget.picture()["width"] > 1.2 * fitting["width"]
        widget.page.keyboard.press("ArrowRight")
        widget.wait_for(1)
        assert widget.graph_view() == view
        assert comfy.page.evaluate(node) == place
        comfy.screenshot(artefacts / "nodes2_used.png")
    finally:
        comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
        comfy.page.wait_for_timeout(800)


def test_light_palette(comfy, executed, artefacts):
    """With a real face, for the eyes: `VIVIDFACE_ARTEFACTS` says where the pictures go."""
    for number, file in (("1", "face_before.mp4"), ("2", "face_after.mp4")):
        comfy.page.evaluate(
            "([id, file]) => { app.graph.getNodeById(id).widgets[0].value = file }", [int(number), file]
        )
    assert comfy.run()["status"]["status_str"] == "success"
    widget = Compare(comfy)
    widget.page.wait_for_function("() => document.querySelector('.vf-compare-counter').textContent.endsWith('/ 24')")
    assert widget.part("note").inner_text() == ""
    widget.part("next").click()
    widget.page.wait_for_timeout(500)
    widget.element.screenshot(path=str(artefacts / "face.png"))
    comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'light')")
    comfy.page.wait_for_timeout(800)
    comfy.screenshot(artefacts / "light.png")
    comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    comfy.page.wait_for_timeout(500)


def test_a_removed_node_lets_go_of_its_videos(comfy, executed):
    comfy.page.evaluate(
        """NODE => {
          const node = app.graph._nodes.find(n => n.type === NODE)
          window.lastVideos = [...node.widgets.find(w => w.element).element.querySelectorAll('video')]
          app.graph.remove(node)
        }""",
        NODE,
    )
    comfy.page.wait_for_timeout(500)
    assert comfy.page.evaluate("() => window.lastVideos.length") == 2
    assert comfy.page.evaluate("() => window.lastVideos.every(v => v.paused && !v.getAttribute('src'))")
    assert comfy.page.locator(".vf-compare").count() == 0


def test_the_page_reported_no_error_of_the_pack(comfy):
    assert [text for text in comfy.errors if "vividface" in text.lower() or "compare" in text.lower()] == []


def test_texts_are_of_the_pages_language(comfy):
    texts = json.loads((REPOSITORY / "locales" / "fr" / "main.json").read_text())["vividface"]
    comfy.server.post("/settings", {"Comfy.Locale": "fr"})
    page = comfy.page.context.browser.new_page()
    try:
        page.goto(comfy.server.address)
        page.wait_for_function("() => window.app?.graph && window.app?.canvas", timeout=120_000)
        page.evaluate("prompt => window.app.loadApiJson(prompt, 'workflow')", prompt())
        page.wait_for_function(
            "text => document.querySelector('.vf-compare-note')?.textContent === text", arg=texts["waiting"]
        )
        assert page.locator(".vf-compare-play").get_attribute("aria-label") == texts["play"]
        assert page.locator(".vf-compare-divider").get_attribute("aria-label") == texts["divider"]
    finally:
        page.close()
        comfy.server.post("/settings", {"Comfy.Locale": "en"})
