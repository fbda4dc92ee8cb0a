"""One ComfyUI server over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vividface_core.comfy_client.history import refusal
from vividface_core.errors import (
    InvalidOption,
    MissingDependency,
    ServerLost,
    UnreadableVideo,
    UnwritableVideo,
    WorkflowFailed,
)

FOLDER = "vividface-batch"
"""Where uploads go in the server's temp folder, which is emptied when the server starts."""
TYPE = "temp"
"""Which of the server's folders it is."""
ANSWER = 30.0
"""Seconds that a short request may take: a busy node can keep the server's loop waiting."""
TELLING = 3.0
"""Seconds over which a prompt that runs is told to stop."""
STUCK = 120.0
"""Seconds without a byte after which a transfer is given up."""
PIECE = 1 << 18


class Server:
    """A server's requests. Open with ``async with``.

    Args:
        address: ``http(s)://HOST[:PORT][/PREFIX]``; without a scheme ``http`` is meant.
        token: sent as ``Authorization: Bearer``.

    Attributes:
        address: as it may be shown, without a name and password in it.
        client: id of the websocket that gets the progress.

    Every request raises :class:`ServerLost` if the server can't be reached, doesn't answer in time or isn't a
    ComfyUI server.

    Raises:
        InvalidOption: not such an address.
        MissingDependency: aiohttp is missing or broken.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self._base, self.address = parse_address(address)
        self.client = uuid.uuid4().hex
        self._token = None if "@" in urlsplit(self._base).netloc else token
        self.aiohttp = load_aiohttp()

    async def __aenter__(self) -> Server:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = self.aiohttp.ClientSession(headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ping(self) -> None:
        """Nothing, if it answers."""
        await self._json("GET", "/queue")

    async def upload(self, path: Path, name: str) -> str:
        """Send a file, a piece at a time.

        Returns:
            What a node that loads it from the server's temp folder takes for its name.

        Raises:
            UnreadableVideo: it can't be read here.
            WorkflowFailed: the server doesn't take it.
        """
        try:
            file = WatchedFile(path)
        except OSError as error:
            raise UnreadableVideo(f"{path} can't be read: {error.strerror}.") from error
        with file:
            sending = asyncio.ensure_future(self._json("POST", "/upload/image", data=self._form(file, name), long=True))
            try:
                while not (await asyncio.wait({sending}, timeout=5))[0]:
                    if time.monotonic() - file.moved > STUCK:
                        raise ServerLost(f"{self.address} took no byte of {path.name} for {STUCK:.0f} s.")
            finally:
                sending.cancel()  # nothing, if it is done
                await asyncio.wait({sending})
            stored = sending.result()
        if not stored.get("name"):
            raise ServerLost(f"{self.address} is no ComfyUI server: it doesn't say where {path.name} is now.")
        place = "/".join(filter(None, (stored.get("subfolder"), stored["name"])))
        return f"{place} [{stored.get('type') or TYPE}]"

    async def discard(self, name: str) -> None:
        """Empty an upload that no prompt needs any more: a ComfyUI can't be told to delete a file."""
        await self._json("POST", "/upload/image", data=self._form(io.BytesIO(), name))

    def _form(self, file: Any, name: str) -> Any:
        form = self.aiohttp.FormData()
        form.add_field("image", file, filename=name, content_type="application/octet-stream")
        for field, value in (("subfolder", FOLDER), ("type", TYPE), ("overwrite", "true")):
            form.add_field(field, value)
        return form

    async def submit(self, graph: dict[str, Any], prompt: str) -> str:
        """Queue a workflow.

        Args:
            prompt: the id that it should get. Old servers choose one themselves.

        Returns:
            The id that it has.

        Raises:
            WorkflowFailed: the server refuses it, or a part of it.
        """
        body = {"prompt": graph, "client_id": self.client, "prompt_id": prompt}
        answer = await self._json("POST", "/prompt", json=body)
        reason = refusal(answer)
        if reason or not answer.get("prompt_id"):
            if answer.get("prompt_id"):
                await self.withdraw(answer["prompt_id"])  # the outputs without an error were queued
            raise WorkflowFailed(f"The server refuses the workflow: {reason or 'no reason given'}")
        return answer["prompt_id"]

    async def history(self, prompt: str) -> dict[str, Any] | None:
        """The entry of a finished prompt; ``None`` as long as there is none."""
        return (await self._json("GET", f"/history/{prompt}")).get(prompt)

    async def queued(self, prompt: str) -> str | None:
        """``running``, ``pending`` or ``None``: where a prompt stands in the queue."""
        queue = await self._json("GET", "/queue")
        for state in ("running", "pending"):
            if any(entry[1] == prompt for entry in queue.get(f"queue_{state}") or ()):
                return state
        return None

    async def withdraw(self, prompt: str) -> None:
        """Take a prompt out of the queue, or interrupt it if it is the one that runs. Others go on.

        A prompt that has just left the queue forgets an interruption as its run begins, so it is told until it
        ends, for :data:`TELLING` seconds at most: a node may finish its work first.
        """
        await self._json("POST", "/queue", json={"delete": [prompt]})
        began = time.monotonic()
        while await self.queued(prompt) == "running" and time.monotonic() - began < TELLING:
            await self._json("POST", "/interrupt", json={"prompt_id": prompt})
            await asyncio.sleep(0.2)

    async def download(self, place: dict[str, str], target: Path) -> None:
        """Fetch an output, a piece at a time.

        Args:
            place: ``filename``, ``subfolder`` and ``type``.

        Raises:
            WorkflowFailed: the server doesn't give it.
            UnwritableVideo: it can't be written here.
        """
        async with self._reach("GET", "/view", params=place, long=True) as response:
            try:
                with target.open("wb") as file:
                    async for piece in response.content.iter_chunked(PIECE):
                        file.write(piece)
            except self._failures:
                raise  # the connection's own, some of which are OSErrors too
            except OSError as error:
                raise UnwritableVideo(
                    f"Can't write {target}: {error.strerror}. Make room, or choose another --output."
                ) from error

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Any]:
        """The websocket with the progress of this client's prompts."""
        try:
            opened = self._session.ws_connect(
                f"{self._base}/ws", params={"clientId": self.client}, heartbeat=ANSWER, max_msg_size=0
            )
            socket = await asyncio.wait_for(opened, ANSWER)
            try:
                yield socket
            finally:
                await socket.close()
        except self._failures as error:
            raise self._lost("/ws", error) from error

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        async with self._reach(method, path, **options) as response:
            if not (await response.read()).strip():
                return {}
            try:
                answer = await response.json(content_type=None)
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                raise ServerLost(f"{self.address} is no ComfyUI server: what it answers to {path} is no JSON.")
            return answer

    @asynccontextmanager
    async def _reach(self, method: str, path: str, *, long: bool = False, **options: Any) -> AsyncIterator[Any]:
        """The response to a request, with every failure turned into one of ours."""
        stuck = self.aiohttp.ClientTimeout(total=None, sock_connect=ANSWER, sock_read=STUCK)
        timeout = stuck if long else self.aiohttp.ClientTimeout(total=ANSWER)
        try:
            async with self._session.request(method, self._base + path, timeout=timeout, **options) as response:
                if response.status >= 400:
                    self._refused(path, response.status, await response.text(errors="replace"))
                yield response
        except self._failures as error:
            raise self._lost(path, error) from error

    def _refused(self, path: str, status: int, text: str) -> None:
        """Raise what an HTTP error means: something about this server, or about this file."""
        if status in (401, 407) or (status == 403 and path != "/view"):
            raise ServerLost(
                f"{self.address} refuses access (HTTP {status}). Put its token into VIVIDFACE_SERVER_TOKEN."
            )
        about_file = path in ("/upload/image", "/prompt") and status not in (404, 405, 502, 503, 504)
        if not about_file and not (path == "/view" and status < 500):
            raise ServerLost(f"{self.address} has no working ComfyUI behind it now (HTTP {status} for {path}).")
        if status == 413:
            raise WorkflowFailed(
                f"It is larger than {self.address} takes. Start ComfyUI with a higher --max-upload-size (megabytes), "
                "and raise the limit of a proxy before it."
            )
        if path == "/prompt" and status == 400:
            raise WorkflowFailed(f"The server refuses the workflow: {refusal(_parsed(text)) or 'no reason given'}")
        message = f"{self.address} answers {path} with HTTP {status}: {text.strip()[:200]}"
        raise WorkflowFailed(message, again=status >= 500)

    @property
    def _failures(self) -> tuple[type[BaseException], ...]:
        return self.aiohttp.ClientError, asyncio.TimeoutError, ConnectionError

    def _lost(self, path: str, error: BaseException) -> ServerLost:
        reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else str(error) or type(error).__name__
        return ServerLost(f"{self.address} doesn't answer {path} ({reason}).")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class WatchedFile(io.BufferedReader):
    """A file that knows when it was last read from."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.moved = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        self.moved = time.monotonic()
        return super().read(size)


def load_aiohttp() -> ModuleType:
    """The HTTP library, imported late: the engine runs without it.

    Raises:
        MissingDependency: it is missing or broken.
    """
    try:
        import aiohttp
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"'vividface run' needs aiohttp, which does not import here ({error}). Install it with: pip install aiohttp"
        ) from error
    return aiohttp


def parse_address(address: str) -> tuple[str, str]:
    """The address to ask, and the one to show: without a name and password.

    Raises:
        InvalidOption: not ``http(s)://HOST[:PORT][/PREFIX]``.
    """
    whole = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(whole)
        valid = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        port = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise InvalidOption(
            "One --server is no address of the form http://HOST:PORT (https and a path prefix may be). "
            "Put a token into VIVIDFACE_SERVER_TOKEN, not into the address."
        )
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    shown = urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/"), "", ""))
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), shown
