"""API-format workflows: read one, change inputs, put a file in."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption
from vividface_core.io.text import read_text

LOADERS = {"VividFaceVideoLoad": "file", "LoadVideo": "file", "VHS_LoadVideo": "video"}
"""Nodes that take a video of the server's input folder, and the input that names it."""


class Workflow:
    """A workflow with one input kept open for the video.

    Args:
        graph: API format: ``{node id: {"class_type": …, "inputs": {…}}}``.
        into: ``NODE.INPUT`` that gets the video; ``None``: that of the only loader.
        changes: ``NODE.INPUT=VALUE`` each, VALUE as JSON or a bare string.

    ``NODE`` is an id, or a title or class that only one node has.

    Attributes:
        node, input: where the video goes.
        digest: hash of all that decides the result, apart from the video.

    Raises:
        InvalidOption: not API format; no or several loaders; a name that fits no or several nodes or inputs.
    """

    def __init__(self, graph: dict[str, Any], *, into: str | None = None, changes: Sequence[str] = ()) -> None:
        self._graph = copy.deepcopy(_checked(graph))
        self.node, self.input = self._find(into, "--into") if into else self._loader()
        for change in changes:
            target, equals, value = change.partition("=")
            if not equals:
                raise InvalidOption(f"--set {change!r} has no value. Write --set NODE.INPUT=VALUE.")
            node, name = self._find(target, "--set")
            if (node, name) == (self.node, self.input):
                raise InvalidOption(f"--set {change!r} sets the input that gets the videos. Leave it out.")
            self._graph[node]["inputs"][name] = _value(value)
        self.digest = _digest(self.filled(None), self.node, self.input)

    @classmethod
    def read(cls, path: Path, *, into: str | None = None, changes: Sequence[str] = ()) -> Workflow:
        """:class:`Workflow` of a JSON file.

        Raises:
            InvalidOption: also when the file can't be read or holds no JSON.
        """
        try:
            graph = json.loads(read_text(path))
        except OSError as error:
            raise InvalidOption(f"The workflow {path} can't be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise InvalidOption(
                f"The workflow {path} is no JSON ({error}). Export it again in the API format."
            ) from error
        try:
            return cls(graph, into=into, changes=changes)
        except InvalidOption as error:
            raise InvalidOption(f"{path}: {error}") from error

    def __len__(self) -> int:
        return len(self._graph)

    def filled(self, file: str | None) -> dict[str, Any]:
        """A copy of the graph for one video.

        Args:
            file: path in the server's input folder.
        """
        graph = copy.deepcopy(self._graph)
        graph[self.node]["inputs"][self.input] = file
        return graph

    def title(self, node: str) -> str:
        """What people call a node; its id if it isn't one of this graph (a node made while it runs)."""
        entry = self._graph.get(node)
        return _title(entry) or entry["class_type"] if entry else node

    def _loader(self) -> tuple[str, str]:
        found = [
            (node, LOADERS[entry["class_type"]])
            for node, entry in self._graph.items()
            if entry["class_type"] in LOADERS
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{node}.{name} ({self.title(node)})" for node, name in found)
            raise InvalidOption(f"{len(found)} nodes load a video: {names}. Say which one with --into NODE.INPUT.")
        nodes = ", ".join(f"{node} ({entry['class_type']})" for node, entry in self._graph.items())
        raise InvalidOption(
            f"None of the nodes is a known video loader ({', '.join(LOADERS)}). The nodes are {nodes}. "
            "Say with --into NODE.INPUT which input gets the video's file name."
        )

    def _find(self, target: str, option: str) -> tuple[str, str]:
        """Node id and input name of ``NODE.INPUT``. Both may hold dots themselves, so every dot is tried."""
        seen: list[str] = []
        dots = [place for place, sign in enumerate(target) if sign == "."]
        if not dots:
            raise InvalidOption(f"{option} {target!r} names no input. Write NODE.INPUT.")
        for dot in dots:
            node, name = self._node(target[:dot], option), target[dot + 1 :]
            if node is not None and name in self._graph[node]["inputs"]:
                return node, name
            seen += [] if node is None else [node]
        if seen:
            names = ", ".join(self._graph[seen[-1]]["inputs"]) or "none"
            raise InvalidOption(f"{option} {target!r}: node {seen[-1]} has no such input. It has: {names}.")
        nodes = ", ".join(f"{node} ({self.title(node)})" for node in self._graph)
        raise InvalidOption(f"{option} {target!r} names no node of the workflow. The nodes are {nodes}.")

    def _node(self, name: str, option: str) -> str | None:
        if name in self._graph:
            return name
        for known in (_title, lambda entry: entry["class_type"]):
            found = [node for node, entry in self._graph.items() if known(entry) == name]
            if len(found) > 1:
                raise InvalidOption(f"{option}: {name!r} is the name of the nodes {', '.join(found)}. Use an id.")
            if found:
                return found[0]
        return None


def _checked(graph: Any) -> dict[str, Any]:
    if isinstance(graph, dict) and "nodes" in graph and "links" in graph:
        raise InvalidOption(
            "This is a workflow as the editor saves it, which a server can't run. Open it in ComfyUI, choose "
            "Workflow > Export (API) in the menu, and use that file."
        )
    if isinstance(graph, dict) and isinstance(graph.get("prompt"), dict):
        graph = graph["prompt"]  # as it is sent to /prompt
    nodes = graph.values() if isinstance(graph, dict) else ()
    whole = all(
        isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs", {}), dict)
        for node in nodes
    )
    if not nodes or not whole:
        raise InvalidOption(
            "This is no workflow in the API format (an object of nodes with class_type and inputs). "
            "Choose Workflow > Export (API) in ComfyUI's menu, and use that file."
        )
    for node in nodes:
        node.setdefault("inputs", {})
    return graph


def _title(entry: dict[str, Any]) -> str:
    return str((entry.get("_meta") or {}).get("title") or "")


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)  # NaN is no JSON, so it is text
    except ValueError:
        return text


def _digest(graph: dict[str, Any], node: str, name: str) -> str:
    bare = {key: {"class_type": entry["class_type"], "inputs": entry["inputs"]} for key, entry in graph.items()}
    text = json.dumps([bare, node, name], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
