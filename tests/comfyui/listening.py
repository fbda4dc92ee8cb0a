"""What a page hears of a run: the bar of one node and the pictures on it, in their order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.comfyui.server import ComfyServer

PICTURE = -1.0
"""Stands in :func:`heard`'s list for a picture."""


def heard(server: ComfyServer, prompt: dict[str, Any], node: str, patience: float = 600.0) -> tuple[list[float], str]:
    """Run a prompt; returns the node's shares done, 0…1, with :data:`PICTURE` where one came, and how it ended."""

    async def listen() -> tuple[list[float], str]:
        news: list[float] = []
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{server.address}/ws?clientId=listener", max_msg_size=0) as socket:
                prompt_id = await asyncio.to_thread(server.queue, prompt, "listener")
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        news.append(PICTURE)
                        continue
                    said = json.loads(message.data)
                    if said["type"] == "progress" and said["data"].get("node") == node:
                        news.append(said["data"]["value"] / said["data"]["max"])
                    if said["type"] in ("execution_success", "execution_error") and (
                        said["data"]["prompt_id"] == prompt_id
                    ):
                        return news, said["type"]
        return news, "the server closed the connection"

    return asyncio.run(asyncio.wait_for(listen(), patience))
