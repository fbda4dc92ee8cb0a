"""Prepared samples as a training source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.config import Data
from training.data.batches import Shuffled, Source
from training.data.echo import random_clips
from training.data.people import VALIDATION_SHARE
from training.data.shards import ShardReader
from vividface_core.errors import UnsupportedCheckpoint


class PreparedClips:
    """Samples of :mod:`training.prepare`: ``low``, ``high`` latents ``[C, T', h, w]`` and their ``mask``; with the
    pixels kept also ``clean`` ``[3, T, H, W]`` in −1…1 and ``pixel_mask``, with the inputs kept ``degraded`` too.

    One of a clip's degraded variants is drawn for each sample. ``frames`` takes the first part of each clip: the
    autoencoder is causal, so its latents are those of the shorter clip.

    Args:
        seed: of the order of the clips.
        temporal_ratio: frames a latent frame stands for.
        inputs: whether the degraded frames of each sample are wanted.

    Raises:
        UnsupportedCheckpoint: nothing prepared, pixels or inputs missing where they are needed, or clips too short.
    """

    def __init__(
        self, config: Data, *, validation: bool, pixels: bool, seed: int, temporal_ratio: int, inputs: bool = False
    ) -> None:
        self._reader = ShardReader(config.validation if validation and config.validation else config.path)
        places: Sequence[int] = range(len(self._reader))
        if not config.validation:
            places = [place for place in places if (place % VALIDATION_SHARE == 0) == validation]
        if not places:
            use = "validation" if validation else "training"
            raise UnsupportedCheckpoint(f"{self._reader.folder} holds no clip for {use}.")
        for wanted, name in ((pixels, "pixels"), (inputs, "inputs")):
            if wanted and not self._reader.recipe.get(name):
                raise UnsupportedCheckpoint(
                    f"{self._reader.folder} was prepared without --{name}, which this stage needs; prepare it again "
                    f"with {'--pixels --inputs' if inputs else '--pixels'}."
                )
        self._places, self._pixels, self._inputs, self._ratio = list(places), pixels, inputs, temporal_ratio
        self._order = Shuffled(len(self._places), seed)
        self._frames = config.frames or 0
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
        variant = variants[rng.integers(len(variants))]
        cells = 1 + (self._frames - 1) // self._ratio
        sample = {
            "low": stored[variant][:, :cells],
            "high": stored["high"][:, :cells],
            "mask": stored["mask"][:, :cells],
        }
        if self._pixels:
            sample["clean"] = self._clip(stored["pixels"])
            sample["pixel_mask"] = stored["pixel_mask"][:, : self._frames]
        if self._inputs:
            sample["degraded"] = self._clip(stored[variant.replace("low", "input")])
        return {name: value if value.dtype == torch.uint8 else value.float() for name, value in sample.items()}

    def _clip(self, stored: Tensor) -> Tensor:
        """uint8 to −1…1, of the wanted length."""
        return stored[:, : self._frames].float() / 127.5 - 1


def make_source(
    config: Data, *, validation: bool, pixels: bool, seed: int, temporal_ratio: int, inputs: bool = False
) -> Source:
    """The source that ``config.kind`` names."""
    if config.kind == "clips":
        return random_clips(config, validation=validation, seed=seed)
    return PreparedClips(
        config, validation=validation, pixels=pixels, seed=seed, temporal_ratio=temporal_ratio, inputs=inputs
    )
