"""How far a prompt is, from a server's websocket. Only for people: the history decides what is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from vividface_core.comfy_client.server import Server
from vividface_core.errors import ServerLost

ENDS = {"execution_success", "execution_error", "execution_interrupted"}


class Watch:
    """The state of the one prompt that a server works on.

    Args:
        nodes: number of nodes of the workflow.

    Attributes:
        prompt: its id; messages about others are ignored.
        ended: set when the server says that it is over.
    """

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self.ended = asyncio.Event()
        self.begin("", lambda node, share: None)

    def begin(self, prompt: str, tell: Callable[[str, float], None]) -> None:
        """Watch another prompt.

        Args:
            tell: gets the id of the node at work and the share done, 0…1.
        """
        self.prompt, self._tell = prompt, tell
        self._shares: dict[str, float] = {}
        self._node = ""
        self.ended.clear()

    def take(self, message: dict[str, Any]) -> None:
        """Take in one message of the websocket."""
        kind, data = message.get("type"), message.get("data") or {}
        if not self.prompt or data.get("prompt_id") != self.prompt:
            return
        if kind in ENDS:
            self.ended.set()
        elif kind == "execution_cached":
            self._shares.update(dict.fromkeys(map(str, data.get("nodes") or ()), 1.0))
        elif kind == "executing" and data.get("node"):
            if str(data["node"]) != self._node:
                self._shares[self._node] = 1.0  # one at a time: the one before is over
            self._node = str(data["node"])
        elif kind == "progress" and data.get("max"):
            self._node = str(data.get("node") or self._node)
            self._shares[self._node] = data["value"] / data["max"]
        elif kind == "progress_state":
            for node, state in (data.get("nodes") or {}).items():
                self._shares[node] = state["value"] / (state["max"] or 1)
                self._node = node if state["state"] == "running" else self._node
        self._shares.pop("", None)
        self._tell(self._node, min(1.0, sum(self._shares.values()) / self._nodes))


async def listen(server: Server, watch: Watch) -> None:
    """Feed a watch until cancelled, over however many connections that takes."""
    while True:
        try:
            async with server.listen() as socket:
                async for message in socket:
                    if message.type == server.aiohttp.WSMsgType.TEXT:
                        _feed(watch, message.data)
        except ServerLost:
            pass  # whoever asks for the history finds out
        await asyncio.sleep(1)


def _feed(watch: Watch, text: str) -> None:
    try:
        watch.take(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # a message of a kind that other versions send
