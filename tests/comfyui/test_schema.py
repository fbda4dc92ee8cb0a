"""What saved workflows rely on never changes: ids, inputs in their order, types, outputs.

A new input goes to the end; then write the snapshot anew: ``python -m tests.comfyui.test_schema``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.comfyui.server import ComfyServer

SNAPSHOT = Path(__file__).with_name("schema.json")
CHANGING = ("file", "model", "folder", "rubric", "calibration")
"""Lists of files and folders, whose options depend on the machine."""


def described(info: dict[str, Any]) -> dict[str, Any]:
    """The lasting part of one node's ``/object_info``."""
    inputs = {}
    for kind in ("required", "optional"):
        for name in info["input_order"].get(kind, []):
            wanted, details = (*info["input"][kind][name], {})[:2]
            entry: dict[str, Any] = {"type": wanted, "kind": kind}
            entry |= {key: details[key] for key in ("default", "min", "max", "advanced") if key in details}
            if wanted == "COMBO" and name not in CHANGING:
                entry["options"] = details["options"]
            inputs[name] = entry
    return {
        "inputs": inputs,
        "outputs": dict(zip(info["output_name"], info["output"])),
        "output_node": info["output_node"],
        "category": info["category"],
    }


def current(server: ComfyServer) -> dict[str, Any]:
    """Every node of the pack as the server tells it."""
    nodes = server.get("/object_info")
    return {name: described(info) for name, info in sorted(nodes.items()) if name.startswith("VividFace")}


def test_nodes_are_those_of_the_snapshot(comfy):
    wanted, got = json.loads(SNAPSHOT.read_text()), current(comfy)
    assert list(got) == list(wanted)
    for name, node in wanted.items():
        assert list(got[name]["inputs"]) == list(node["inputs"]), f"{name}: inputs are only ever appended"
        assert got[name] == node, name


def test_every_node_and_input_explains_itself(comfy):
    for name, info in comfy.get("/object_info").items():
        if name.startswith("VividFace"):
            assert info["description"] and info["display_name"] and info["category"] == "VividFace"
            for kind in ("required", "optional"):
                for key, (_, details) in info["input"].get(kind, {}).items():
                    assert details.get("tooltip"), f"{name}.{key}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ComfyServer(Path(folder)) as server:
        SNAPSHOT.write_text(json.dumps(current(server), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
