"""A workflow as readable data: its nodes, notes and groups, how the page lays them out, and what counts of a graph."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from tests.browser.page import ComfyPage
from tests.paths import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOM = 60
"""Pixels that a group leaves above its nodes, of which a node's own title takes 30."""
EDGE = 20
"""Pixels that a group leaves at its other sides."""
COLOURS = {"input": "#88aaaa", "restore": "#88aadd", "mask": "#ccaa66", "degrade": "#aa8888", "result": "#88aa88"}
NORMAL, BYPASSED = 0, 4
PACKAGE = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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
    """One graph; nodes and notes share the numbers of the page.

    Attributes:
        name: of its API file.
        title: of its file for the page, which shows it to people.
        app: what App mode shows: inputs as ``(node, input)``, and the nodes whose results are seen; ``None``: the graph
            opens as a graph.
    """

    name: str
    title: str
    nodes: dict[str, Node]
    notes: dict[str, Note]
    groups: tuple[Group, ...]
    app: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None = None

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
        const note = LiteGraph.createNode('MarkdownNote')
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
    page.page.evaluate(
        _LAY_OUT,
        [
            {
                number: {"at": node.at, "size": node.size, "mode": NORMAL if node.through is None else BYPASSED}
                for number, node in workflow.nodes.items()
            },
            {
                number: {"at": note.at, "size": note.size, "text": note.text, "title": note.title}
                for number, note in workflow.notes.items()
            },
            [
                {"title": group.title, "bounds": workflow.bounds(group), "color": COLOURS[group.colour]}
                for group in workflow.groups
            ],
        ],
    )
    page.page.wait_for_timeout(500)


def plain(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph as it is shipped: without what differs from one saving to the next, or says nothing."""
    kept = {name: value for name, value in graph.items() if name not in ("id", "revision", "extra", "models")}
    kept["nodes"] = sorted(map(_slim, kept["nodes"]), key=lambda node: node["id"])
    kept["groups"] = [_slim(group) for group in kept["groups"]]
    return kept


def marked(graph: dict[str, Any], workflow: Workflow) -> dict[str, Any]:
    """A plain graph with what the page can't know: whose nodes they are, and what App mode shows."""
    for node in graph["nodes"]:
        if node["type"].startswith("VividFace"):
            node["properties"] |= {"cnr_id": PACKAGE["name"], "ver": PACKAGE["version"]}
        elif node["type"] != "MarkdownNote":
            node["properties"] |= {"cnr_id": "comfy-core"}
    if workflow.app:
        inputs, outputs = workflow.app
        shown = {"inputs": [[int(node), name] for node, name in inputs], "outputs": [int(node) for node in outputs]}
        graph["extra"] = {"linearMode": True, "linearData": shown}
    return graph


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
    """What counts of an API workflow: types, values and links, without the page's own video preview.

    Nor what newer cores ask for besides: the bits of Create Video, and once more under the name of Save Video's format
    its codec (``format.codec``).
    """
    return {
        number: {
            "class_type": node["class_type"],
            "inputs": {
                name: value
                for name, value in sorted(node["inputs"].items())
                if name not in ("video-preview", "bit_depth") and "." not in name
            },
        }
        for number, node in sorted(prompt.items(), key=lambda item: int(item[0]))
    }


def overlaps(graph: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Pairs of nodes (with their titles of 30 pixels) of which one covers the other."""
    boxes = [
        (
            node["id"],
            node["pos"][0],
            node["pos"][1] - 30,
            node["pos"][0] + node["size"][0],
            node["pos"][1] + node["size"][1],
        )
        for node in graph["nodes"]
    ]
    return [
        (a[0], b[0])
        for i, a in enumerate(boxes)
        for b in boxes[i + 1 :]
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]
