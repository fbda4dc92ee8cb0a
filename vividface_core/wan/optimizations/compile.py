"""The denoiser's repeated block compiled, never required: where it fails, the denoiser runs as it is.

The compiler's results are kept in the user's cache folder, so that it works once for each version of torch, device
and kind of model. They hold machine code: nobody else may be able to write there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vividface_core.wan import folded_transformer
from vividface_core.wan.folded_transformer import FoldedBlock, FoldedDenoiser
from vividface_core.wan.injection import Injection

log = logging.getLogger(__name__)


class CompiledDenoiser:
    """Calls a denoiser with its block compiled; the first pass of a size takes up to a minute or so.

    Args:
        denoiser: stays as it is; its weights may move, its size may change.
        cache: folder for the compiler's results; ``None``: :func:`cache_folder`.
    """

    def __init__(self, denoiser: FoldedDenoiser, cache: Path | None = None) -> None:
        self._denoiser, self._folder = denoiser, cache or cache_folder()
        # All blocks are one piece of code with other weights: it is compiled once.
        self._compiled: Callable[[FoldedBlock, Tensor, Tensor], None] | None = torch.compile(FoldedBlock.forward)
        self._seen: set[tuple[int, ...]] = set()

    @property
    def works(self) -> bool:
        """Whether nothing has failed until now."""
        return self._compiled is not None

    def __call__(
        self, latent: Tensor, on_block: Callable[[int], None] | None = None, injections: Sequence[Injection] = ()
    ) -> Tensor:
        """As :meth:`~vividface_core.wan.folded_transformer.FoldedDenoiser.forward`."""
        if self._compiled is not None:
            try:
                return self._run(latent, on_block, injections)
            except _Failed as failure:
                self._compiled = None
                reason = (str(failure.__cause__).strip().splitlines() or [type(failure.__cause__).__name__])[0]
                log.warning("The denoiser could not be compiled and runs as it is, with the same result: %s", reason)
        # From the start: a block works in place, and some may have run.
        return self._denoiser(latent, on_block, injections=injections)

    def _run(self, latent: Tensor, on_block: Callable[[int], None] | None, injections: Sequence[Injection]) -> Tensor:
        size, file = tuple(latent.shape), self._folder / f"{self._key()}.bin"
        new = size not in self._seen
        if new and not self._seen:
            _load(file)
        velocity = self._denoiser(latent, on_block, self._block, injections)
        if new:
            self._seen.add(size)
            _save(file)
        return velocity

    def _block(self, block: FoldedBlock, x: Tensor, table: Tensor) -> None:
        assert self._compiled is not None  # __call__ saw it
        try:
            self._compiled(block, x, table)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler fails in many ways; if the model is at fault, it fails again without
            raise _Failed from error

    def _key(self) -> str:
        """Of all that the results depend on."""
        first = self._denoiser.blocks[0]
        device = first.gate1.device
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        tensors = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in first.state_dict().items()]
        config = sorted((name, str(value)) for name, value in self._denoiser.config.items() if name[0] != "_")
        parts = [
            torch.__version__,
            sys.version,
            device.type,
            chip,
            Path(folded_transformer.__file__).read_text(),
            self._denoiser.attention.name,
            config,
            tensors,
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Failed(Exception):
    """The compiled block raised; the cause tells what."""


def cache_folder() -> Path:
    """Where the user's programs keep what can be made again: ``…/vividface/compiled``."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vividface" / "compiled"


def _load(file: Path) -> None:
    try:
        torch.compiler.load_cache_artifacts(file.read_bytes())
    except FileNotFoundError:
        return
    except Exception as error:  # of an older torch, cut off …; it is compiled again
        log.debug("%s is of no use: %s", file, error)


def _save(file: Path) -> None:
    """Only costs time next time if it fails, as on a read-only disk."""
    try:
        found = torch.compiler.save_cache_artifacts()
        if found is None:
            return
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(found[0])
        part.replace(file)
    except Exception as error:
        log.debug("%s was not written: %s", file, error)
