"""The subgraph blueprint that the pack ships: one box of the page's node library for the usual restoration."""

from __future__ import annotations

import uuid
from copy import deepcopy
from typing import Any

from tests.browser.graphs import PACKAGE
from tests.paths import REPOSITORY

FILE = REPOSITORY / "subgraphs" / "Restore faces in a video.json"
DESCRIPTION = "Restores the faces of a video: loads the model and restores, in one box."
ALIASES = ["face restore", "restore video", "enhance face", "video face", "vividface"]
LOADER, RESTORE = 2, 3
INPUTS = (("video", RESTORE), ("model", LOADER), ("faces", RESTORE), ("face_numbers", RESTORE), ("strength", RESTORE))
"""Of the box, with the node inside that takes each."""
OUTPUTS = ("video", "report")
INTO, OUT = -10, -20
"""Numbers of a subgraph's own input and output node."""


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACKAGE['name']}/{FILE.stem}/{name}"))


def blueprint(graph: dict[str, Any]) -> dict[str, Any]:
    """The blueprint out of the graph that the workflow restore_video ships."""
    inside = {node["id"]: deepcopy(node) for node in graph["nodes"] if node["id"] in (LOADER, RESTORE)}
    for node in inside.values():
        for socket in node["inputs"]:
            socket["link"] = None
        for socket in node["outputs"]:
            socket["links"] = []
    inside[LOADER]["pos"], inside[RESTORE]["pos"] = [0, 0], [400, 0]
    links: list[dict[str, Any]] = []

    def link(start: tuple[int, int], end: tuple[int, int], kind: str) -> int:
        number = len(links) + 1
        ends = {"origin_id": start[0], "origin_slot": start[1], "target_id": end[0], "target_slot": end[1]}
        links.append({"id": number, **ends, "type": kind})
        if start[0] in inside:
            inside[start[0]]["outputs"][start[1]]["links"].append(number)
        if end[0] in inside:
            inside[end[0]]["inputs"][end[1]]["link"] = number
        return number

    def slot(node: int, name: str) -> int:
        return next(at for at, socket in enumerate(inside[node]["inputs"]) if socket["name"] == name)

    link((LOADER, 0), (RESTORE, slot(RESTORE, "restorer")), "VIVIDFACE_RESTORER")
    inputs, outputs, sockets = [], [], []
    for at, (name, node) in enumerate(INPUTS):
        socket = inside[node]["inputs"][slot(node, name)]
        number = link((INTO, at), (node, slot(node, name)), socket["type"])
        inputs.append({"id": _id(name), "name": name, "type": socket["type"], "linkIds": [number]})
        widget = {"widget": {"name": name}} if "widget" in socket else {}
        sockets.append({"name": name, "type": socket["type"], **widget, "link": None})
    for at, name in enumerate(OUTPUTS):
        kind = inside[RESTORE]["outputs"][at]["type"]
        number = link((RESTORE, at), (OUT, at), kind)
        outputs.append({"id": _id(f"{name} out"), "name": name, "type": kind, "linkIds": [number]})
    values = [inside[node]["widgets_values_named"][name] for name, node in INPUTS[1:]]
    box = {
        "id": 1,
        "type": _id("box"),
        "pos": [0, 0],
        "size": [340, 240],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": sockets,
        "outputs": [{"name": one["name"], "type": one["type"], "links": None} for one in outputs],
        "title": FILE.stem,
        "properties": {
            "proxyWidgets": [["-1", name] for name, _ in INPUTS[1:]],
            "cnr_id": PACKAGE["name"],
            "ver": PACKAGE["version"],
        },
        "widgets_values": values,
    }
    subgraph = {
        "id": _id("box"),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": RESTORE, "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": FILE.stem,
        "description": DESCRIPTION,
        "category": "VividFace",
        "inputNode": {"id": INTO, "bounding": [-220, 0, 140, 160]},
        "outputNode": {"id": OUT, "bounding": [800, 0, 120, 80]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": list(inside.values()),
        "groups": [],
        "links": links,
        "extra": {},
    }
    return {
        "id": _id("file"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [box],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": {"BlueprintDescription": DESCRIPTION, "BlueprintSearchAliases": ALIASES},
        "version": 0.4,
    }
