"""One question to a server with the chat-completions interface: sent, repeated where that may help, read whole.

Python's own client is enough. The openai package would replace the request alone, as deadlines of a whole answer,
limits of its size, waits shared by threads and broken streams are checked on the bytes here; it would bring six
packages, send facts of the machine in headers, and take keys and organisations from the environment, which servers of
a workflow must not get.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from vividface_core.errors import Interrupted, InvalidOption, JudgeFailed
from vividface_core.mllm.judges.server_settings import ServerSettings

PIECE, LARGEST = 1 << 16, 64 << 20
"""Bytes read at once, and of the longest answer that is taken."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Refused(JudgeFailed):
    """The server says no to this request, and would again.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RetryableError(Exception):
    """A failure that another attempt may get past; ``wait`` is what the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class CutOff(RetryableError):
    """The answer reached the limit of its length."""


class _NoRedirect(HTTPRedirectHandler):
    """The key and the pictures go to the address that the user named, nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Transport:
    """Requests to one server.

    Args:
        address: base URL, such as ``http://127.0.0.1:8000/v1``.

    Raises:
        InvalidOption: no such address.
    """

    def __init__(self, address: str, settings: ServerSettings) -> None:
        self.address = checked_address(address)
        self._settings = settings
        self._rate_limiter = RateLimiter(settings.requests_per_minute, settings.concurrency)
        # A proxy can't reach what only this machine can.
        proxies = [ProxyHandler({})] if urlsplit(self.address).hostname in LOOPBACK else []
        self._opener = build_opener(_NoRedirect, *proxies)

    def chat(
        self, make: Callable[[int], dict[str, Any]], stopped: threading.Event | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Ask until there is a whole answer.

        Args:
            make: the request's body; its argument counts the answers that were cut off so far.
            stopped: set by another thread, nothing more is sent.

        Returns:
            The text, and the server's ``usage`` and ``model``.

        Raises:
            Refused: the server refuses this request for good.
            JudgeFailed: every attempt failed.
            Interrupted: ``stopped`` was set.
        """
        stopped = stopped or threading.Event()
        attempts = self._settings.retries + 1
        cut, reason = 0, ""
        for attempt in range(1, attempts + 1):
            try:
                with self._rate_limiter.turn():
                    if stopped.is_set():
                        raise Interrupted(f"{self.address} isn't asked any more: the judging was stopped.")
                    return self._once(make(cut))
            except RetryableError as error:
                reason = self._clean(str(error))
                cut += isinstance(error, CutOff)
                self._wait(attempt, attempts, error, reason, stopped)
        raise JudgeFailed(
            f"{self.address} gave no whole answer in {attempts} attempt{'s' * (attempts > 1)}. The last: {reason}"
        )

    def _wait(self, attempt: int, attempts: int, error: RetryableError, reason: str, stopped: threading.Event) -> None:
        if attempt == attempts:
            return
        pause = back_off(attempt, self._settings.back_off)
        if error.wait is not None:
            if error.wait > self._settings.longest_wait:
                raise JudgeFailed(
                    f"{self.address} asks to wait {error.wait:.0f} s ({reason}), which is longer than the "
                    f"{self._settings.longest_wait:.0f} s that are set (longest_wait). Try again later."
                ) from None
            pause = max(pause, error.wait)
            self._rate_limiter.hold(error.wait)
        stopped.wait(pause)

    def _once(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        settings = self._settings
        data = json.dumps(body).encode()
        if len(data) > settings.max_megabytes * 1e6:
            raise JudgeFailed(
                f"The request is {len(data) / 1e6:.1f} MB, more than the {settings.max_megabytes:g} MB that are set "
                "(max_megabytes). Show fewer or smaller frames: --frames, --frame-pixels."
            )
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "vividface"}
        if settings.stream:
            headers["Accept"] = "text/event-stream"
        request = Request(f"{self.address}/chat/completions", data=data, headers=headers, method="POST")
        if settings.key:
            # Not among the headers proper, which a library may show or pass on.
            request.add_unredirected_header("Authorization", f"Bearer {settings.key.reveal()}")
        deadline = time.monotonic() + settings.timeout
        try:
            with self._opener.open(request, timeout=settings.timeout) as response:
                whole = self._read(response, deadline)
        except HTTPError as error:
            with error:
                raise self._error_of(error) from None
        except TimeoutError:
            raise RetryableError(f"no answer within {settings.timeout:g} s") from None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise RetryableError(f"no answer within {settings.timeout:g} s") from None
            raise RetryableError(
                f"it can't be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
            ) from None
        except http.client.IncompleteRead as error:
            raise RetryableError(f"the answer broke off after {len(error.partial)} bytes") from None
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"the connection broke ({getattr(error, 'strerror', None) or error})") from None
        return _streamed(whole) if settings.stream and not whole.lstrip().startswith(b"{") else _plain(whole)

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        """The body; a server that sends a byte now and then doesn't keep us for ever."""
        pieces, size = [], 0
        said = None if response.chunked else response.headers.get("Content-Length", "")
        whole = int(said) if said and said.isdecimal() else None
        while size != whole and (piece := response.read1(PIECE)):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise JudgeFailed(f"{self.address} sends more than {LARGEST >> 20} MB, which is no assessment.")
            if time.monotonic() > deadline:
                raise TimeoutError
        if whole is not None and size < whole:
            raise http.client.IncompleteRead(b"".join(pieces), whole - size)
        return b"".join(pieces)

    def _error_of(self, error: HTTPError) -> Exception:
        try:
            text = _message(error.read(LARGEST))
        except (OSError, http.client.HTTPException):
            text = ""
        told = self._clean(f"HTTP {error.code}" + (f": {text}" if text else ""))
        if error.code in (408, 425, 429) or error.code >= 500 and error.code not in (501, 505):
            return RetryableError(told, retry_after(error.headers.get("Retry-After")))
        hint = ""
        if error.code in (401, 403, 407):
            hint = " Put a key that it takes into VIVIDFACE_MLLM_KEY, or name the variable with --key-env."
        elif error.code == 404:
            hint = " Check the base URL (it mostly ends in /v1) and --model."
        elif error.code == 413:
            hint = " Show fewer or smaller frames: --frames, --frame-pixels."
        elif 300 <= error.code < 400:
            place = urlsplit(error.headers.get("Location") or "")
            hint = f" It sends on to {place.scheme}://{place.hostname}; name that address if you trust it."
        return Refused(f"{self.address} refuses the request ({told}).{hint}", error.code)

    def _clean(self, text: str) -> str:
        return self._settings.key.redact(text) if self._settings.key else text


def _message(body: bytes) -> str:
    """What an error's body says, in one short line."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    for word in ("error", "message", "detail"):
        if isinstance(content, dict) and word in content:
            content = content[word]
    return " ".join((content if isinstance(content, str) else json.dumps(content)).split())[:300]


def _plain(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        if not isinstance(message, dict):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError):
        what = _message(body) or "nothing"
        raise RetryableError(f"what it sent is no whole answer of a chat: {what[:120]}") from None
    return _text(message.get("content"), message.get("refusal"), choice.get("finish_reason")), _facts(answer)


def _streamed(body: bytes) -> tuple[str, dict[str, Any]]:
    """The answer out of server-sent events; it is whole only if the last one says why it ended."""
    text, refusal, reason = "", "", None
    facts: dict[str, Any] = {}
    for line in body.decode("utf-8", "replace").splitlines():
        if not line.startswith("data:") or (data := line[5:].strip()) == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except ValueError:
            raise RetryableError("the stream broke off within an event") from None
        if not isinstance(event, dict) or "error" in event:
            raise RetryableError(f"the stream ended with an error: {_message(data.encode())}")
        facts |= _facts(event)
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text += delta.get("content") or ""
            refusal += delta.get("refusal") or ""
            reason = choice.get("finish_reason") or reason
    if reason is None:
        raise RetryableError(f"the stream broke off after {len(text)} characters")
    return _text(text, refusal, reason), facts


def _text(content: Any, refusal: str | None, reason: str | None) -> str:
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    text = content if isinstance(content, str) else ""
    if reason == "length":
        raise CutOff(f"the answer was cut off after {len(text)} characters; allow longer ones with --max-tokens")
    if not text.strip() and not refusal:
        raise RetryableError(f"the answer is empty (finish_reason {reason})")
    return text or str(refusal)


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("model", "usage") if answer.get(name)}


def checked_address(address: str) -> str:
    """A base URL without a slash at its end.

    Raises:
        InvalidOption: not ``http(s)://HOST[:PORT][/PATH]``, or with a password in it.
    """
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise InvalidOption("The server of a judge must be http(s)://HOST[:PORT][/PATH], mostly with /v1 at its end.")
    if "@" in parts.netloc:
        raise InvalidOption(
            "Put the key into the environment (VIVIDFACE_MLLM_KEY) or the settings file, not into the server's address."
        )
    return address.rstrip("/").removesuffix("/chat/completions")


def is_open_network(address: str) -> bool:
    """Whether what is sent there crosses a network unencrypted."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


class RateLimiter:
    """Shared by all threads that ask one server.

    Args:
        per_minute: requests begun a minute, evenly spread; 0: no limit.
        at_once: requests under way at the same time.
    """

    def __init__(self, per_minute: float = 0.0, at_once: int = 1) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._slots = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until a request may begin; it counts as under way until the block ends."""
        with self._slots:
            with self._lock:
                begin = max(self._next, time.monotonic())
                self._next = begin + self._gap
            while (left := begin - time.monotonic()) > 0:
                time.sleep(left)
            yield

    def hold(self, seconds: float) -> None:
        """Nobody begins before that: the server said so to one of the threads."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def back_off(attempt: int, first: float, longest: float = 60.0) -> float:
    """Seconds before attempt ``attempt`` (1 is the first repeated one): doubled each time, the last half by chance, so
    that many clients that failed together don't come back together."""
    return min(first * 2 ** (attempt - 1), longest) * random.uniform(0.5, 1.0)


def retry_after(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number, or a date; ``None`` if it says nothing."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    return max(seconds, 0.0) if seconds == seconds and seconds != float("inf") else None
