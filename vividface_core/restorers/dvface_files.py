"""Checkpoints of DVFace: a folder of the one-step system with ``prior/`` and ``fusion/`` beside its parts.

Key names are the project's own, since no checkpoint is published; a mapping belongs here on the day that one is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vividface_core.dvface.fusion import Fusion, FusionConfig
from vividface_core.dvface.priors import PriorEncoder
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json, write_json
from vividface_core.io.folders import whole_folder
from vividface_core.io.quantization import FP8
from vividface_core.io.tensors import as_stored, read_tensors, write_tensors
from vividface_core.restorers.dvface import DVFaceRestorer, check_priors
from vividface_core.restorers.one_step_files import DEFAULTS, WEIGHTS_FILE, PartLoader, format_of, load_parts
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.restorers.one_step_save import PYTORCH, write_parts
from vividface_core.restorers.registry import CheckpointFiles, Contents, Found

SYSTEM = "dvface"
PRIOR, FUSION = "prior", "fusion"


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
    config = _config(folder)
    try:
        net = PriorEncoder(**config)
    except (TypeError, InvalidOption) as error:
        raise UnsupportedCheckpoint(f"{folder / 'config.json'} describes no prior encoder: {error}") from error
    return _filled(net, folder)


def load_fusion(folder: Path) -> Fusion:
    """Read what :func:`save` wrote into ``fusion/``, in fp32."""
    return _filled(Fusion(FusionConfig.from_dict(_config(folder), folder / "config.json")), folder)


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise MissingWeights(f"{folder / name} is missing, which a checkpoint of {SYSTEM!r} has; fetch it again.")
    return read_json(folder / "config.json")


def _filled(net: Any, folder: Path) -> Any:
    state = read_tensors(folder / WEIGHTS_FILE)
    try:
        net.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise UnsupportedCheckpoint(f"{folder / WEIGHTS_FILE} doesn't fit its config: {error}") from error
    return net.eval()


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
        _save_part(partial / PRIOR, priors, priors.config, narrow)
        _save_part(partial / FUSION, fusion, fusion.config.to_dict(), narrow)
    return Path(path)


def _save_part(folder: Path, net: nn.Module, config: Mapping[str, Any], dtype: torch.dtype | None) -> None:
    folder.mkdir()
    write_json(folder / "config.json", config, indent=2)
    write_tensors(
        folder / WEIGHTS_FILE, {key: as_stored(key, x, dtype) for key, x in net.state_dict().items()}, PYTORCH
    )
