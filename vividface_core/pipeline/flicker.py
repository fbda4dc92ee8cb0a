"""What of a de-flickering model's picture is a correction of flicker, and how much of it a frame needs.

A model with a codebook returns a steady clip, but not the source's detail, and not its brightness to the last percent.
So two things are taken from it: which frames flicker and in which direction, and where in the frame. How much a
frame's brightness has to change is measured on the source itself, against its neighbours in time, because there the
same things are seen twice. A change that stays (a lamp is switched on, a cloud, a fade) differs from one side of time
only and is no flicker.

All gains are natural logarithms of factors on the values as they are stored (not on linear light): flicker as it is
published multiplies these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.video.colorspace import luma
from vividface_core.video.flicker import REACH, running_median

WORK_SIDE = 64
"""Longer side at which brightness is compared: motion of less than a hundredth of the frame is no difference then."""
PLACES = 16
"""Places along each side whose brightness may change by itself."""
NEAREST = 3
"""Frames of one side that are compared with; their median counts."""
DEAD = 0.01
"""Gains that are left alone: one percent is neither seen nor told from a model's own noise."""
DARK, CLIPPED = 0.04, 0.98
"""Values beyond which a ratio says nothing: noise, and what the camera or the flicker cut off."""
SURE, LOST = 0.1, 0.3
"""Spread of the ratios of two frames' pixels up to which they show the same things, and from which they don't."""
LOCAL = 0.05
"""Differences between places of a frame that are left alone: a model's pictures differ from the source that much."""
LEAST = 3
"""Frames of which one can be told to differ from what stays."""
ROUNDS = 4
"""Rounds in which frames that flicker are fitted to each other."""


def brightness_correction(clip: Tensor, restored: Tensor) -> Tensor:
    """Where and how much each frame's brightness has to change.

    Args:
        clip, restored: what the model was given and what it made of it, ``[T, 3, H, W]``, RGB, 0…1.

    Returns:
        ``[T, 4, h, w]``: the logarithm of the gain, and the colours (RGB) that clipped highlights should have had.
        Zero gains throughout where the model changes no frame's brightness.
    """
    if len(clip) < LEAST:
        return clip.new_zeros(len(clip), 4, 1, 1)
    seen, made = _small(clip), _small(restored)
    told, field = _told_by_model(seen, made)
    gain = _measured(luma(seen)[:, 0], told)
    local = F.interpolate(field, size=seen.shape[-2:], mode="bilinear", align_corners=False)
    correction = torch.where(gain.view(-1, 1, 1, 1) != 0, gain.view(-1, 1, 1, 1) + local, 0)
    return torch.cat([correction, _neighbours(seen * correction.exp(), gain)], 1)


def color_correction(clip: Tensor, restored: Tensor) -> Tensor:
    """``[T, 3, H, W]``: what the model adds to each pixel beyond what it adds at this place all the time, blurred
    over three pixels; arguments as of :func:`brightness_correction`."""
    if len(clip) < LEAST:
        return torch.zeros_like(clip)
    change = F.avg_pool2d(restored - clip, 3, stride=1, padding=1, count_include_pad=False)
    return change - running_median(change)


def _small(frames: Tensor) -> Tensor:
    height, width = frames.shape[-2:]
    shrink = max(1, -(-max(height, width) // WORK_SIDE))
    size = (max(1, height // shrink), max(1, width // shrink))
    return F.interpolate(frames.float(), size=size, mode="area")


def _usable(frames: Tensor) -> Tensor:
    """Pixels ``[T, h, w]`` whose ratios say something."""
    return (frames.amax(1) < CLIPPED) & (luma(frames)[:, 0] > DARK)


def _log_ratio(new: Tensor, old: Tensor) -> Tensor:
    return (new.clamp_min(DARK) / old.clamp_min(DARK)).log()


def _told_by_model(seen: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """The model's gains: of each frame ``[T]``, and beyond these of each place, coarsely, ``[T, 1, h, w]``, both
    without what is there all the time and without what is too little to be told from noise."""
    ratio, usable = _log_ratio(luma(made), luma(seen)), _usable(seen)
    whole = torch.stack([_median(ratio[t, 0][usable[t]]) for t in range(len(seen))])
    field = _log_ratio(_smooth(luma(made)), _smooth(luma(seen)))
    whole = whole - running_median(whole)
    field = field - running_median(field) - whole.view(-1, 1, 1, 1)
    noise = LOCAL + 3 * 1.4826 * field.abs().quantile(0.5, dim=0)
    return whole * (whole.abs() > DEAD), field.sign() * (field.abs() - noise).clamp_min(0)


def _smooth(x: Tensor) -> Tensor:
    """Averages on a grid of up to :data:`PLACES` × :data:`PLACES`, and over each place's neighbours."""
    size = [min(side, PLACES) for side in x.shape[-2:]]
    return F.avg_pool2d(F.interpolate(x, size=size, mode="area"), 3, stride=1, padding=1, count_include_pad=False)


def _median(values: Tensor) -> Tensor:
    return values.quantile(0.5) if values.numel() else values.new_zeros(())


def _measured(brightness: Tensor, told: Tensor) -> Tensor:
    """The gains ``[T]`` by which the frames that the model tells fit their neighbours in time."""
    ratios = _Ratios(brightness)
    gains = told.clone()
    for _ in range(ROUNDS):
        for t in told.nonzero()[:, 0].tolist():
            gains[t] = _fitted(ratios, gains, told, t)
    return gains


def _fitted(ratios: _Ratios, gains: Tensor, told: Tensor, t: int) -> Tensor:
    before = ratios.to(t, range(t - 1, max(-1, t - 1 - REACH), -1), gains, told)
    after = ratios.to(t, range(t + 1, min(len(gains), t + 1 + REACH)), gains, told)
    sides = [side for side in (before, after) if side is not None]
    if not sides:
        return told[t]
    fit = sides[0][0] if len(sides) == 1 else _both(sides[0][0], sides[1][0])
    sure = min(side[1] for side in sides)
    fit = sure * fit + (1 - sure) * told[t]
    most = 2 * told[t].abs() + 2 * DEAD
    return fit.clamp(-most, most) if fit * told[t] > 0 else torch.zeros_like(fit)


def _both(before: Tensor, after: Tensor) -> Tensor:
    """The harmonic mean of two gains of one sign, else 0: a frame that agrees with one side of time doesn't flicker."""
    product = before * after
    return 2 * product / (before + after) if product > 0 else torch.zeros_like(product)


class _Ratios:
    """Ratios of the brightness of neighbouring frames ``[T, h, w]``, each pair compared once."""

    def __init__(self, brightness: Tensor) -> None:
        self._log = brightness.clamp_min(DARK).log()
        self._usable = (brightness > DARK) & (brightness < CLIPPED)
        self._known: dict[tuple[int, int], tuple[Tensor, float]] = {}

    def to(self, t: int, others: range, gains: Tensor, told: Tensor) -> tuple[Tensor, float] | None:
        """The gain that makes frame ``t`` as bright as those of ``others`` that come first, corrected themselves, and
        how sure that is, 0…1. Frames that the model leaves alone go before those that flicker."""
        if not len(others):
            return None
        steady = [s for s in others if told[s] == 0]
        chosen = (steady + [s for s in others if told[s] != 0])[:NEAREST]
        pairs = [self._pair(t, s) for s in chosen]
        fits = torch.stack([ratio + gains[s] for (ratio, _), s in zip(pairs, chosen)])
        spread = sorted(spread for _, spread in pairs)[len(pairs) // 2]
        return fits.quantile(0.5), min(1.0, max(0.0, (LOST - spread) / (LOST - SURE)))

    def _pair(self, t: int, s: int) -> tuple[Tensor, float]:
        """Logarithm of the median ratio of frame ``s`` to ``t``, and the ratios' spread."""
        if (t, s) not in self._known:
            both = self._usable[t] & self._usable[s]
            ratios = (self._log[s] - self._log[t])[both]
            middle = _median(ratios)
            spread = float(_median((ratios - middle).abs())) if ratios.numel() > both.numel() // 20 else LOST
            self._known[t, s], self._known[s, t] = (middle, spread), (-middle, spread)
        return self._known[t, s]


def _neighbours(steady: Tensor, gain: Tensor) -> Tensor:
    """Each frame as its neighbours in time show it: the mean of the nearest frame before and after that is darkened
    by nothing. ``steady``: ``[T, 3, h, w]``, corrected."""
    frames = range(len(steady))
    whole = [t for t in frames if gain[t] >= 0]
    shown = []
    for t in frames:
        around = [*[s for s in whole if s < t][-1:], *[s for s in whole if s > t][:1]] or [t]
        shown.append(steady[around].mean(0))
    return torch.stack(shown).clamp(0, 1)
