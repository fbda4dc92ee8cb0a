"""Things pasted over faces: shapes, what fills them, and where the aligned face is covered."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.degrade.filters import gaussian_blur

SIDE = 112
"""Of the aligned face, in pixels."""


def add_occluder(face: Tensor, textures: Tensor, skins: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A face as it may come, and where it is covered.

    Args:
        face: aligned, ``[3, S, S]`` in 0…1, with a margin around what the network sees.
        textures: ``[N, 3, h, w]``, pictures of anything but faces.
        skins: ``[M, 3, h, w]``, pieces of skin.
        rng: where chance comes from.

    Returns:
        The picture ``[3, 112, 112]`` and a mask ``[1, 112, 112]``, 1: covered.
    """
    face, cover = _moved(face, rng), torch.zeros(1, 112, 112)
    if rng.random() < 0.7:
        for _ in range(1 + (rng.random() < 0.25)):
            alpha = draw_shape(rng, *_place())
            color = fill_shape(textures, skins, rng, alpha)
            edge = gaussian_blur(alpha[None], float(rng.uniform(0.4, 1.2)))[0]
            if rng.random() < 0.5:
                # A thing before a face darkens it a little beside its edge.
                shadow = gaussian_blur(alpha[None], 3.0)[0]
                face = face * (1 - float(rng.uniform(0.1, 0.5)) * shadow)
            face = edge * color + (1 - edge) * face
            cover = torch.maximum(cover, edge)
    return as_filmed(face, rng), cover


def _moved(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Cut 112×112 with the errors that landmarks have, above all of covered faces."""
    turn, grow = rng.normal(0, 0.10), np.exp(rng.normal(0, 0.08))
    shift = rng.normal(0, 0.06, 2)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    inner = 112 / face.shape[-1] * grow
    cos, sin = inner * np.cos(turn), inner * np.sin(turn)
    theta = torch.tensor([[[flip * cos, -sin, shift[0]], [flip * sin, cos, shift[1]]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 3, 112, 112], align_corners=False)
    return F.grid_sample(face[None], grid, padding_mode="border", align_corners=False)[0]


def _place(side: int = SIDE) -> tuple[Tensor, Tensor]:
    place = (torch.arange(side) + 0.5) * 2 / side - 1
    return place[None].expand(side, side), place[:, None].expand(side, side)


def draw_shape(rng: np.random.Generator, x: Tensor, y: Tensor) -> Tensor:
    """A mask ``[1, S, S]`` of 0 and 1: an oval or box, a blob, some bars like fingers, or a side of the picture.

    Args:
        x, y: where each pixel is, ``[S, S]``; −1…1 is the inner face.
    """
    centre, turn = rng.uniform(-0.75, 0.75, 2), rng.uniform(0, np.pi)
    u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    v = (y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)
    kind = rng.integers(5)
    if kind == 0:
        a, b, power = rng.uniform(0.2, 0.9), rng.uniform(0.15, 0.6), rng.uniform(1.5, 8)
        inside = (u.abs() / a) ** power + (v.abs() / b) ** power <= 1
    elif kind == 1:
        angle, around = torch.atan2(v, u), torch.zeros_like(u)
        for wave in range(2, 7):
            around = around + rng.normal(0, 0.5 / wave) * torch.cos(wave * angle + rng.uniform(0, 6.3))
        inside = (u**2 + v**2).sqrt() <= rng.uniform(0.25, 0.7) * (1 + 0.6 * around.clamp(-0.8, 0.8))
    elif kind in (2, 3):
        inside = _bars(u, v, rng)
    else:
        # Half a picture, as a mask before the mouth, a scarf or a hand held up.
        inside = v + rng.uniform(-0.15, 0.15) * torch.cos(u * rng.uniform(2, 7) + rng.uniform(0, 6.3)) > 0
    return inside[None].float()


def _bars(u: Tensor, v: Tensor, rng: np.random.Generator) -> Tensor:
    """One to five rounded bars side by side, spread a little, perhaps joined by a palm."""
    inside, count, width = torch.zeros_like(u, dtype=torch.bool), int(rng.integers(1, 6)), rng.uniform(0.07, 0.16)
    spread = rng.uniform(0, 0.25)
    for number in range(count):
        offset = (number - (count - 1) / 2) * 2.1 * width
        lean = spread * (number - (count - 1) / 2)
        tip = rng.uniform(0.3, 0.9)
        across = u - offset - lean * v.clamp(min=0)
        beyond = (v - tip).clamp(min=0)
        inside |= (across**2 + beyond**2 <= (width * rng.uniform(0.85, 1.1)) ** 2) & (v > -0.1)
    if rng.random() < 0.6:
        inside |= (u.abs() < count * 1.1 * width) & (v <= 0.05) & (v > -rng.uniform(0.3, 1.5))
    return inside


def fill_shape(textures: Tensor, skins: Tensor, rng: np.random.Generator, alpha: Tensor) -> Tensor:
    """What fills a shape ``[1, S, S]``, ``[3, S, S]``: cloth and things out of other pictures, plain colours, or skin.
    The other arguments are those of :func:`add_occluder`."""
    kind, size = rng.random(), tuple(alpha.shape[-2:])
    if kind < 0.4:
        picture = textures[int(rng.integers(len(textures)))]
        side = int(rng.integers(24, min(picture.shape[-2:])))
        top, left = (int(rng.integers(full - side + 1)) for full in picture.shape[-2:])
        color = F.interpolate(
            picture[None, :, top : top + side, left : left + side], size, mode="bilinear", align_corners=False
        )[0]
    elif kind < 0.55:
        color = torch.tensor(rng.uniform(0, 1, 3), dtype=torch.float32)[:, None, None].expand(3, *size)
    else:
        skin = skins[int(rng.integers(len(skins)))]
        color = F.interpolate(skin[None], size, mode="bilinear", align_corners=False)[0]
        color = color * float(rng.uniform(0.75, 1.25))
    x, y = _place(size[-1])
    turn = rng.uniform(0, 6.3)
    slope = 1 + rng.uniform(0, 0.4) * (x * np.cos(turn) + y * np.sin(turn))
    if rng.random() < 0.6:
        # Round things are darker towards their edges.
        depth = gaussian_blur(alpha[None], float(rng.uniform(2, 6)))[0]
        slope = slope * (0.4 + 0.7 * depth)
    return (color * slope).clamp(0, 1)


def as_filmed(face: Tensor, rng: np.random.Generator) -> Tensor:
    """A picture ``[3, S, S]`` in other light, colours, blur, size and noise: none of them is a cover."""
    side = face.shape[-1]
    face = face.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.25)))
    face = (face - 0.5) * float(rng.uniform(0.5, 1.3)) + 0.5 + float(rng.normal(0, 0.08))
    face = face * torch.tensor(1 + rng.normal(0, 0.06, 3), dtype=torch.float32)[:, None, None]
    if rng.random() < 0.3:
        face = face * float(rng.uniform(0.1, 0.6))
    if rng.random() < 0.2:
        face = face.mean(0, keepdim=True).expand(3, -1, -1)
    if rng.random() < 0.35:
        face = gaussian_blur(face[None], float(rng.uniform(0.4, 3.0)) * side / SIDE)[0]
    if rng.random() < 0.3:
        few = int(rng.integers(28, 90)) * side // SIDE
        small = F.interpolate(face[None], (few, few), mode="bilinear", antialias=True, align_corners=False)
        face = F.interpolate(small, (side, side), mode="bilinear", align_corners=False)[0]
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal((3, side, side)).astype(np.float32))
        face = face + noise * float(rng.uniform(0.01, 0.1))
    return face.clamp(0, 1)
