"""Put a restored crop back into its frame, and touch nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.faces.color import match
from vividface_core.faces.crop import crop_clip, paste

FEATHER = 0.03
"""Standard deviation of the mask's soft edge, and half of the rim where it fades out, in crop sides."""

VISIBLE = 1 / 512
"""A blend weight up to this changes an 8-bit value by less than half a step: the source is kept as it is."""


def compose(
    rgb: Tensor,
    restored: Tensor,
    mask: Tensor,
    crop: Sequence[float] | np.ndarray,
    *,
    color: str = "wavelet",
    strength: float = 1.0,
    replace: bool = False,
    covered: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Blend a restored crop into the frame that it was cut from.

    The source's pixels are never resampled: what the restorer changed is mapped (bicubic, once) onto the frame's grid
    and added, ``out = source + weight · strength · P(restored − crop of source)``. So a restorer that changes nothing
    changes nothing here, and a face that is larger than the crop keeps detail that the crop could not hold.

    Args:
        rgb: the frame, ``[3, H, W]`` in 0…1; not modified.
        restored: ``[3, S, S]`` in 0…1.
        mask: ``[1, S, S]`` in 0…1, where the restored face may show; its edge is softened here.
        crop: centre x, centre y, side in pixels of the frame.
        color: how the crop's colours are matched to the source: see :func:`vividface_core.faces.color.match`.
        strength: 0 keeps the source, 1 shows the restored face alone inside the mask.
        replace: the frame isn't the one that the crop was cut from but an enlarged one, whose finer detail is another
            guess at the same face: the restored crop takes its place, ``out = frame + weight · strength · (P(restored)
            − frame)``.
        covered: ``[1, R, R]`` in 0…1 over the same crop, where something before the face stays as it is; its edge is as
            soft as it shall be. ``None``: nowhere.

    Returns:
        The new frame ``[3, H, W]`` in 0…1 and ``changed`` ``[H, W]`` bool. Where it's ``False`` the frame's values
        are exactly the source's.
    """
    height, width = rgb.shape[-2:]
    out, changed = rgb.clone(), torch.zeros(height, width, dtype=torch.bool, device=rgb.device)
    if strength == 0:
        return out, changed
    restored, mask = restored.to(rgb), mask.to(rgb)
    cut = crop_clip(rgb, crop, restored.shape[-1])
    matched = match(restored, cut, mask, color)
    change, (top, left) = paste(matched if replace else matched - cut, crop, height, width)
    weight, _ = paste(feather(mask), crop, height, width)
    weight = weight.clamp(0, 1) * strength
    if covered is not None:
        weight = weight * (1 - paste(covered.to(rgb), crop, height, width)[0].clamp(0, 1))
    box = (slice(top, top + change.shape[-2]), slice(left, left + change.shape[-1]))
    source = rgb[:, box[0], box[1]]
    change = change - source if replace else change
    seen = weight[0] > VISIBLE
    blended = (source + weight * change).clamp(0, 1)
    out[:, box[0], box[1]] = torch.where(seen, blended, source)
    changed[box] = seen
    return out, changed


def feather(mask: Tensor) -> Tensor:
    """Soften the edge of a mask ``[1, S, S]`` and let it fade to 0 at the crop's border, so that no seam shows."""
    size = mask.shape[-1]
    sigma = FEATHER * size
    soft = gaussian(mask, sigma)
    place = torch.arange(size, dtype=mask.dtype, device=mask.device)
    # The outermost pixel is 0 itself: a bicubic reading at the border must find nothing there.
    rim = (torch.minimum(place, size - 1 - place) / max(1.0, 2 * sigma)).clamp(0, 1)
    rim = rim * rim * (3 - 2 * rim)
    return soft * rim[:, None] * rim


def gaussian(mask: Tensor, sigma: float) -> Tensor:
    """A mask ``[1, S, S]`` blurred; ``sigma`` in pixels."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=mask.dtype, device=mask.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mask[None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[0]
