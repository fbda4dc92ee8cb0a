"""Prepared samples as a training source."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.config import Data
from training.data.batches import Shuffled, Source
from training.data.people import VALIDATION_SHARE
from training.data.random_clips import RandomClips
from training.data.shards import ShardReader
from vividface_core.errors import UnsupportedCheckpoint


class PreparedClips:
    """Samples of :mod:`training.prepare`: ``low``, ``high`` latents ``[C, T', h, w]`` and their ``mask``; with the
    pixels kept also ``clean`` ``[3, T, H, W]`` in −1…1 and ``pixel_mask``.

    One of a clip's degraded variants is drawn for each sample. ``frames`` takes the first part of each clip: the
    autoencoder is causal, so its latents are those of the shorter clip.

    Args:
        seed: of the order of the clips.
        temporal_ratio: frames a latent frame stands for.

    Raises:
        UnsupportedCheckpoint: nothing prepared, pixels missing where they are needed, or clips too short.
    """

    def __init__(self, config: Data, *, validation: bool, pixels: bool, seed: int, temporal_ratio: int) -> None:
        self._reader = ShardReader(config.validation if validation and config.validation else config.path)
        places = range(len(self._reader))
        if not config.validation:
            places = [place for place in places if (place % VALIDATION_SHARE == 0) == validation]
        if not places:
            use = "validation" if validation else "training"
            raise UnsupportedCheckpoint(f"{self._reader.folder} holds no clip for {use}.")
        if pixels and not self._reader.recipe.get("pixels"):
            raise UnsupportedCheckpoint(f"{self._reader.folder} was prepared without --pixels, which this stage needs.")
        self._places, self._pixels, self._ratio = list(places), pixels, temporal_ratio
        self._order = Shuffled(len(self._places), seed)
        self._frames = config.frames
        self._check_length()

    def _check_length(self) -> None:
        there = self._reader.recipe["clips"]["frames"]
        wanted = self._frames or there
        if wanted > there or (wanted - 1) % self._ratio:
            raise UnsupportedCheckpoint(
                f"{self._reader.folder} holds clips of {there} frames; data.frames {wanted} isn't 1 + a multiple of "
                f"{self._ratio} within them."
            )
        self._frames = wanted

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """See the class."""
        stored = self._reader[self._places[self._order[number]]]
        variants = sorted(name for name in stored if name.startswith("low."))
        cells = 1 + (self._frames - 1) // self._ratio
        sample = {
            "low": stored[variants[rng.integers(len(variants))]][:, :cells],
            "high": stored["high"][:, :cells],
            "mask": stored["mask"][:, :cells],
        }
        if self._pixels:
            sample["clean"] = stored["pixels"][:, : self._frames].float() / 127.5 - 1
            sample["pixel_mask"] = stored["pixel_mask"][:, : self._frames]
        return {name: value if value.dtype == torch.uint8 else value.float() for name, value in sample.items()}


def make_source(config: Data, *, validation: bool, pixels: bool, seed: int, temporal_ratio: int) -> Source:
    """The source that ``config.kind`` names."""
    if config.kind == "clips":
        return RandomClips(config, validation=validation)
    return PreparedClips(config, validation=validation, pixels=pixels, seed=seed, temporal_ratio=temporal_ratio)
