"""One queue of files over several servers: each file is done exactly once, whatever happens to the servers.

A file is at any time in one place only: waiting, with one server, or finished. A lost server gives its file back. When
it answers again, a prompt that it still has is taken up if its file waits, and withdrawn if another server has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from vividface_core.comfy_client.attempt import Attempt
from vividface_core.comfy_client.files import Item
from vividface_core.comfy_client.journal import Journal
from vividface_core.comfy_client.report import Console
from vividface_core.comfy_client.server import Server
from vividface_core.comfy_client.watch import Watch, listen
from vividface_core.comfy_client.workflow import Workflow
from vividface_core.errors import ServerLost, UnreadableVideo, WorkflowFailed

BACK_OFF = (1, 2, 4, 8, 15)
"""Seconds until a lost server is tried again; the last one goes on."""
STARTS = 5
"""How often a file is sent anew before it counts as one that takes servers down."""


class Work(NamedTuple):
    """A file and its prompt on one server; no prompt before one is queued."""

    item: Item
    prompt: str | None = None


class Batch:
    """A run over several servers.

    Args:
        servers: opened ones.
        workflow: what is done to each file.
        items: the files; those in state waiting are done.
        journal: where results are recorded, and whose folder they go to.
        console: what is told meanwhile.
        retries: further attempts after an error while the workflow ran.
        patience: seconds that all servers may be lost at once.

    Attributes:
        losses: how often each server, by address, was lost, and the last reason.
    """

    def __init__(
        self,
        servers: list[Server],
        workflow: Workflow,
        items: Iterable[Item],
        journal: Journal,
        console: Console,
        *,
        retries: int = 1,
        patience: float = 120.0,
    ) -> None:
        self._servers, self._workflow, self._journal, self._console = servers, workflow, journal, console
        self._retries, self._patience = retries, patience
        self._waiting = deque(item for item in items if item.state == "waiting")
        self._open = len(self._waiting)
        self._arrived, self._over = asyncio.Event(), asyncio.Event()
        self._lost: dict[Server, str] = {}
        self._all_lost_at = 0.0
        self._abandoned: dict[Server, list[tuple[Item, str]]] = {server: [] for server in servers}
        self._watches = {server: Watch(len(workflow)) for server in servers}
        self.losses: dict[str, dict[str, Any]] = {server.address: {"lost": 0, "reason": None} for server in servers}

    async def run(self) -> None:
        """Work until every file is done or failed.

        Raises:
            ServerLost: no server answered for too long.
            UnwritableVideo: results can't be written.
        """
        if not self._open:
            return
        ears = [asyncio.create_task(listen(server, self._watches[server])) for server in self._servers]
        hands = [asyncio.create_task(self._serve(server)) for server in self._servers]
        over = asyncio.create_task(self._over.wait())
        try:
            ended, _ = await asyncio.wait({over, *hands}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended - {over}:
                task.result()  # it ends only with an error
        finally:
            for task in (over, *hands):
                task.cancel()
            await asyncio.gather(over, *hands, return_exceptions=True)
            for task in ears:
                task.cancel()
            await asyncio.gather(*ears, return_exceptions=True)

    async def _serve(self, server: Server) -> None:
        """One server's life: a file after the other, and back again after each loss."""
        settled = await self._await_server(server, told=False)
        while True:
            self._console.idle(server.address)
            work = settled or await self._next()
            work.item.state, work.item.server = "running", server.address
            try:
                await self._process(server, work)
                settled = None
            except ServerLost as error:
                self._put_back(work.item, str(error))
                self._set_lost(server, str(error))
                settled = await self._await_server(server, told=True)

    async def _next(self) -> Work:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return Work(self._waiting.popleft())

    def _put_back(self, item: Item, reason: str) -> None:
        if item.starts >= STARTS + item.errors:
            reason = f"It was sent {item.starts} times and the server was lost each time. The last: {reason}"
            return self._finish(item, "failed", reason)
        item.state, item.server = "waiting", ""
        self._waiting.appendleft(item)
        self._arrived.set()

    def _finish(self, item: Item, state: str, reason: str = "") -> None:
        item.state, item.reason = state, reason
        self._console.finished(item)
        self._open -= 1
        if not self._open:
            self._over.set()

    def _set_lost(self, server: Server, reason: str) -> None:
        self.losses[server.address]["lost"] += 1
        self._console.notice(f"{reason} It is tried again; its file goes to any server.")
        self._note_lost(server, reason)

    def _note_lost(self, server: Server, reason: str) -> None:
        self.losses[server.address]["reason"] = reason
        if server not in self._lost and len(self._lost) == len(self._servers) - 1:
            self._all_lost_at = time.monotonic()
        self._lost[server] = reason
        self._console.idle(server.address, "lost")

    async def _await_server(self, server: Server, *, told: bool) -> Work | None:
        """Wait until a server answers; returns work that it still has and that is wanted.

        Raises:
            ServerLost: all servers have been lost for longer than the patience.
        """
        attempt = 0
        while True:
            try:
                if server in self._lost:
                    await asyncio.sleep(self._pause(attempt))
                    attempt += 1
                await server.ping()
                work = await self._settle(server)
                break
            except ServerLost as error:
                if not told:
                    self._console.notice(f"{error} It is tried again.")
                    told = True
                self._note_lost(server, str(error))
                self._check_patience()
        if self._lost.pop(server, None):
            self._console.notice(f"{server.address} answers again.")
        return work

    def _pause(self, attempt: int) -> float:
        pause = float(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
        if len(self._lost) < len(self._servers):
            return pause
        return max(0.1, min(pause, self._all_lost_at + self._patience - time.monotonic()))

    def _check_patience(self) -> None:
        if len(self._lost) == len(self._servers) and time.monotonic() - self._all_lost_at >= self._patience:
            raise ServerLost(
                f"No server has answered for {self._patience:.0f} s: {' '.join(self._lost.values())} "
                "Start one and give the same command again: what is done is kept."
            )

    async def _settle(self, server: Server) -> Work | None:
        """Take up one prompt from before the server was lost if its file still waits; withdraw the others."""
        taken = None
        while self._abandoned[server]:
            item, prompt = self._abandoned[server][0]
            known = await server.history(prompt) or await server.queued(prompt)
            if known and taken is None and item in self._waiting:
                self._waiting.remove(item)
                taken = Work(item, prompt)
            elif known == "pending" or known == "running":
                await server.withdraw(prompt)
            self._abandoned[server].pop(0)
        return taken

    async def _process(self, server: Server, work: Work) -> None:
        """Do one file on one server; it is finished or waits again afterwards.

        Raises:
            ServerLost: the server is gone; the file is still running.
        """
        item = work.item
        began = time.monotonic()
        attempt = Attempt(server, self._watches[server], self._workflow, item, self._console, prompt=work.prompt)
        try:
            parts = await attempt.run(self._journal.folder)
        except ServerLost:
            if attempt.prompt:
                self._abandoned[server].append((item, attempt.prompt))
            raise
        except asyncio.CancelledError:
            await attempt.withdraw()
            raise
        except (WorkflowFailed, UnreadableVideo) as error:
            item.seconds = time.monotonic() - began
            self._failed(item, error)
        else:
            item.seconds = time.monotonic() - began
            item.outputs = self._journal.accept(item, self._workflow.digest, parts)
            self._finish(item, "done")

    def _failed(self, item: Item, error: WorkflowFailed | UnreadableVideo) -> None:
        item.errors += 1
        if isinstance(error, WorkflowFailed) and error.again and item.errors <= self._retries:
            self._console.again(item, str(error))
            item.state = "waiting"
            self._waiting.append(item)
            self._arrived.set()
        else:
            self._finish(item, "failed", str(error))
