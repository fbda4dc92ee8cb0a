"""One file on one server: sent, queued, awaited and fetched."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from vividface_core.comfy_client.files import Item, result_names
from vividface_core.comfy_client.history import outputs_of
from vividface_core.comfy_client.report import Console
from vividface_core.comfy_client.server import Server
from vividface_core.comfy_client.watch import Watch
from vividface_core.comfy_client.workflow import Workflow
from vividface_core.errors import ServerLost, WorkflowFailed

POLL = 2.0
"""Seconds between looks at the history while the websocket says nothing."""
GOODBYE = 10.0
"""Seconds that withdrawing a prompt may take when the run is stopped."""


class Attempt:
    """An attempt at a file.

    Args:
        server: an opened one.
        watch: what listens to its websocket.
        prompt: one that the server has already; ``None``: send the file and queue a new one.

    Attributes:
        prompt: id of the prompt that the server may have; ``None`` before one is queued.
    """

    def __init__(
        self,
        server: Server,
        watch: Watch,
        workflow: Workflow,
        item: Item,
        console: Console,
        *,
        prompt: str | None = None,
    ) -> None:
        self._server, self._watch, self._workflow, self._item = server, watch, workflow, item
        self._console, self.prompt = console, prompt

    async def run(self, folder: Path) -> list[tuple[Path, str]]:
        """All of it.

        Args:
            folder: where the results go.

        Returns:
            Each result's temporary file, and the name that it should get.

        Raises:
            ServerLost: the server is gone, or has no such prompt any more.
            WorkflowFailed: the server refused the workflow or failed in it.
            UnreadableVideo, UnwritableVideo: the file can't be read, or a result can't be written.
        """
        prompt = self.prompt or await self._send()
        entry = await self._result(prompt)
        try:
            return await self._fetch(entry, folder)
        finally:
            await self._tidy()

    async def withdraw(self) -> None:
        """Take the prompt back from the server, as far as it answers."""
        try:
            if self.prompt:
                await asyncio.wait_for(self._server.withdraw(self.prompt), GOODBYE)
        except (ServerLost, asyncio.TimeoutError):
            self._console.notice(f"{self._server.address} may still work on {self._item.name}: it took no stop.")

    async def _tidy(self) -> None:
        """The prompt has ended, whatever became of it: the server needn't keep the file."""
        try:
            await self._server.discard(self._item.upload_name)
        except (ServerLost, WorkflowFailed):
            pass  # the server's next start removes it

    async def _send(self) -> str:
        self._say("is sent")
        await self._server.ping()  # a server that went while it had nothing to do costs the file no attempt
        self._item.starts += 1
        stored = await self._server.upload(self._item.path, self._item.upload_name)
        self.prompt = str(uuid.uuid4())  # known before the request: its answer may get lost
        self.prompt = await _finished(self._server.submit(self._workflow.filled(stored), self.prompt))
        return self.prompt

    async def _result(self, prompt: str) -> dict[str, Any]:
        """The history entry of the prompt, when there is one."""
        server, watch = self._server, self._watch
        watch.begin(prompt, lambda node, share: self._say(self._workflow.title(node), share))
        while True:
            entry = await _patiently(lambda: server.history(prompt))
            if entry is None and await _patiently(lambda: server.queued(prompt)) is None:
                entry = await _patiently(lambda: server.history(prompt))  # it may have ended between the questions
                if entry is None:
                    raise ServerLost(
                        f"{server.address} no longer knows the prompt of {self._item.name}: "
                        "it was restarted, or somebody removed it."
                    )
            if entry is not None:
                return entry
            if watch.ended.is_set():
                await asyncio.sleep(POLL / 10)  # the message comes a moment before the entry
                continue
            try:
                await asyncio.wait_for(watch.ended.wait(), POLL)
            except asyncio.TimeoutError:
                pass

    async def _fetch(self, entry: dict[str, Any], folder: Path) -> list[tuple[Path, str]]:
        outputs = outputs_of(entry)
        names = result_names(self._item.stem, [(node, place["filename"]) for node, place in outputs])
        self._say("is fetched", 1.0)
        parts = []
        try:
            for number, ((_, place), name) in enumerate(zip(outputs, names)):
                parts.append((folder / f".{self._item.mark}-{number}.partial", name))
                await self._server.download(place, parts[-1][0])
        except BaseException:
            for part, _ in parts:
                part.unlink(missing_ok=True)
            raise
        return parts

    def _say(self, step: str, share: float = 0.0) -> None:
        self._console.share(self._server.address, self._item, step, share)


async def _finished(request: Awaitable[str]) -> str:
    """The answer to a request that goes on even if the run is stopped meanwhile, so that it can be undone."""
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=GOODBYE)
        if task.done() and not task.cancelled():
            task.exception()  # of no interest now, and asyncio complains about one that nobody looked at
        raise


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """An answer, asked for three times: a server that hiccups once isn't lost."""
    for pause in (0.5, 1.5):
        try:
            return await ask()
        except ServerLost:
            await asyncio.sleep(pause)
    return await ask()
