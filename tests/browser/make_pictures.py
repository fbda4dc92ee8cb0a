"""The pictures of ``docs/comfyui/``, taken from ComfyUI's real page.

``python -m tests.browser.make_pictures [NAME ...]`` takes those of these workflows, or all, one after the other: a run
which is cut short goes on with the names that are left. ``--vue`` takes them with the page's Vue nodes,
``--into FOLDER`` puts them elsewhere. ``COMFY_HOME`` names whose page (see ``tests/comfyui/server.py``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.chained_workflows import DEFLICKER_RESTORE, DEFLICKER_VIDEO, RESTORE_BEHIND_UPSCALER
from tests.browser.clips import HARD, HEIGHT, MAN, WOMAN, Person, people, write_clip, write_spoilt
from tests.browser.example_workflows import (
    DEGRADE_RESTORE_METRICS,
    MASK_GUIDED_RESTORE,
    RESTORE_APP,
    RESTORE_ONE_FACE,
    RESTORE_VIDEO,
    SCORE_FOLDER,
)
from tests.browser.graphs import Workflow
from tests.browser.make_workflows import chosen
from tests.browser.page import ComfyPage
from tests.browser.thumbnails import darkened, last_saved
from tests.browser.workflow_inputs import FILE, FOLDER, SHARP
from tests.comfyui.server import ComfyServer
from tests.paths import REPOSITORY

PICTURES = REPOSITORY / "docs" / "comfyui"
LARGEST = 400_000
SHOW = {"LiteGraph.Canvas.MinFontSizeForLOD": 0, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
"""Settings of the page for pictures: text at every zoom, and nothing over the graph."""
WIDE = Person("wolfgang", 370, 0.1)
SHOWN = {
    RESTORE_VIDEO.name: (WIDE,),
    RESTORE_APP.name: (WIDE,),
    RESTORE_ONE_FACE.name: (MAN, WOMAN),
    MASK_GUIDED_RESTORE.name: (WIDE,),
    DEGRADE_RESTORE_METRICS.name: (WIDE,),
    SCORE_FOLDER.name: (WIDE,),
    DEFLICKER_VIDEO.name: (WIDE,),
    DEFLICKER_RESTORE.name: (WIDE,),
    RESTORE_BEHIND_UPSCALER.name: (WIDE,),
}


def compress(path: Path, target: Path) -> Path:
    """The same picture small enough for a repository: in all its colours if it can be, else in 256.

    Raises:
        RuntimeError: it is too large even so.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(path).convert("RGB")
    for colours in (picture, picture.quantize(256, dither=Image.Dither.NONE)):
        colours.save(target, optimize=True)
        if target.stat().st_size <= LARGEST:
            return target
    raise RuntimeError(f"{target.name} has {target.stat().st_size} bytes")


def open_shipped(page: ComfyPage, workflow: Workflow) -> None:
    """Open a shipped workflow and bring it into view."""
    page.load_graph(json.loads((FOLDER / f"{workflow.title}.json").read_text(encoding="utf-8")))
    page.page.wait_for_timeout(1500)
    view(page)


def view(page: ComfyPage, margin: int = 24) -> None:
    """Show the whole graph between the page's own bars."""
    page.page.evaluate(
        """margin => {
        const { graph, canvas } = window.app
        const parts = [...graph._groups.map(g => [g.pos, g.size]), ...graph._nodes.map(n => [n.pos, n.size])]
        const left = Math.min(...parts.map(([p]) => p[0])), top = Math.min(...parts.map(([p]) => p[1]))
        const right = Math.max(...parts.map(([p, s]) => p[0] + s[0]))
        const bottom = Math.max(...parts.map(([p, s]) => p[1] + s[1]))
        const free = { left: 60, top: 100, right: innerWidth, bottom: innerHeight - 70 }
        const scale = Math.min((free.right - free.left - 2 * margin) / (right - left),
                               (free.bottom - free.top - margin) / (bottom - top), 1)
        const x = (free.left + free.right) / 2 - (left + right) / 2 * scale
        const y = (free.top + free.bottom) / 2 - (top + bottom) / 2 * scale
        const box = canvas.canvas.getBoundingClientRect()
        canvas.ds.scale = scale
        canvas.ds.offset = [(x - box.left) / scale, (y - box.top) / scale]
        canvas.setDirty(true, true)
    }""",
        margin,
    )
    page.page.wait_for_timeout(800)


def drag_divider(page: ComfyPage, share: float) -> None:
    """Drag Compare Video's divider to a share of the picture's width."""
    handle, seen = (page.page.locator(name).first.bounding_box() for name in (".vf-compare-divider", ".vf-compare"))
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(seen["x"] + seen["width"] * share, y, steps=8)
    page.page.mouse.up()
    page.page.mouse.move(page.page.viewport_size["width"] / 2, page.page.viewport_size["height"] - 20)
    page.page.evaluate("() => window.app.canvas.deselectAll()")
    page.page.wait_for_timeout(800)


def take(server: ComfyServer, workflow: Workflow, target: Path) -> None:
    """Run a workflow in the page and take its picture."""
    frames = people(SHOWN[workflow.name], HEIGHT, 17)
    sharp, flickers = workflow is DEGRADE_RESTORE_METRICS, workflow in (DEFLICKER_VIDEO, DEFLICKER_RESTORE)
    shown = darkened(frames) if flickers else frames if sharp else HARD(frames)
    write_clip(server.folder / "input" / (SHARP if sharp else FILE), shown)
    if workflow is SCORE_FOLDER:
        write_spoilt(server.folder / "input", frames)
    with ComfyPage(server) as page:
        open_shipped(page, workflow)
        if workflow.app:
            leave_welcome(page)
        last_saved(server, page.run())
        page.page.wait_for_timeout(4000)
        if not workflow.app:
            view(page)
            if workflow not in (RESTORE_ONE_FACE, SCORE_FOLDER):
                drag_divider(page, 0.71)
        compress(page.screenshot(server.folder / "page.png"), target)


def leave_welcome(page: ComfyPage) -> None:
    """Close what App mode shows a newcomer."""
    skip = page.page.get_by_role("button", name="Skip")
    if skip.count():
        skip.first.click()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="workflows; default: all")
    parser.add_argument("--vue", action="store_true", help="with Vue nodes instead of the classic ones")
    parser.add_argument("--into", type=Path, default=PICTURES, metavar="FOLDER", help="default: docs/comfyui")
    args = parser.parse_args()
    workflows = chosen(args.names)
    with tempfile.TemporaryDirectory() as scratch, ComfyServer(Path(scratch)) as server:
        server.post("/settings", {**SHOW, "Comfy.VueNodes.Enabled": args.vue})
        for workflow in workflows:
            take(server, workflow, args.into / f"{workflow.name}.png")
            print(workflow.name, flush=True)


if __name__ == "__main__":
    main()
