"""The example workflows, as readable data, and the command that writes them through ComfyUI's real page.

``python -m tests.browser.make_workflows [NAME ...]`` writes ``workflows/NAME.json`` (for the page),
``workflows/api/NAME.api.json`` (for the HTTP API and the batch client) and ``workflows/NAME.jpg`` (the template's
picture), of all workflows if none is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from tests.assets import clip, ffmpeg
from tests.browser.page import ComfyPage
from tests.comfyui.server import REPOSITORY, ComfyServer, error_of
from vividface_core.degrade import Degradation
from vividface_core.request import RestoreOptions

FOLDER = REPOSITORY / "workflows"
FILE = "face.mp4"
PAINTED = "face.png"
ROOM = 60
"""Pixels that a group leaves above its nodes, of which a node's own title takes 30."""
EDGE = 20
"""Pixels that a group leaves at its other sides."""
COLOURS = {"input": "#88aaaa", "restore": "#88aadd", "mask": "#ccaa66", "degrade": "#aa8888", "result": "#88aa88"}
NORMAL, BYPASSED = 0, 4


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        kind: ComfyUI's type of it.
        at: left and top of its body, in the graph's pixels.
        size: width and height of its body.
        inputs: as in the API: values, and links as ``(node, output)``.
        title: where it differs from the node's own.
        through: for a bypassed node: the input that goes on in its place ("" where nothing does).
    """

    kind: str
    at: tuple[int, int]
    size: tuple[int, int]
    inputs: dict[str, Any]
    title: str = ""
    through: str | None = None


@dataclass(frozen=True)
class Note:
    """A text beside the nodes."""

    at: tuple[int, int]
    size: tuple[int, int]
    text: str
    title: str = "Note"


@dataclass(frozen=True)
class Group:
    """A frame around nodes and notes, given by their numbers."""

    title: str
    colour: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Workflow:
    """One graph; nodes and notes share the numbers of the page."""

    name: str
    nodes: dict[str, Node]
    notes: dict[str, Note]
    groups: tuple[Group, ...]

    def api(self, *, everything: bool = False) -> dict[str, Any]:
        """The graph as the server takes it.

        Args:
            everything: with the bypassed nodes too, as if they weren't.
        """

        def past(value: Any) -> Any:
            while isinstance(value, tuple) and not everything:
                through = self.nodes[value[0]].through
                if through is None:
                    break
                value = self.nodes[value[0]].inputs[through] if through else None
            return list(value) if isinstance(value, tuple) else value

        return {
            number: {
                "class_type": node.kind,
                "inputs": {name: past(value) for name, value in node.inputs.items()},
                **({"_meta": {"title": node.title}} if node.title else {}),
            }
            for number, node in self.nodes.items()
            if everything or node.through is None
        }

    def bounds(self, group: Group) -> tuple[int, int, int, int]:
        """Left, top, width and height of a group around its members."""
        members = [{**self.nodes, **self.notes}[number] for number in group.nodes]
        left, top = (min(one.at[axis] for one in members) for axis in (0, 1))
        right, bottom = (max(one.at[axis] + one.size[axis] for one in members) for axis in (0, 1))
        return left - EDGE, top - ROOM - EDGE, right - left + 2 * EDGE, bottom - top + ROOM + 2 * EDGE


COMMON = {
    "faces": "all", "face_numbers": "0", "strength": 1.0, "color": "auto", "whole_frame": False, "min_face": 24,
    "window": 0, "overlap": -1, "size": 0, "detector": "auto",
    "identity_guard": RestoreOptions.identity_guard, "identity_threshold": RestoreOptions.identity_threshold,
    "keep_size": RestoreOptions.keep_size,
}  # fmt: skip
MODEL = {"model": "vividface-nano", "precision": "auto", "device": "auto"}
VIDEO = {"file": FILE, "start_frame": 0, "frame_count": 0, "stride": 1}
MASK = {
    "region": "face and hair", "faces": "all", "face_numbers": "0", "min_face": 24, "grow": 0, "parser": "auto",
    "detector": "auto", "require_face": False,
}  # fmt: skip
MEASURED = "psnr, ids-mobile, akd, temporal"
"""A metric each of the picture, the person, the face's movements and time, none of which needs a download."""
DEGRADE = {"preset": "vividface", "seed": 8, "sigma": -1.0, "scale": -1.0, "noise": -1.0, "crf": -1, "overrides": ""}


def saved(prefix: str, video: tuple[str, int]) -> dict[str, Any]:
    """Inputs of the core's Save Video."""
    return {"filename_prefix": prefix, "format": "auto", "codec": "auto", "video": video}


RESTORE_VIDEO = Workflow(
    "restore_video",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 140), MODEL),
        "3": Node("VividFaceOneStepRestore", (380, 0), (320, 820),
                  {**COMMON, "encoding": "h264", "video": ("1", 0), "restorer": ("2", 0)}),
        "4": Node("VividFaceCompareVideo", (760, 0), (640, 620), {"fps": 24.0, "before": ("1", 0), "after": ("3", 0)}),
        "5": Node("SaveVideo", (1460, 0), (320, 560), saved("VividFace/restored", ("3", 0))),
        "6": Node("PreviewAny", (1460, 620), (320, 200), {"source": ("3", 1)}, "What was done"),
    },
    {
        "7": Note((760, 680), (640, 140),
                  "Choose a video in Video Load, or upload one, and press Run. Drag the divider in Compare Video to "
                  "see what changed. Save Video puts the file into ComfyUI's output folder, under VividFace.\n\n"
                  "vividface-nano is part of the pack and runs on every machine, but it is small. For better faces "
                  "choose a larger model; the node Download VividFace Model fetches one that you don't have yet.\n\n"
                  "Only faces change: the rest of the picture, the sound and the timing stay.",
                  "How to use it"),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Restore", "restore", ("3",)),
        Group("3 · Compare", "result", ("4", "7")),
        Group("4 · Save", "result", ("5", "6")),
    ),
)  # fmt: skip

RESTORE_ONE_FACE = Workflow(
    "restore_one_face",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 140), MODEL),
        "3": Node("VividFaceFaceMask", (380, 0), (320, 340),
                  {**MASK, "faces": "by number", "source": ("1", 0)}, "Face Mask: which face"),
        "4": Node("VividFaceOneStepRestore", (760, 0), (320, 820),
                  {**COMMON, "encoding": "h264", "video": ("1", 0), "restorer": ("2", 0), "tracks": ("3", 1)}),
        "5": Node("VividFaceCompareVideo", (1140, 0), (640, 820), {"fps": 24.0, "before": ("1", 0), "after": ("4", 0)}),
        "6": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/one_face", ("4", 0))),
        "7": Node("PreviewAny", (1840, 620), (320, 200), {"source": ("4", 1)}, "What was done"),
    },
    {
        "8": Note((380, 400), (320, 420),
                  "With faces = by number, face numbers counts from the left in each shot, beginning at 0: 0 is the "
                  "leftmost face; 0,2 are the first and the third. largest takes the largest face of each shot, all "
                  "takes everyone.\n\n"
                  "Face Mask follows the chosen face through the video and hands it on as tracks. The restore node "
                  "then looks for no faces itself, so its own faces setting does nothing here.\n\n"
                  "To choose by a picture of the person, leave Face Mask out: in the restore node set faces to like "
                  "the reference, and connect a Load Image to reference.",
                  "How to choose a face"),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Choose the face", "mask", ("3", "8")),
        Group("3 · Restore", "restore", ("4",)),
        Group("4 · Compare", "result", ("5",)),
        Group("5 · Save", "result", ("6", "7")),
    ),
)  # fmt: skip

MASK_GUIDED_RESTORE = Workflow(
    "mask_guided_restore",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 140), MODEL),
        "3": Node("GetVideoComponents", (380, 0), (320, 80), {"video": ("1", 0)}),
        "4": Node("VividFaceFaceMask", (380, 140), (320, 340), {**MASK, "source": ("3", 0)}),
        "5": Node("LoadImage", (380, 980), (320, 320), {"image": PAINTED}, "Painted mask", through=""),
        "6": Node("MaskComposite", (760, 980), (320, 160),
                  {"x": 0, "y": 0, "operation": "subtract", "destination": ("4", 0), "source": ("5", 1)},
                  "Face mask less what is painted", through="destination"),
        "7": Node("MaskPreview", (380, 540), (320, 280), {"mask": ("6", 0)}, "Where faces may change"),
        "8": Node("VividFaceOneStepRestoreImages", (760, 0), (320, 680),
                  {**COMMON, "images": ("3", 0), "restorer": ("2", 0), "mask": ("6", 0)}),
        "9": Node("CreateVideo", (760, 740), (320, 80), {"fps": ("3", 2), "images": ("8", 0), "audio": ("3", 1)}),
        "10": Node("VividFaceCompareVideo", (1140, 0), (640, 640),
                   {"fps": 24.0, "before": ("1", 0), "after": ("9", 0)}),
        "11": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/mask_guided", ("9", 0))),
        "12": Node("PreviewAny", (1840, 620), (320, 200), {"source": ("8", 1)}, "What was done"),
        "13": Node("PreviewImage", (0, 980), (320, 320), {"images": ("1", 1)}, "First frame"),
    },
    {
        "14": Note((1140, 700), (640, 120),
                   "Face Mask tells where faces are; the restoration shows only there. grow makes that area larger or, "
                   "below 0, smaller. With the weights of a parsing network, region can be a part of the face.\n\n"
                   "All frames are in memory here. For long videos take One-Step Restore (Video): it has a mask input "
                   "too.",
                   "How to use it"),
        "15": Note((1140, 980), (640, 320),
                   "To keep a part of a face as it was (glasses, a scar, make-up):\n"
                   "1. Run once. Right-click First frame and choose Copy (Clipspace).\n"
                   "2. Right-click Painted mask and choose Paste (Clipspace).\n"
                   "3. Right-click Painted mask, choose Open in MaskEditor, paint over the part, and save.\n"
                   "4. Select the two violet nodes, press Ctrl+B to switch them on, and Run.\n\n"
                   "What is painted then stays as it was, in every frame; the paint doesn't move with the face. With "
                   "operation = multiply it is the other way round: only what is painted changes.",
                   "How to touch up by hand"),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Frames and mask", "mask", ("3", "4", "7")),
        Group("3 · Restore", "restore", ("8", "9")),
        Group("4 · Compare", "result", ("10", "14")),
        Group("5 · Save", "result", ("11", "12")),
        Group("Touch-up by hand (switched off until you want it)", "mask", ("5", "6", "13", "15")),
    ),
)  # fmt: skip

DEGRADE_RESTORE_METRICS = Workflow(
    "degrade_restore_metrics",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 140), MODEL),
        "3": Node("VividFaceDegradeSynth", (380, 0), (320, 560), {**DEGRADE, "encoding": "h264", "video": ("1", 0)}),
        "4": Node("PreviewAny", (380, 620), (320, 200), {"source": ("3", 1)}, "What was drawn"),
        "5": Node("VividFaceOneStepRestore", (760, 0), (320, 820),
                  {**COMMON, "encoding": "h264", "video": ("3", 0), "restorer": ("2", 0)}),
        "6": Node("VividFaceCompareVideo", (1140, 0), (640, 620), {"fps": 24.0, "before": ("3", 0), "after": ("5", 0)}),
        "7": Node("VividFaceMetrics", (1840, 0), (640, 520),
                  {"metrics": MEASURED, "output": ("5", 0), "reference": ("1", 0), "source": ("3", 0)}),
        "8": Node("PreviewAny", (1840, 580), (640, 240), {"source": ("7", 0)}, "All figures"),
    },
    {
        "9": Note((1140, 680), (640, 140),
                  "Choose a sharp video in Video Load and press Run. It is degraded, restored, and measured: how near "
                  "the restored video (output) comes to the sharp one, and how near the degraded one (input) was.\n\n"
                  "The seed stands still, so that only the model and its settings make a difference from run to run. "
                  "Another seed draws another degradation; another preset is another paper's recipe.\n\n"
                  "Leave metrics empty to measure everything; its help page tells which metrics need weights. In All "
                  "figures, preview_mode shows the table as Markdown.",
                  "How to use it"),
    },
    (
        Group("1 · Sharp video and model", "input", ("1", "2")),
        Group("2 · Degrade", "degrade", ("3", "4")),
        Group("3 · Restore", "restore", ("5",)),
        Group("4 · Compare: degraded, restored", "result", ("6", "9")),
        Group("5 · Measure", "result", ("7", "8")),
    ),
)  # fmt: skip

JUDGE = {"judge": "technical (measurements, no MLLM)", "model": "auto", "server": "", "server_model": "",
         "threshold": -1.0}  # fmt: skip
LOOK = {"passes": 1, "fps": 2.0, "frames": 32, "frame_pixels": 602112, "max_tokens": 2048, "precision": "auto",
        "rubric": "paper", "calibration": "none"}  # fmt: skip

SCORE_FOLDER = Workflow(
    "score_folder",
    {
        "1": Node("VividFaceScoreFolder", (0, 0), (640, 820),
                  {"folder": ".", "subfolders": False, **JUDGE, "sort": "by tier", "name": "VividFace/scores", **LOOK}),
        "2": Node("PreviewAny", (700, 460), (320, 360), {"source": ("1", 0)}, "All scores"),
        "3": Node("VividFaceVideoLoad", (1080, 0), (320, 620), VIDEO),
        "4": Node("VividFaceMLLMScore", (1460, 0), (480, 820), {"video": ("3", 0), **JUDGE, **LOOK, "image_fps": 24.0}),
        "5": Node("PreviewAny", (2000, 0), (400, 820), {"source": ("4", 4)}, "What the judge wrote"),
    },
    {
        "6": Note((700, 0), (320, 400),
                  "Put videos into ComfyUI's input folder, or into a folder there, choose it in Score Folder, and "
                  "press Run. Each gets a score from 0 to 100, a tier, and a place in the tables; with sort, copies of "
                  "the videos are put into folders by tier, or into keep and drop. The originals stay where they "
                  "are.\n\n"
                  "Stop it whenever you like: what is judged is kept, and the next run does only what is missing.\n\n"
                  "The judge technical measures sharpness, noise, blocks, light and steadiness. It understands nothing "
                  "and sees no face: it shows how things go. For grades as in the paper set judge to local model, with "
                  "Qwen2.5-VL or Qwen3-VL in models/LLM, or to server.",
                  "How to use it"),
        "7": Note((1080, 680), (320, 140),
                  "To see why a video got its score, look at it alone. To look at the folder only, select this group "
                  "and press Ctrl+B.",
                  "One by one"),
    },
    (
        Group("1 · Score a folder", "restore", ("1", "2", "6")),
        Group("2 · Score one video", "result", ("3", "4", "5", "7")),
    ),
)  # fmt: skip

WORKFLOWS = (RESTORE_VIDEO, RESTORE_ONE_FACE, MASK_GUIDED_RESTORE, DEGRADE_RESTORE_METRICS, SCORE_FOLDER)

_LAY_OUT = """([nodes, notes, groups]) => {
    const graph = window.app.graph
    for (const [id, { at, size, mode }] of Object.entries(nodes)) {
        const node = graph.getNodeById(Number(id))
        node.mode = mode
        node.pos = at
        node.setSize(size)
        const after = node.widgets?.find(widget => widget.name === 'control_after_generate')
        if (after) after.value = 'fixed'
    }
    for (const [id, { at, size, text, title }] of Object.entries(notes)) {
        const note = LiteGraph.createNode('Note')
        note.id = Number(id)
        graph.add(note)
        note.title = title
        note.widgets[0].value = text
        note.pos = at
        note.setSize(size)
    }
    for (const { title, bounds, color } of groups) {
        const group = new LiteGraph.LGraphGroup(title)
        group.pos = bounds.slice(0, 2)
        group.size = bounds.slice(2)
        group.color = color
        graph.add(group)
    }
}"""


def lay_out(page: ComfyPage, workflow: Workflow) -> None:
    """Open a workflow in the page, with its places, notes and groups."""
    page.load_api(workflow.api(everything=True))
    page.page.wait_for_timeout(1000)
    page.page.evaluate(_LAY_OUT, [
        {number: {"at": node.at, "size": node.size, "mode": NORMAL if node.through is None else BYPASSED}
         for number, node in workflow.nodes.items()},
        {number: {"at": note.at, "size": note.size, "text": note.text, "title": note.title}
         for number, note in workflow.notes.items()},
        [{"title": group.title, "bounds": workflow.bounds(group), "color": COLOURS[group.colour]}
         for group in workflow.groups],
    ])  # fmt: skip
    page.page.wait_for_timeout(500)


def plain(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph as it is shipped: without what differs from one saving to the next, or says nothing."""
    kept = {name: value for name, value in graph.items() if name not in ("id", "revision", "extra", "models")}
    kept["nodes"] = sorted(map(_slim, kept["nodes"]), key=lambda node: node["id"])
    kept["groups"] = [_slim(group) for group in kept["groups"]]
    return kept


def _slim(thing: Any) -> Any:
    """Without fields that are null, that depend on the page's language, or that name a release of ComfyUI."""
    if isinstance(thing, list):
        return [_slim(part) for part in thing]
    if isinstance(thing, dict):
        return {
            name: _slim(value)
            for name, value in thing.items()
            if (value is not None or name == "link") and name not in ("localized_name", "ver", "cnr_id", "aux_id")
        }
    return thing


def wired(prompt: dict[str, Any]) -> dict[str, Any]:
    """What counts of an API workflow: types, values and links, without the page's own video preview."""
    return {number: {"class_type": node["class_type"],
                     "inputs": {name: value for name, value in sorted(node["inputs"].items())
                                if name != "video-preview"}}
            for number, node in sorted(prompt.items(), key=lambda item: int(item[0]))}  # fmt: skip


def overlaps(graph: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Pairs of nodes (with their titles of 30 pixels) of which one covers the other."""
    boxes = [(node["id"], node["pos"][0], node["pos"][1] - 30, node["pos"][0] + node["size"][0],
              node["pos"][1] + node["size"][1]) for node in graph["nodes"]]  # fmt: skip
    return [(a[0], b[0]) for i, a in enumerate(boxes) for b in boxes[i + 1:]
            if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]]  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Readable, and the same bytes for the same value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_graph(page: ComfyPage, workflow: Workflow, folder: Path = FOLDER) -> None:
    """Build a workflow in the page, check it, and write both of its files.

    Raises:
        RuntimeError: the page makes something else of it.
    """
    lay_out(page, workflow)
    graph, prompt = plain(page.graph()), page.to_api()
    if page.missing_nodes():
        raise RuntimeError(f"{workflow.name}: the page doesn't know {page.missing_nodes()}")
    if wired(prompt) != wired(workflow.api()):
        raise RuntimeError(f"{workflow.name}: the page makes {json.dumps(wired(prompt), indent=1)}")
    if overlaps(graph):
        raise RuntimeError(f"{workflow.name}: nodes overlap: {overlaps(graph)}")
    write_json(folder / f"{workflow.name}.json", graph)
    shipped = {number: {**node, "_meta": {"title": prompt[number]["_meta"]["title"]}}
               for number, node in wired(prompt).items()}  # fmt: skip
    write_json(folder / "api" / f"{workflow.name}.api.json", shipped)


@dataclass(frozen=True)
class Person:
    """A real clip from a frame on, and what part of its width is taken."""

    name: str
    first: int
    left: float = 0.0
    right: float = 1.0


WOMAN = Person("wolfgang", 370, 0.4375)
MAN, SHORT_HAIR, FRINGE = Person("single_face", 5, 0.17, 0.7325), Person("cap12", 100, 0.1, 0.9), Person("franck", 100)


def people(shown: Sequence[Person], height: int, frames: int) -> torch.Tensor:
    """Frames ``[T, 3, H, W]``, 0…1, of real clips side by side."""
    return torch.cat([_frames(person, height, frames) for person in shown], dim=3)


def _frames(person: Person, height: int, count: int) -> torch.Tensor:
    taken = []
    with av.open(str(clip(person.name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index < person.first:
                continue
            width = 2 * round(frame.width * height / frame.height / 2)
            left, right = (2 * round(width * share / 2) for share in (person.left, person.right))
            taken.append(frame.reformat(width, height, "rgb24", interpolation="LANCZOS").to_ndarray()[:, left:right])
            if len(taken) == count:
                break
    return torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).float() / 255


def write_clip(path: Path, frames: torch.Tensor, fps: int = 24) -> Path:
    """H.264 at a high quality, with a real voice as AAC."""
    raw = (frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    height, width = raw.shape[1:3]
    command = [
        ffmpeg(), "-hide_banner", "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0",
        "-i", str(clip("single_face")), "-map", "0:v", "-map", "1:a", "-t", f"{len(raw) / fps:.6f}",
        "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path),
    ]  # fmt: skip
    subprocess.run(command, input=raw.tobytes(), check=True)
    return path


def read_clip(path: Path) -> np.ndarray:
    """All frames of a file, ``[T, H, W, 3]``."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


HARD = Degradation(sigma=4.0, scale=4.0, noise=8.0, crf=25)
SPOILT = {
    "a_sharp": None, "b_soft": Degradation(sigma=1.5, scale=1.0, noise=0.0, crf=18),
    "c_noisy": Degradation(sigma=0.3, scale=1.0, noise=12.0, crf=18), "d_hard": HARD,
}  # fmt: skip
"""Videos for a judge: how one clip is spoilt, by name."""
HEIGHT = 400
"""Of the clips for pictures."""
SHOW = {"LiteGraph.Canvas.MinFontSizeForLOD": 0, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
"""Settings of the page for pictures: text at every zoom, and nothing over the graph."""
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
    return [server.folder / kind / one["subfolder"] / one["filename"]
            for number, shown in outputs if nodes is None or number in nodes
            for one in shown.get("images", []) if one["type"] == kind]  # fmt: skip


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


def write_spoilt(folder: Path, frames: torch.Tensor) -> list[Path]:
    """One clip for each of :data:`SPOILT`."""
    return [write_clip(folder / f"{name}.mp4", spoil(frames) if spoil else frames) for name, spoil in SPOILT.items()]


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
        face = square(Image.fromarray(read_clip(folder / row[0])[4]), 0.58)
        picture.paste(face.resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS), (left, top))
        ImageDraw.Draw(picture).text((left + 12, top + SIDE // 2 - 56), row[final], "white", font, stroke_width=3,
                                     stroke_fill="black")  # fmt: skip
    return picture


def compared(server: ComfyServer, entry: dict[str, Any]) -> list[Path]:
    """What Compare Video shows of a finished run: the files before and after."""
    (shown,) = [one for output in entry["outputs"].values() for one in output.get("vividface_compare", [])]
    files = (shown["before"], shown["after"])
    return [server.folder / file["type"] / file["subfolder"] / file["filename"] for file in files]


def write_thumbnail(server: ComfyServer, workflow: Workflow, folder: Path = FOLDER) -> None:
    """Run a workflow on degraded real people and keep what it did as the template's picture."""
    shown = (MAN, WOMAN) if workflow is RESTORE_ONE_FACE else (WOMAN,)
    frames = people(shown, HEIGHT, 9)
    path = write_clip(server.folder / "input" / FILE, frames if workflow is DEGRADE_RESTORE_METRICS else HARD(frames))
    if workflow is SCORE_FOLDER:
        write_spoilt(server.folder / "input", frames)
    entry = server.wait(server.queue(workflow.api()))
    if workflow is DEGRADE_RESTORE_METRICS:
        plots = [number for number, node in workflow.nodes.items() if node.kind == "VividFaceMetrics"]
        (chart,) = last_saved(server, entry, "temp", plots)
        picture = charted(*(Image.fromarray(read_clip(file)[4]) for file in compared(server, entry)), Image.open(chart))
    elif workflow is SCORE_FOLDER:
        picture = graded(entry["outputs"], server.folder / "input")
    else:
        restored = last_saved(server, entry)[0]
        frames = [Image.fromarray(read_clip(file)[4]) for file in (path, restored)]
        previews = [number for number, node in workflow.nodes.items() if node.kind == "MaskPreview"]
        mask = Image.open(last_saved(server, entry, "temp", previews)[4]) if previews else None
        picture = thumbnail(workflow.name, *frames, mask)
    picture.save(folder / f"{workflow.name}.jpg", quality=88, optimize=True)


def chosen(names: Sequence[str]) -> list[Workflow]:
    """The workflows of these names, or all.

    Raises:
        SystemExit: there is none of such a name.
    """
    known = {workflow.name: workflow for workflow in WORKFLOWS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"There is no workflow {', '.join(unknown)}; choose of {', '.join(known)}.")
    return [known[name] for name in names] or list(WORKFLOWS)


def main(names: Sequence[str]) -> None:
    """Write these workflows, or all."""
    workflows = chosen(names)
    with tempfile.TemporaryDirectory() as scratch, ComfyServer(Path(scratch)) as server:
        write_clip(server.folder / "input" / FILE, people([WOMAN], HEIGHT, 9))
        Image.new("RGB", (64, 64)).save(server.folder / "input" / PAINTED)
        with ComfyPage(server) as page:
            for workflow in workflows:
                write_graph(page, workflow)
                print(workflow.name)
        for workflow in workflows:
            write_thumbnail(server, workflow)


if __name__ == "__main__":
    main(sys.argv[1:])
