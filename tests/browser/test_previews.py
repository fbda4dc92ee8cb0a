"""What nodes show beside their results: Video Load its file, One-Step Restore a second before the whole."""

from __future__ import annotations

import json

import pytest

from tests.browser.example_workflows import RESTORE_VIDEO
from tests.browser.make_pictures import view
from tests.browser.page import ComfyPage
from tests.browser.thumbnails import compared
from tests.browser.workflow_inputs import FILE, FOLDER, VIDEO
from vividface_core.video.source import VideoFrames

pytestmark = pytest.mark.slow
BUTTON = "Preview a second"
LOADER = {
    "1": {"class_type": "VividFaceVideoLoad", "inputs": VIDEO},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 4]}},
}


def test_video_load_goes_on_showing_its_file_after_a_run(page, server):
    server.free()  # what comes out of the cache tells the page nothing
    page.load_api(LOADER)
    page.page.wait_for_timeout(1500)
    assert page.run()["status"]["status_str"] == "success"
    page.page.wait_for_timeout(2000)
    assert page.page.get_by_text("Video failed to load").count() == 0
    (shown,) = page.page.evaluate("() => [...document.querySelectorAll('video')].map(one => [one.src, one.videoWidth])")
    assert f"filename={FILE}" in shown[0] and shown[1] == VideoFrames(server.folder / "input" / FILE).size[0]


def press(page: ComfyPage) -> str:
    """Press the node's button as a person does; returns the prompt's id."""

    def is_it(answer) -> bool:
        return answer.url.endswith("/prompt") and answer.request.method == "POST"

    with page.page.expect_response(is_it, timeout=120_000) as caught:
        if page.vue:
            page.page.get_by_role("button", name=BUTTON).click()
        else:
            x, y = page.page.evaluate(
                """label => {
                const node = app.graph._nodes.find(one => one.type === 'VividFaceOneStepRestore')
                const button = node.widgets.find(one => one.label === label)
                const { ds, canvas } = app.canvas
                const box = canvas.getBoundingClientRect()
                const at = [node.pos[0] + node.size[0] / 2, node.pos[1] + button.last_y + 10]
                return at.map((value, axis) => (value + ds.offset[axis]) * ds.scale + [box.left, box.top][axis])
            }""",
                BUTTON,
            )
            page.page.mouse.click(x, y)
    return caught.value.json()["prompt_id"]


def test_the_button_restores_a_second_and_saves_nothing(page, server):
    page.load_graph(json.loads((FOLDER / f"{RESTORE_VIDEO.title}.json").read_text(encoding="utf-8")))
    page.page.wait_for_timeout(1500)
    view(page)
    before = page.to_api()
    entry = server.wait(press(page))
    assert entry["status"]["status_str"] == "success"
    clips = [VideoFrames(path) for path in compared(server, entry)]
    whole = VideoFrames(server.folder / "input" / FILE)
    assert [clip.count for clip in clips] == [round(whole.fps)] * 2 and whole.count > whole.fps
    shown = entry["outputs"]
    assert not any(path.is_file() for path in (server.folder / "output").rglob("*")), "nothing is saved"
    assert shown["6"]["text"][0].startswith("A preview") and shown["3"]["images"], "the report, and the sheet of faces"
    page.page.wait_for_timeout(1000)
    assert page.to_api() == before, "the node is set as it was"
    assert page.page.locator(".vf-compare").first.is_visible()


def test_without_a_node_that_shows_it_the_button_says_so(page):
    graph = json.loads((FOLDER / f"{RESTORE_VIDEO.title}.json").read_text(encoding="utf-8"))
    page.load_graph(graph)
    page.page.wait_for_timeout(1000)
    page.page.evaluate("() => { for (const id of [4, 6]) app.graph.getNodeById(id).mode = 2 }")
    page.page.evaluate("label => app.graph.getNodeById(3).widgets.find(one => one.label === label).callback()", BUTTON)
    said = page.page.get_by_text("the preview is shown there")
    said.first.wait_for(timeout=20_000)
