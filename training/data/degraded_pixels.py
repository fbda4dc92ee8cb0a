"""Clean clips of prepared shards, degraded on the fly: for systems without latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import Data
from training.data.batches import Shuffled, Source
from training.data.echo import random_clips
from training.data.people import VALIDATION_SHARE
from training.data.random_clips import relit
from training.data.shards import ShardReader
from vividface_core.degrade import load_preset
from vividface_core.errors import UnsupportedCheckpoint


class DegradedPixels:
    """Samples ``clean`` and ``degraded`` ``[3, T, S, S]`` in −1…1, and ``pixel_mask`` ``[1, T, S, S]`` uint8, of what
    ``training.prepare --pixels`` wrote.

    A sample is ``data.frames`` consecutive frames from a random place on, mirrored half of the time, scaled to
    ``data.size``, and degraded by ``data.degradation``. Latents that the shards hold aren't used.

    Args:
        seed: of the order of the clips.
        degrade: ``False``: no ``degraded``.

    Raises:
        UnsupportedCheckpoint: nothing prepared, pixels missing, or clips too short.
    """

    def __init__(self, config: Data, *, validation: bool, seed: int, degrade: bool = True) -> None:
        own = config.validation if validation and config.validation else None
        self._reader = ShardReader(own or config.path)
        places: Sequence[int] = range(len(self._reader))
        if not config.validation:
            places = [place for place in places if (place % VALIDATION_SHARE == 0) == validation]
        folder, there = self._reader.folder, self._reader.recipe["clips"]["frames"]
        if not places:
            raise UnsupportedCheckpoint(f"{folder} holds no clip for {'validation' if validation else 'training'}.")
        if not self._reader.recipe.get("pixels"):
            raise UnsupportedCheckpoint(f"{folder} was prepared without --pixels, which this stage needs.")
        self._frames = config.frames or there
        if self._frames > there:
            raise UnsupportedCheckpoint(f"{folder} holds clips of {there} frames; data.frames is {self._frames}.")
        self._places, self._order = list(places), Shuffled(len(places), seed)
        self._size, self._lighting, self._degrade = config.size, config.lighting, degrade
        self._degradations = load_preset(config.degradation, config.degradation_values)

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """See the class."""
        stored = self._reader[self._places[self._order[number]]]
        total = stored["pixels"].shape[1]
        first = int(rng.integers(total - self._frames + 1))
        clean, mask = (stored[name][:, first : first + self._frames] for name in ("pixels", "pixel_mask"))
        clean = clean.float().transpose(0, 1) / 255
        if rng.random() < 0.5:
            clean, mask = clean.flip(-1), mask.flip(-1)
        if clean.shape[-1] != self._size:
            clean = F.interpolate(clean, (self._size, self._size), mode="bilinear", antialias=True).clamp(0, 1)
            mask = F.interpolate(mask.float(), (self._size, self._size), mode="nearest").to(torch.uint8)
        clean = relit(clean, self._lighting, rng)
        if not self._degrade:
            return {"clean": clean.transpose(0, 1) * 2 - 1}
        degradation = self._degradations.sample(int(rng.integers(2**31)))
        clean = degradation.truth(clean)
        return {
            "clean": clean.transpose(0, 1) * 2 - 1,
            "degraded": degradation(clean).transpose(0, 1) * 2 - 1,
            "pixel_mask": mask,
        }


def make_clips(config: Data, *, validation: bool, seed: int, degrade: bool = True) -> Source:
    """Clips without latents, from where ``config.kind`` says."""
    if config.kind == "clips":
        return random_clips(config, validation=validation, seed=seed, degrade=degrade)
    return DegradedPixels(config, validation=validation, seed=seed, degrade=degrade)
