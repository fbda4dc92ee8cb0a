"""Tensors out of a GGUF file, as ComfyUI-GGUF's files of Wan hold them: under the original names, mapped.

Numbers wider than a byte are little endian; a file for the other kind of machine is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vividface_core.errors import MissingDependency, UnsupportedCheckpoint, first_line
from vividface_core.io.gguf_blocks import FORMATS
from vividface_core.io.quantization import QuantizedWeight, Stored

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SHAPE = "comfy.gguf.orig_shape."
"""Before a tensor's name: its shape, where the file has it in another, as blocks need rows of a certain length."""


class _Entry(NamedTuple):
    encoding: str
    shape: torch.Size
    start: int
    size: int


def read_gguf(path: Path, names: Collection[str] | None = None) -> dict[str, Stored]:
    """All tensors (or those ``names``) of a file; each is a map of its own, gone with the tensor.

    Raises:
        MissingDependency: the package gguf is absent or broken.
        UnsupportedCheckpoint: damaged, or with a quantization that isn't known here.
    """
    state = path.stat()
    entries = _entries(path, state.st_size, state.st_mtime_ns)
    return {name: _mapped(path, entry) for name, entry in entries.items() if names is None or name in names}


def _mapped(path: Path, entry: _Entry) -> Stored:
    # Copy-on-write, as PyTorch wants what it may write to; nobody writes.
    raw = torch.from_numpy(np.memmap(path, np.uint8, "c", entry.start, (entry.size,)))
    if entry.encoding in PLAIN:
        return raw.view(PLAIN[entry.encoding]).view(entry.shape)
    blocks = FORMATS[entry.encoding]
    rows = entry.shape[0] if entry.shape[-1] % blocks.weights == 0 else 1
    return QuantizedWeight(entry.encoding, raw.view(rows, -1), entry.shape)


@lru_cache(maxsize=4)
def _entries(path: Path, size: int, changed: int) -> dict[str, _Entry]:
    """Where each tensor lies. Size and time are there to tell a file from an older one at the same place."""
    reader = _open(path)
    shapes = {
        key.removeprefix(_SHAPE): torch.Size(field.contents())
        for key, field in reader.fields.items()
        if key.startswith(_SHAPE)
    }
    entries = {}
    for tensor in reader.tensors:
        name, encoding = tensor.name, tensor.tensor_type.name
        if encoding not in PLAIN and encoding not in FORMATS:
            raise UnsupportedCheckpoint(
                f"{path}: {name} is quantized as {encoding}, which is not known here. Known are "
                f"{', '.join([*PLAIN, *FORMATS])}; take a file in one of those."
            )
        shape = shapes.get(name, torch.Size(int(side) for side in reversed(tensor.shape)))
        if shape.numel() != tensor.n_elements or tensor.data_offset + tensor.n_bytes > size:
            raise UnsupportedCheckpoint(f"{path} is damaged: {name} is not as large as the file says.")
        entries[name] = _Entry(encoding, shape, tensor.data_offset, tensor.n_bytes)
    return entries


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except Exception as error:  # a broken library beside it raises anything
        raise MissingDependency(
            f"{path.name} is a GGUF file, and the package gguf, which reads such files, does not import here "
            f"({first_line(error)}). Install it with: pip install gguf"
        ) from error

    class Reader(GGUFReader):
        """One that doesn't count on beyond the end of a file, however many entries that promises."""

        def _get(self, offset: int, *args: Any, **kwargs: Any) -> Any:
            if offset >= len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, *args, **kwargs)

    try:
        reader = Reader(path)
    except Exception as error:  # indices, sizes and texts that are nonsense fail in many ways
        said = first_line(error)
        raise UnsupportedCheckpoint(f"{path} is damaged or no known kind of GGUF file ({said}).") from error
    if reader.byte_order == "S":
        raise UnsupportedCheckpoint(f"{path} is a GGUF file for machines of the other byte order; take another one.")
    return reader
