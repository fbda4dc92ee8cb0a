"""Data echoing: each clip that was drawn and degraded is used several times, as other crops of it.

To cut a clip, encode it with a codec and decode it again costs more than a small net learns from it in one step. A
drawn clip is therefore larger and longer than a sample, and gives several of them, some steps apart.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from torch import Tensor

from training.config import Data
from training.data.batches import Source
from training.data.random_clips import RandomClips, seen_or_all

SPACING = 8
"""Drawn clips between two uses of one: the samples of a batch are of different clips.

Where batches have as many samples as a clip has uses, two, four or eight workers that take batches in turn each keep to
clips of their own. In other cases some clips are drawn twice, and the samples are the same."""


class Echoed:
    """Samples of ``config.frames`` × ``config.size`` out of larger ones of a source.

    Sample number n = k·q + r of k uses is cut out of the drawn clip q + (k − 1 − r)·:data:`SPACING`: one in k samples
    is of a new clip, and each clip comes k times. Which clip that is and where it is cut depend on the seed and n
    alone.

    Args:
        source: makes samples of ``config.echo.frames`` × ``config.echo.size``.
        seed: of the run.
    """

    def __init__(self, source: Source, config: Data, seed: int) -> None:
        assert config.echo is not None and config.frames is not None  # the configuration says it
        self._source, self._seed, self._times = source, seed, config.echo.times
        self._frames, self._size = config.frames, config.size
        self._kept: OrderedDict[int, dict[str, Tensor]] = OrderedDict()

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """See the class; ``rng`` says where."""
        drawn = self._drawn(number)
        frames, height, width = drawn["clean"].shape[1:]
        first = int(rng.integers(frames - self._frames + 1))
        top, left = (int(rng.integers(length - self._size + 1)) for length in (height, width))
        mirrored = rng.random() < 0.5
        sample = {}
        for name, clip in drawn.items():
            part = clip[:, first : first + self._frames, top : top + self._size, left : left + self._size]
            sample[name] = (part.flip(-1) if mirrored else part).contiguous()
        if "pixel_mask" in sample:
            sample["pixel_mask"] = seen_or_all(sample["pixel_mask"])
        return sample

    def _drawn(self, number: int) -> dict[str, Tensor]:
        new, use = divmod(number, self._times)
        # Counted from the end, so that the first samples have clips too; the first clips come less often.
        clip = new + (self._times - 1 - use) * SPACING
        if clip not in self._kept:
            self._kept[clip] = self._source.sample(clip, np.random.default_rng((self._seed, 2, clip)))
            while len(self._kept) > self._times * (SPACING + 1):
                self._kept.popitem(last=False)
        self._kept.move_to_end(clip)
        return self._kept[clip]


def random_clips(config: Data, *, validation: bool, seed: int, degrade: bool = True) -> Source:
    """Samples of :class:`RandomClips`, echoed where the configuration says so. Validation draws each anew."""
    if config.echo is None or validation:
        return RandomClips(config, validation=validation, degrade=degrade)
    drawn = config.model_copy(update={"frames": config.echo.frames, "size": config.echo.size})
    return Echoed(RandomClips(drawn, degrade=degrade), config, seed)
