"""Hands, microphones, strands of hair, glasses and other things, drawn where a face's landmarks say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from training.data.occluders import draw_shape, fill_shape

FINE = 3
"""Lines are drawn so many times larger and averaged."""


@dataclass(frozen=True)
class Place:
    """Where the face is in a square picture, and what things are made of.

    Attributes:
        u, v: of each pixel ``[S, S]``, across and down the face, in units of the face: eyes are near (±0.5, −0.5), the
            corners of the mouth near (±0.4, 0.5).
        corner, across, down: pixel of (0, 0), and the steps in pixels of one unit along u and v, ``[2]`` each.
        textures, skins: pictures of other things ``[N, 3, h, w]``, and pieces of skin ``[M, 3, h, w]``, 0…1.
    """

    u: Tensor
    v: Tensor
    corner: np.ndarray
    across: np.ndarray
    down: np.ndarray
    textures: Tensor
    skins: Tensor

    @classmethod
    def at(cls, landmarks: np.ndarray, side: int, textures: Tensor, skins: Tensor) -> Place:
        """Out of five landmarks ``[5, 2]`` in pixels of a picture of that side."""
        eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
        # A turned head brings the eyes together, a nodding one brings the mouth up: the longer is the unit.
        unit = max(float(np.linalg.norm(landmarks[1] - landmarks[0])), float(np.linalg.norm(mouth - eyes)), 1.0)
        down = (mouth - eyes) / max(float(np.linalg.norm(mouth - eyes)), 1e-6)
        across, corner = np.array([down[1], -down[0]]), (eyes + mouth) / 2
        step = torch.arange(side) + 0.5
        x, y = step[None] - corner[0], step[:, None] - corner[1]
        u, v = ((x * float(axis[0]) + y * float(axis[1])) / unit for axis in (across, down))
        return cls(u, v, corner, across * unit, down * unit, textures, skins)

    @property
    def side(self) -> int:
        """Of the picture."""
        return self.u.shape[-1]

    @property
    def unit(self) -> float:
        """Pixels of one unit."""
        return float(np.linalg.norm(self.across))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Pixels of points ``[…, 2]`` in units of the face."""
        return self.corner + points[..., :1] * self.across + points[..., 1:] * self.down

    def inside(self, distance: Tensor) -> Tensor:
        """Mask ``[1, S, S]`` 0…1 of what lies at a negative distance ``[S, S]``, in units of the face."""
        return (0.5 - distance * self.unit).clamp(0, 1)[None]

    def random(self, tensor: Tensor, rng: np.random.Generator) -> Tensor:
        """One of a stack."""
        return tensor[int(rng.integers(len(tensor)))]


Drawn = tuple[Tensor, Tensor, Tensor]
"""Colours ``[3, S, S]``, how opaque they are ``[1, S, S]``, and what counts as covered ``[1, S, S]``; all 0…1."""


def draw_occluder(place: Place, rng: np.random.Generator) -> Drawn:
    """One of all kinds, thin ones as often as wide ones."""
    kinds = (hand, hand, microphone, strands, strands, glasses, glasses, rod, other_thing, other_thing)
    return kinds[int(rng.integers(len(kinds)))](place, rng)


def other_thing(place: Place, rng: np.random.Generator) -> Drawn:
    """Ovals, boxes, blobs, bars and halves of :mod:`training.data.occluders`, cloth among what they are made of."""
    # There, the inner face is a square of 112 pixels with 40 from eyes to mouth.
    alpha = draw_shape(rng, place.u * 40 / 56, place.v * 40 / 56)
    return fill_shape(place.textures, place.skins, rng, alpha), alpha, alpha


def capsule(place: Place, start: np.ndarray, end: np.ndarray, wide: float, narrow: float) -> tuple[Tensor, Tensor]:
    """A rounded bar from ``start`` to ``end`` with half widths ``wide`` and ``narrow`` there, units of the face.

    Returns:
        Distance from its edge ``[S, S]``, negative inside, and half its width at each place.
    """
    axis = end - start
    along = (place.u - start[0]) * float(axis[0]) + (place.v - start[1]) * float(axis[1])
    share = (along / max(float(axis @ axis), 1e-9)).clamp(0, 1)
    radius = wide + (narrow - wide) * share
    away = ((place.u - start[0] - share * axis[0]) ** 2 + (place.v - start[1] - share * axis[1]) ** 2).sqrt()
    return away - radius, radius


def hand(place: Place, rng: np.random.Generator) -> Drawn:
    """A palm that comes from outside and one to five bent fingers, in somebody's skin."""
    angle = rng.uniform(0, 2 * np.pi)
    outward, sideways = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    palm = rng.uniform(-0.6, 0.6, 2) + outward * rng.uniform(0.3, 1.0)
    count, width = int(rng.integers(1, 6)), rng.uniform(0.11, 0.2)
    bars = []
    if rng.random() < 0.75:
        bars.append(capsule(place, palm + outward * 2.5, palm, count * width * 0.9 + 0.1, count * width + 0.1))
    spread, length, bend = rng.uniform(0, 0.35), rng.uniform(0.4, 1.1), rng.normal(0, 0.35)
    for number in range(count):
        offset = number - (count - 1) / 2
        root = palm + sideways * offset * 2.05 * width
        lean = offset * spread * 0.5
        reach = length * rng.uniform(0.75, 1.05)
        joint = root + reach * 0.55 * (-outward * np.cos(lean) + sideways * np.sin(lean))
        lean += bend
        tip = joint + reach * 0.5 * (-outward * np.cos(lean) + sideways * np.sin(lean))
        bars.append(capsule(place, root + outward * 0.3, joint, width * 1.05, width))
        bars.append(capsule(place, joint, tip, width, width * 0.8))
    distances = torch.stack([distance for distance, _ in bars])
    nearest = distances.argmin(0, keepdim=True)
    distance = distances.gather(0, nearest)[0]
    radius = torch.stack([radius for _, radius in bars]).gather(0, nearest)[0]
    # As round as it is wide: dark between the fingers.
    height = (1 - ((distance / radius).clamp(-1, 0) + 1) ** 2).clamp(min=0).sqrt()
    darkest = rng.uniform(0.3, 0.7)
    light = darkest + (1.1 - darkest) * height * (1 + rng.normal(0, 0.15) * (place.u + place.v))
    skin = torch.nn.functional.interpolate(
        place.random(place.skins, rng)[None], (place.side, place.side), mode="bilinear", align_corners=False
    )[0]
    if rng.random() < 0.5:
        skin = skin.mean((1, 2), keepdim=True).expand_as(skin)
    color = skin * float(rng.uniform(0.75, 1.3)) * light
    alpha = place.inside(distance)
    return color.clamp(0, 1), alpha, alpha


def microphone(place: Place, rng: np.random.Generator) -> Drawn:
    """A round or oval head with a mesh or foam on a handle, before mouth, chin or cheek."""
    head = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.2, 1.3)])
    angle, radius = rng.uniform(0.15 * np.pi, 0.85 * np.pi), rng.uniform(0.25, 0.65)
    outward = np.array([np.cos(angle), np.sin(angle)])
    ball, _ = capsule(place, head, head + outward * radius * rng.uniform(0, 0.8), radius, radius)
    handle, _ = capsule(place, head, head + outward * 4, radius * rng.uniform(0.3, 0.75), radius * 0.4)
    depth = (1 - ((ball / radius).clamp(-1, 0) + 1) ** 2).clamp(min=0).sqrt()
    tone = rng.uniform(0.02, 0.7)
    tint = torch.tensor(1 + rng.normal(0, 0.08, 3) + (rng.random() < 0.2) * rng.normal(0, 0.5, 3)).float()[
        :, None, None
    ]
    light = tone * (0.4 + 0.8 * depth)
    if rng.random() < 0.7:
        period, turn = rng.uniform(0.03, 0.1), rng.uniform(0, np.pi)
        a = place.u * float(np.cos(turn)) + place.v * float(np.sin(turn))
        b = place.v * float(np.cos(turn)) - place.u * float(np.sin(turn))
        mesh = torch.cos(a * 2 * np.pi / period) * torch.cos(b * 2 * np.pi / period)
        light = light * (1 + rng.uniform(0.1, 0.5) * mesh)
    else:
        grain = torch.from_numpy(rng.standard_normal((place.side, place.side)).astype(np.float32))
        light = light * (1 + rng.uniform(0, 0.25) * grain)
    shine = torch.exp(-((place.u - head[0] + 0.3 * radius) ** 2 + (place.v - head[1] + 0.3 * radius) ** 2) / 0.02)
    light = light + rng.uniform(0, 0.4) * shine
    dark = rng.uniform(0.02, 0.3) * torch.ones_like(light)
    color = torch.where(ball < 0, light, dark)[None] * tint
    alpha = place.inside(torch.minimum(ball, handle))
    return color.clamp(0, 1), alpha, alpha


def rod(place: Place, rng: np.random.Generator) -> Drawn:
    """A pen, a stick, a cable, a flute: something long across the face."""
    middle, angle = rng.uniform(-0.7, 0.7, 2), rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    width = rng.uniform(0.04, 0.22)
    start = middle - along * (4 if rng.random() < 0.5 else rng.uniform(0.2, 1.2))
    distance, radius = capsule(place, start, middle + along * 4, width, width * rng.uniform(0.7, 1))
    height = (1 - ((distance / radius).clamp(-1, 0) + 1) ** 2).clamp(min=0).sqrt()
    alpha = place.inside(distance)
    color = fill_shape(place.textures, place.skins, rng, alpha) * (0.55 + 0.5 * height)
    return color.clamp(0, 1), alpha, alpha


def strands(place: Place, rng: np.random.Generator) -> Drawn:
    """Locks of hair that fall over forehead, eyes and cheeks."""
    root = np.array([rng.uniform(-1.1, 1.1), rng.uniform(-1.9, -1.3)])
    target = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.4, 1.4)])
    count, spread, width = int(rng.integers(4, 45)), rng.uniform(0.03, 0.3), rng.uniform(0.01, 0.05)
    base = np.array([rng.uniform(0.03, 0.6)] * 3) * np.array([1.0, rng.uniform(0.65, 0.95), rng.uniform(0.35, 0.9)])
    bow = rng.normal(0, 0.4, 2)
    pen = _Pen(place)
    for _ in range(count):
        start, end = root + rng.normal(0, spread, 2), target + rng.normal(0, spread * 1.3, 2)
        middle = (start + end) / 2 + bow + rng.normal(0, 0.08, 2)
        share = np.linspace(0, 1, 14)[:, None]
        curve = (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end
        pen.line(curve, width * rng.uniform(0.5, 1.3), base * rng.uniform(0.6, 1.5))
    color, alpha = pen.result()
    return color, alpha, alpha


def glasses(place: Place, rng: np.random.Generator) -> Drawn:
    """Rims, bridge and temples; lenses that are clear, tinted or dark. Clear and tinted ones cover nothing."""
    thick, tone = rng.uniform(0.03, 0.13), np.clip(rng.uniform(0, 0.5) + rng.normal(0, 0.12, 3), 0, 1)
    half = np.array([rng.uniform(0.3, 0.46), rng.uniform(0.22, 0.4)])
    power, level = rng.uniform(2, 6), -0.5 + rng.uniform(-0.05, 0.14)
    round_about = np.linspace(0, 2 * np.pi, 40)
    ring = np.stack([np.cos(round_about), np.sin(round_about)], -1)
    ring = np.sign(ring) * np.abs(ring) ** (2 / power) * half
    rims, lenses = _Pen(place), _Pen(place)
    for eye in (-0.5, 0.5):
        centre = np.array([eye * rng.uniform(0.95, 1.1), level])
        lenses.area(centre + ring, tone)
        rims.line(centre + ring, thick, tone)
        outer = centre + np.array([np.sign(eye) * half[0], -0.3 * half[1]])
        rims.line(np.stack([outer, outer + [np.sign(eye) * 0.6, rng.uniform(-0.05, 0.1)]]), thick, tone)
    rims.line(np.array([[-0.5 + half[0], level], [0, level - 0.08], [0.5 - half[0], level]]), thick, tone)
    color, rim = rims.result()
    _, lens = lenses.result()
    kind = rng.random()
    dark = float(rng.uniform(0.75, 1)) if kind < 0.45 else 0.0
    opaque = dark if dark else float(rng.uniform(0, 0.35))
    glare = torch.exp(-((place.u + place.v * 0.6 - rng.uniform(-1, 1)) ** 2) / 0.02) * float(rng.uniform(0, 0.5))
    shade = torch.tensor(tone * rng.uniform(0.2, 1.0)).float()[:, None, None] + glare
    alpha = torch.maximum(rim, lens * opaque)
    color = torch.where(rim > lens * opaque, color, shade)
    return color.clamp(0, 1), alpha, torch.maximum(rim, lens * (dark > 0))


class _Pen:
    """Draws lines and areas in units of the face."""

    def __init__(self, place: Place) -> None:
        self._place, side = place, place.side * FINE
        self._colors, self._alpha = Image.new("RGB", (side, side)), Image.new("L", (side, side))

    def line(self, points: np.ndarray, width: float, color: np.ndarray) -> None:
        thick = max(1, round(width * self._place.unit * FINE))
        for picture, ink in self._inks(color):
            ImageDraw.Draw(picture).line(self._points(points), fill=ink, width=thick, joint="curve")

    def area(self, points: np.ndarray, color: np.ndarray) -> None:
        for picture, ink in self._inks(color):
            ImageDraw.Draw(picture).polygon(self._points(points), fill=ink)

    def result(self) -> tuple[Tensor, Tensor]:
        """Colours ``[3, S, S]`` and mask ``[1, S, S]``."""
        size = (self._place.side, self._place.side)
        alpha = np.asarray(self._alpha.resize(size, Image.Resampling.BOX), np.float32) / 255
        # Outside its lines the picture is black: what is averaged with that is divided by the share of the lines.
        colors = np.asarray(self._colors.resize(size, Image.Resampling.BOX), np.float32) / 255
        colors = colors / np.maximum(alpha, 1 / 255)[..., None]
        return torch.from_numpy(colors.clip(0, 1)).permute(2, 0, 1), torch.from_numpy(alpha)[None]

    def _points(self, points: np.ndarray) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in self._place.pixels(points) * FINE]

    def _inks(self, color: np.ndarray) -> tuple[tuple[Image.Image, int | tuple[int, ...]], ...]:
        red, green, blue = (int(np.clip(value, 0, 1) * 255) for value in color)
        return (self._colors, (red, green, blue)), (self._alpha, 255)
