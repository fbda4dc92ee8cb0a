"""Checkpoints of DVFace: a folder of the one-step system with ``prior/`` and ``fusion/`` beside its parts.

Key names are the project's own, since no checkpoint is published; a mapping belongs here on the day that one is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vividface_core.dvface.fusion import Fusion, FusionConfig
from vividface_core.dvface.priors import PriorEncoder
from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.folders import whole_folder
from vividface_core.io.quantization import FP8
from vividface_core.restorers.dvface import DVFaceRestorer, check_priors
from vividface_core.restorers.one_step_files import DEFAULTS, PartLoader, fill_part, format_of, load_parts, part_config
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.restorers.one_step_save import save_part, write_parts
from vividface_core.restorers.registry import CheckpointFiles, Contents, Found

SYSTEM = "dvface"
PRIOR, FUSION = "prior", "fusion"
WANTED = f"a checkpoint of {SYSTEM!r} has"


def detect(contents: Contents) -> Found | None:
    """Only folders with a card can be of this system."""
    if contents.card is None or contents.card.get("system") != SYSTEM:
        return None
    return Found("checkpoint folder", True, {**DEFAULTS, **contents.card}, format_of(contents.path))


def load(files: CheckpointFiles, execution: OneStepExecution) -> DVFaceRestorer:
    """A restorer from a checkpoint folder.

    Raises:
        MissingWeights: a part is not here.
        UnsupportedCheckpoint: the content is damaged, or does not belong together.
        InvalidOption: what the restorer refuses.
    """
    how = PartLoader(execution)
    return DVFaceRestorer(
        **load_parts(files.path, how, SYSTEM),
        priors=load_priors(files.path / PRIOR),
        fusion=load_fusion(files.path / FUSION),
    )


def load_priors(folder: Path) -> PriorEncoder:
    """Read what :func:`save` wrote into ``prior/``, in fp32."""
    config = part_config(folder, WANTED)
    try:
        net = PriorEncoder(**config)
    except (TypeError, InvalidOption) as error:
        raise UnsupportedCheckpoint(f"{folder / 'config.json'} describes no prior encoder: {error}") from error
    return fill_part(net, folder)


def load_fusion(folder: Path) -> Fusion:
    """Read what :func:`save` wrote into ``fusion/``, in fp32."""
    return fill_part(Fusion(FusionConfig.from_dict(part_config(folder, WANTED), folder / "config.json")), folder)


def save(
    path: Path, restorer: DVFaceRestorer, meta: Mapping[str, Any], dtype: torch.dtype | None = torch.float16
) -> Path:
    """Write a ``plain`` restorer; see :func:`save_folder`."""
    parts = {name: getattr(restorer, name) for name in ("vae", "transformer", "prompt", "decoder", "encoder")}
    return save_folder(path, parts, restorer.priors, restorer.fusion, meta, dtype)


def save_folder(
    path: Path,
    parts: Mapping[str, Any],
    priors: PriorEncoder,
    fusion: Fusion,
    meta: Mapping[str, Any],
    dtype: torch.dtype | None = torch.float16,
) -> Path:
    """As :func:`~vividface_core.restorers.one_step_save.save_checkpoint_folder`, with priors and fusion beside the
    other parts, in ``dtype`` (as they are, where that is an fp8 type).

    Args:
        parts: ``vae``, ``transformer``, ``prompt``, ``decoder`` and ``encoder`` of a one-step restorer.
    """
    check_priors(priors, fusion, parts["vae"], parts["transformer"])
    narrow = None if dtype in FP8.values() else dtype
    with whole_folder(Path(path)) as partial:
        write_parts(partial, **parts, meta={**meta, "system": SYSTEM}, dtype=dtype)
        save_part(partial / PRIOR, priors, priors.config, narrow)
        save_part(partial / FUSION, fusion, fusion.config.to_dict(), narrow)
    return Path(path)
