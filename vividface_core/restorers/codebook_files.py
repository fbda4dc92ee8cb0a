"""Checkpoints of BFVR-STC for the registry: recognised, loaded and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vividface_core.bfvr_stc import checkpoint
from vividface_core.bfvr_stc.codeformer import RESIDUALS
from vividface_core.io.quantization import type_names
from vividface_core.io.tensors import container
from vividface_core.restorers.codebook import CodebookRestorer, load_codebook_restorer, tasks_of
from vividface_core.restorers.execution import ExecutionConfig, option
from vividface_core.restorers.registry import CheckpointFiles, Contents, Found


@dataclass(frozen=True)
class CodebookExecution(ExecutionConfig):
    """How a codebook restorer computes.

    Attributes:
        n_head, residual: of the network, for released files, whose weights don't tell; see
            :func:`vividface_core.bfvr_stc.checkpoint.load`.
    """

    n_head: int | None = option(None, kind=int, decides=True)
    residual: str | None = option(None, kind=str, choices=tuple(RESIDUALS), decides=True)

    def number_type(self) -> torch.dtype:
        return self.dtype or torch.float32  # as released


def detect(contents: Contents) -> Found | None:
    """What the contents are to this system: a model of stage II, which restores, or stage I alone."""
    path = contents.path
    if path.is_dir() and contents.card is None:
        return None
    known = checkpoint.detect(path, lambda _: contents.tensors)
    if known is None:
        return None
    config = known.card or {"kind": known.kind, "native_size": known.native_size, "native_frames": known.native_frames}
    weights = Contents(path / checkpoint.WEIGHTS) if path.is_dir() else contents
    stored = f"{container(weights.path)}, {type_names(weights.tensors)}"
    return Found(f"BFVR-STC {known.kind}", known.restores, config, stored, tasks_of(known.kind))


def load(files: CheckpointFiles, execution: CodebookExecution) -> CodebookRestorer:
    """A restorer; raises what :func:`~vividface_core.restorers.codebook.load_codebook_restorer` raises."""
    return load_codebook_restorer(
        files.path,
        device=execution.device,
        dtype=execution.number_type(),
        n_head=execution.n_head,
        residual=execution.residual,
    )


def save(
    path: Path, restorer: CodebookRestorer, meta: Mapping[str, Any], dtype: torch.dtype | None = torch.float16
) -> Path:
    """Write a checkpoint folder; raises what :func:`vividface_core.bfvr_stc.checkpoint.save` raises."""
    return checkpoint.save(
        path,
        restorer.net,
        kind=restorer.kind,
        native_size=restorer.native_size,
        native_frames=restorer.native_frames,
        meta=meta,
        dtype=dtype or restorer.dtype,
    )
