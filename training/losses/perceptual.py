"""DISTS and LPIPS as training losses, on a random few frames of each clip."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.config import Loss


class Perceptual:
    """The perceptual distances that a configuration gives a weight; none is loaded that has none.

    Args:
        load: makes a network by its name; ``None``: from its weights.
    """

    def __init__(self, config: Loss, load: Callable[[str], nn.Module] | None = None) -> None:
        self._frames = config.perceptual_frames
        self._names = [name for name in ("dists", "lpips") if getattr(config, name)]
        wanted = list(dict.fromkeys([*self._names, *(["lpips"] if config.teacher_lpips else [])]))
        make = load or _from_weights
        self._nets: dict[str, nn.Module] = {name: make(name) for name in wanted}

    @property
    def nets(self) -> list[nn.Module]:
        """The networks."""
        return list(self._nets.values())

    def to(self, device: torch.device) -> None:
        for net in self._nets.values():
            net.to(device)

    def __call__(self, output: Tensor, target: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """The mean distance of ``[B, 3, T, H, W]`` clips in −1…1 by name; ``uniform [B]`` in 0…1 chooses the frames."""
        if not self._names:
            return {}
        pair = [sample_frames(clip, self._frames, uniform) for clip in (output, target)]
        return {name: self._nets[name](*pair).mean() for name in self._names}

    def distance(self, name: str, output: Tensor, target: Tensor, uniform: Tensor) -> Tensor:
        """One of them, whatever its weight is against the truth."""
        return self._nets[name](*(sample_frames(clip, self._frames, uniform) for clip in (output, target))).mean()


def sample_frames(clip: Tensor, wanted: int, uniform: Tensor) -> Tensor:
    """``wanted`` frames (0: all) of each clip ``[B, 3, T, H, W]``, −1…1, as pictures ``[N, 3, H, W]``, 0…1.

    They are evenly spread and shifted by ``uniform [B]`` in 0…1, so that each frame is as likely as any other.
    """
    total = clip.shape[2]
    if not wanted or wanted >= total:
        chosen = clip.transpose(1, 2).flatten(0, 1)
    else:
        offsets = torch.arange(wanted) * total / wanted
        places = ((offsets + uniform.cpu()[:, None] * total) % total).long()
        chosen = torch.cat([clip[b][:, row].transpose(0, 1) for b, row in enumerate(places)])
    return (chosen.float() + 1) / 2


def _from_weights(name: str) -> nn.Module:
    from training.assets.perceptual_weights import load  # here, because its weights are wanted by few runs

    return load(name)
