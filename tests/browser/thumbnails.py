"""The templates' pictures, made from real runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from tests.browser.chained_workflows import DEFLICKER_RESTORE, DEFLICKER_VIDEO
from tests.browser.clips import HARD, HEIGHT, MAN, SPOILT, WOMAN, people, read_clip, write_clip, write_spoilt
from tests.browser.example_workflows import DEGRADE_RESTORE_METRICS, RESTORE_ONE_FACE, SCORE_FOLDER
from tests.browser.graphs import Workflow
from tests.browser.workflow_inputs import FILE, SHARP
from tests.comfyui.server import ComfyServer, error_of

SHOWN = 4
"""The frame that pictures show."""
SIDE = 512
"""Of a template's picture."""
FIRST, CHART = (476, 256), 270
"""Pixels of a plot's first chart with its margins; height that it takes of a template's picture."""


def last_saved(
    server: ComfyServer, entry: dict[str, Any], kind: str = "output", nodes: Sequence[str] | None = None
) -> list[Path]:
    """Files of a finished run (of some of its nodes) that lie in one of the server's folders, in the nodes' order.

    Raises:
        RuntimeError: the run failed.
    """
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(error_of(entry))
    outputs = sorted(entry["outputs"].items(), key=lambda item: int(item[0]))
    return [
        server.folder / kind / one["subfolder"] / one["filename"]
        for number, shown in outputs
        if nodes is None or number in nodes
        for one in shown.get("images", [])
        if one["type"] == kind
    ]


def half_and_half(before: Image.Image, after: Image.Image) -> Image.Image:
    """Left half of one, right half of the other, with a line between."""
    picture = after.copy()
    picture.paste(before.crop((0, 0, before.width // 2, before.height)))
    ImageDraw.Draw(picture).line([(before.width // 2, 0), (before.width // 2, before.height)], "white", 3)
    return picture


def tinted(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the masked area in red."""
    red = Image.blend(picture, Image.new("RGB", picture.size, (230, 40, 60)), 0.45)
    return Image.composite(red, picture, mask.convert("L").resize(picture.size))


def square(picture: Image.Image, centre: float) -> Image.Image:
    """A square as high as the picture around a share of its width, at a template picture's size."""
    left = min(max(round(picture.width * centre - picture.height / 2), 0), picture.width - picture.height)
    return picture.crop((left, 0, left + picture.height, picture.height)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def thumbnail(name: str, before: Image.Image, after: Image.Image, mask: Image.Image | None) -> Image.Image:
    """The picture of one template, out of the first frames before and after."""
    if name == RESTORE_ONE_FACE.name:
        picture = Image.new("RGB", (SIDE, SIDE))
        for row, shown in enumerate((before, after)):
            picture.paste(shown.resize((SIDE, SIDE // 2), Image.Resampling.LANCZOS), (0, row * SIDE // 2))
        ImageDraw.Draw(picture).line([(0, SIDE // 2), (SIDE, SIDE // 2)], "white", 3)
        return picture
    if mask is not None:
        before = tinted(before, mask)
    return half_and_half(square(before, 0.58), square(after, 0.58))


def charted(before: Image.Image, after: Image.Image, chart: Image.Image) -> Image.Image:
    """Both beside each other above the first chart of a plot."""
    picture = Image.new("RGB", (SIDE, SIDE))
    for column, shown in enumerate((before, after)):
        face = square(shown, 0.58).resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS)
        picture.paste(face.crop((0, 0, SIDE // 2, SIDE - CHART)), (column * SIDE // 2, 0))
    ImageDraw.Draw(picture).line([(SIDE // 2, 0), (SIDE // 2, SIDE - CHART)], "white", 3)
    first = chart.convert("RGB").crop((0, 0, *FIRST)).resize((SIDE, CHART), Image.Resampling.LANCZOS)
    picture.paste(first, (0, SIDE - CHART))
    return picture


def _head(shown: dict[str, Any]) -> list[str]:
    return next((table["head"] for table in shown.get("vividface_table", [])), [])


def graded(outputs: dict[str, Any], folder: Path) -> Image.Image:
    """Four videos of a scored folder, each with its score as the node told it."""
    (table,) = next(shown["vividface_table"] for shown in outputs.values() if "video" in _head(shown))
    final = table["head"].index("final")
    picture, font = Image.new("RGB", (SIDE, SIDE)), ImageFont.load_default(44)
    for number, name in enumerate(SPOILT):
        row = next(row for row in table["rows"] if row[0] == f"{name}.mp4")
        left, top = number % 2 * SIDE // 2, number // 2 * SIDE // 2
        face = square(Image.fromarray(read_clip(folder / row[0])[SHOWN]), 0.58)
        picture.paste(face.resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS), (left, top))
        ImageDraw.Draw(picture).text(
            (left + 12, top + SIDE // 2 - 56), row[final], "white", font, stroke_width=3, stroke_fill="black"
        )
    return picture


def darkened(frames: torch.Tensor) -> torch.Tensor:
    """A clip that flickers: among its frames the one that is shown."""
    factors = torch.ones(len(frames))
    factors[[1, SHOWN]] = torch.tensor([1.2, 0.5])
    return (frames * factors.view(-1, 1, 1, 1)).clamp(0, 1)


def compared(server: ComfyServer, entry: dict[str, Any]) -> list[Path]:
    """What Compare Video shows of a finished run: the files before and after."""
    (shown,) = [one for output in entry["outputs"].values() for one in output.get("vividface_compare", [])]
    files = (shown["before"], shown["after"])
    return [server.folder / file["type"] / file["subfolder"] / file["filename"] for file in files]


def write_thumbnail(server: ComfyServer, workflow: Workflow, folder: Path) -> None:
    """Run a workflow on degraded real people and keep what it did as the template's picture."""
    shown = (MAN, WOMAN) if workflow is RESTORE_ONE_FACE else (WOMAN,)
    frames = people(shown, HEIGHT, 9)
    if workflow in (DEFLICKER_VIDEO, DEFLICKER_RESTORE):
        frames = darkened(frames)
    path = write_clip(
        server.folder / "input" / (SHARP if workflow is DEGRADE_RESTORE_METRICS else FILE),
        frames if workflow in (DEFLICKER_VIDEO, DEGRADE_RESTORE_METRICS) else HARD(frames),
    )
    if workflow is SCORE_FOLDER:
        write_spoilt(server.folder / "input", frames)
    entry = server.wait(server.queue(workflow.api()))
    if workflow is DEGRADE_RESTORE_METRICS:
        plots = [number for number, node in workflow.nodes.items() if node.kind == "VividFaceMetrics"]
        (chart,) = last_saved(server, entry, "temp", plots)
        picture = charted(
            *(Image.fromarray(read_clip(file)[SHOWN]) for file in compared(server, entry)), Image.open(chart)
        )
    elif workflow is SCORE_FOLDER:
        picture = graded(entry["outputs"], server.folder / "input")
    else:
        restored = last_saved(server, entry)[0]
        frames = [Image.fromarray(read_clip(file)[SHOWN]) for file in (path, restored)]
        frames[0] = frames[0].resize(frames[1].size, Image.Resampling.BICUBIC)
        previews = [number for number, node in workflow.nodes.items() if node.kind == "MaskPreview"]
        mask = Image.open(last_saved(server, entry, "temp", previews)[4]) if previews else None
        picture = thumbnail(workflow.name, *frames, mask)
    picture.save(folder / f"{workflow.title}.jpg", quality=88, optimize=True)
