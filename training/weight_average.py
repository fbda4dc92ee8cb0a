"""The mean of two checkpoints' weights, the later of which was trained from the earlier one.

Between the two ends of a fine-tuning the loss is hardly higher than at either (Wortsman et al., "Robust fine-tuning of
zero-shot models", 2022); errors that differ between them become smaller.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import read_json, write_json
from vividface_core.io.tensors import misfits, read_tensors, write_tensors
from vividface_core.restorers.one_step_files import DECODER
from vividface_core.restorers.registry import CARD

_BLOCK = re.compile(r"((?:down|up)\.\d+|full|fine)\.\d+\.")
"""The beginning of the names of one block's weights in a conditional decoder."""


def average(model: Path, other: Path, share: float, output: Path) -> Path:
    """Write the checkpoint folder ``output``: ``share`` of ``model``'s weights, and 1 − ``share`` of ``other``'s.

    Blocks by which ``model``'s conditional decoder has grown had no effect in ``other``: there their last layers count
    as zeros, the others as ``model``'s own. The rest is ``model``'s; its card tells what was averaged.

    Raises:
        InvalidOption: the share isn't in 0…1, or the two folders don't hold the same weights.
        UnsupportedCheckpoint: a file is damaged.
    """
    if not 0 <= share <= 1:
        raise InvalidOption(f"--share is {share:g}; it goes from 0 to 1.")
    files = sorted(path.relative_to(model) for path in model.rglob("*.safetensors"))
    if files != sorted(path.relative_to(other) for path in other.rglob("*.safetensors")):
        raise InvalidOption(f"{model} and {other} don't consist of the same files.")
    shutil.copytree(model, output, ignore=shutil.ignore_patterns("*.safetensors"))
    for file in files:
        ours, theirs = read_tensors(model / file), read_tensors(other / file)
        if file.parent.name == DECODER:
            theirs = {**_grown(ours, theirs), **theirs}
        if faults := misfits(ours, theirs):
            raise InvalidOption(f"{other / file} holds other weights: {faults}; only one design has a mean.")
        write_tensors(output / file, {name: _mean(value, theirs[name], share) for name, value in ours.items()})
    card = read_json(output / CARD)
    name = read_json(other / CARD).get("name", other.name)
    write_json(output / CARD, {**card, "averaged": {"with": name, "share": share}}, indent=2)
    return output


def _grown(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the blocks that only ``ours`` has, as they are while they have no effect."""
    known = {match[0] for name in theirs if (match := _BLOCK.match(name))}
    blocks = {name: match[0] for name in ours if (match := _BLOCK.match(name))}
    new = {name: ours[name] for name, block in blocks.items() if block not in known}
    return {name: value.new_zeros(value.shape) if ".conv2." in name else value for name, value in new.items()}


def _mean(ours: Tensor, theirs: Tensor, share: float) -> Tensor:
    if not ours.is_floating_point():
        return ours
    return share * ours.float() + (1 - share) * theirs.float()
