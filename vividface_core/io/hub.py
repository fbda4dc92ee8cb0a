"""Files from the Hub and other addresses: resumed where a connection broke, checked, and only then given their name."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint

STAGING = ".download"
"""Sub-folder for what is not yet whole or not yet checked; a later call goes on from there."""
TRIES, PAUSE, TIMEOUT, PIECE = 4, 1.0, 30, 1 << 20
"""Attempts without a new byte, seconds between them, seconds without an answer, bytes of a piece."""


@dataclass(frozen=True)
class HubFile:
    """One file of a model repository.

    Attributes:
        repo: ``owner/name``.
        path: inside the repository; also where it goes inside the local folder.
        sha256: of its content; ``None``: what the Hub itself says at download time.
        size: bytes, if known.
    """

    repo: str
    path: str
    sha256: str | None = None
    size: int | None = None

    @property
    def address(self) -> str:
        """Where a person can fetch it with a browser. ``HF_ENDPOINT`` names another Hub."""
        return f"{endpoint()}/{self.repo}/resolve/main/{self.path}"


@dataclass(frozen=True)
class WebFile:
    """One file at a plain address, such as a release's.

    Attributes:
        address: of its content.
        path: where it goes inside the local folder.
        sha256: of its content, or the leading digits that are known; ``None``: unknown.
        size: bytes, if known.
    """

    address: str
    path: str
    sha256: str | None = None
    size: int | None = None


def endpoint() -> str:
    """The Hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether the user forbade the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch(file: HubFile | WebFile, folder: Path, progress: Callable[[float], None] | None = None) -> Path:
    """Bring ``file`` into ``folder``; a file that is there already is left as it is.

    Args:
        progress: called with the share done, 0…1; may raise to stop, and a later call goes on from there.

    Raises:
        MissingWeights: it could not be fetched; tells the file, the folder and the address.
        UnsupportedCheckpoint: it came with other content than it should have; it was deleted.
    """
    target = folder / file.path
    if target.is_file() and file.size in (None, target.stat().st_size):
        return target
    if is_offline():
        raise MissingWeights(_told(file, folder, "HF_HUB_OFFLINE forbids the network"))
    if isinstance(file, HubFile):
        url, headers, promised, size = _ask(file, folder)
    else:
        url, headers, promised, size = file.address, {}, file.sha256 or "", file.size or _size_of(file, folder)
    staging = folder / STAGING
    partial = staging / f"{hashlib.sha256(f'{file.path} {promised}'.encode()).hexdigest()[:16]}.partial"
    staging.mkdir(parents=True, exist_ok=True)
    try:
        _receive(url, headers, partial, size, progress or (lambda share: None))
    except (OSError, http.client.HTTPException) as error:
        raise MissingWeights(_told(file, folder, _reason(error))) from error
    checksum = file.sha256 or (promised if re.fullmatch("[0-9a-f]{64}", promised) else None)
    # Large files are tagged by their SHA-256, small ones by a Git hash, which is no promise about the content.
    if checksum and not (found := _sha256(partial)).startswith(checksum):
        partial.unlink()
        raise UnsupportedCheckpoint(
            f"{file.address} came with SHA-256 {found}, but {checksum} was expected. It was deleted; download it "
            "again, and if that repeats do not trust the source."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, target)
    if not any(staging.iterdir()):
        staging.rmdir()
    return target


def _ask(file: HubFile, folder: Path) -> tuple[str, dict[str, str], str, int | None]:
    """Where the content lies, what to send along, its tag and its size, as the Hub says now."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingDependency(
            f"Downloads need huggingface_hub, which does not import here ({error}). "
            f"Install it with: pip install -U huggingface_hub. Or fetch {file.address} into {folder} yourself."
        ) from error
    address = hf_hub_url(file.repo, file.path, endpoint=endpoint())
    try:
        metadata = get_hf_file_metadata(address, endpoint=endpoint())
    except Exception as error:  # the client's, its HTTP library's and the system's have no base in common
        raise MissingWeights(_told(file, folder, _reason(error))) from error
    url = metadata.location or address
    headers = build_hf_headers()
    if urlsplit(url).netloc != urlsplit(address).netloc:
        # A storage server elsewhere has its pass in the address; the user's token is none of its business.
        headers.pop("authorization", None)
    return url, headers, metadata.etag or "", metadata.size


def _size_of(file: WebFile, folder: Path) -> int | None:
    try:
        with urlopen(Request(file.address, method="HEAD"), timeout=TIMEOUT) as response:
            return int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise MissingWeights(_told(file, folder, _reason(error))) from error


def _receive(
    url: str, headers: dict[str, str], partial: Path, size: int | None, progress: Callable[[float], None]
) -> None:
    """Append to ``partial`` what it lacks; a broken connection is taken up again while something arrives.

    Newer versions of the Hub's own client start every download anew, too dear for files of gigabytes.
    """
    tries = TRIES
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if size is None or before < size:
                _receive_once(url, headers, partial, before, size, progress)
            if size is None or partial.stat().st_size >= size:
                return progress(1.0)
            error: Exception = OSError(f"the connection broke at {partial.stat().st_size:,} of {size:,} bytes")
        except HTTPError:
            raise
        except (OSError, http.client.HTTPException) as broken:
            error = broken
        tries = TRIES if partial.exists() and partial.stat().st_size > before else tries - 1
        if tries == 0:
            raise error
        time.sleep(PAUSE)


def _receive_once(
    url: str, headers: dict[str, str], partial: Path, start: int, size: int | None, progress: Callable[[float], None]
) -> None:
    request = Request(url, headers={**headers, "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urlopen(request, timeout=TIMEOUT) as response:
        resumed = response.status == 206
        done = start if resumed else 0
        with open(partial, "ab" if resumed else "wb") as out:
            while piece := response.read(PIECE):
                out.write(piece)
                done += len(piece)
                progress(min(1.0, done / size) if size else 0.0)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: what the client says first is mostly how to use the client."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _told(file: HubFile | WebFile, folder: Path, reason: str) -> str:
    return (
        f"{file.path} could not be downloaded ({reason}). Put it into {folder} yourself, from {file.address}, or try "
        "again when the network is there: what has arrived is kept."
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        if hasattr(hashlib, "file_digest"):
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()  # Python 3.10
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
