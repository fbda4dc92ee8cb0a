"""Files from the Hub: resumed where a connection broke, checked, and only then given their name."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint

STAGING = ".download"
"""Sub-folder for what is not yet checked; it also remembers how far a broken download came."""


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


def endpoint() -> str:
    """The Hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether the user forbade the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch(file: HubFile, folder: Path, progress: Callable[[float], None] | None = None) -> Path:
    """Bring ``file`` into ``folder``; a file that is there already is left as it is.

    Args:
        progress: called with the share done, 0…1; may raise to stop, and a later call goes on from there. ``None``
            leaves it to the Hub client's own bar.

    Raises:
        MissingWeights: it could not be fetched; tells the file, the folder and the address.
        UnsupportedCheckpoint: it came with other content than it should have; it was deleted.
    """
    target = folder / file.path
    if target.is_file() and file.size in (None, target.stat().st_size):
        return target
    if is_offline():
        raise MissingWeights(_told(file, folder, "HF_HUB_OFFLINE forbids the network"))
    staging = folder / STAGING
    arrived, promised = _download(file, folder, staging, progress)
    found = _sha256(arrived)
    if promised and found != promised:
        arrived.unlink()
        raise UnsupportedCheckpoint(
            f"{file.address} came with SHA-256 {found}, but {promised} was expected. It was deleted; download it again, "
            "and if that repeats do not trust the source."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(arrived, target)
    shutil.rmtree(staging)
    return target


def _download(
    file: HubFile, folder: Path, staging: Path, progress: Callable[[float], None] | None
) -> tuple[Path, str | None]:
    """The file under ``staging`` and the SHA-256 that it must have."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.utils import tqdm
    except ImportError as error:
        raise MissingDependency(
            f"Downloads need huggingface_hub, which does not import here ({error}). "
            f"Install it with: pip install -U huggingface_hub. Or fetch {file.address} into {folder} yourself."
        ) from error

    stopped: list[BaseException] = []

    class Bar(tqdm):
        """Tells the caller instead of drawing."""

        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            try:
                progress(min(1.0, self.n / self.total) if self.total else 0.0)
            except BaseException as error:
                stopped.append(error)
                raise

    try:
        metadata = get_hf_file_metadata(hf_hub_url(file.repo, file.path, endpoint=endpoint()), endpoint=endpoint())
        arrived = hf_hub_download(
            file.repo, file.path, local_dir=staging, endpoint=endpoint(), **({"tqdm_class": Bar} if progress else {})
        )
    except Exception as error:  # the client's, its HTTP library's and the system's have no base in common
        if stopped:
            raise stopped[0] from None
        raise MissingWeights(_told(file, folder, _reason(error))) from error
    # Large files are tagged by their SHA-256, small ones by a Git hash, which is no promise about the content.
    tagged = metadata.etag if metadata.etag and re.fullmatch("[0-9a-f]{64}", metadata.etag) else None
    return Path(arrived), file.sha256 or tagged


def _reason(error: Exception) -> str:
    """The innermost cause in one line: what the client says first is mostly how to use the client."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _told(file: HubFile, folder: Path, reason: str) -> str:
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
