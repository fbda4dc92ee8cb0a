"""Things drawn over the faces of sharp clips, with where they cover them. The trainer draws its own otherwise.

Lines and areas of Pillow in four times the size, averaged; places in units of the face (eyes at ±0.5, −0.5). A thing
follows the head, sways, and keeps its colours through a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

FINE = 4
Points = list[tuple[float, float]]
Ink = tuple[int, int, int]


@dataclass
class Sheet:
    """A transparent sheet before one frame, whose places are the face's.

    Attributes:
        picture: RGBA, four times as large as the frame.
        landmarks: ``[5, 2]`` pixels of the frame.
        sway: what a thing moves by beside the head, units of the face ``[2]``.
        skin, hair: colours of the person, 0…255.
        thing: another clip's picture.
    """

    picture: Image.Image
    landmarks: np.ndarray
    sway: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    thing: Image.Image

    def __post_init__(self) -> None:
        eyes, mouth = self.landmarks[:2].mean(0), self.landmarks[3:].mean(0)
        self._middle, down = (eyes + mouth) / 2, mouth - eyes
        across = self.landmarks[1] - self.landmarks[0]
        self.unit = float(max(np.linalg.norm(down), np.linalg.norm(across))) * FINE
        self._down = down / np.linalg.norm(down)
        self._across = np.array([self._down[1], -self._down[0]])

    def points(self, *places: tuple[float, float]) -> Points:
        """Pixels of the sheet."""
        at = np.array(places) + self.sway
        pixels = self._middle * FINE + self.unit * (at[:, :1] * self._across + at[:, 1:] * self._down)
        return [(float(x), float(y)) for x, y in pixels]

    def line(self, width: float, ink: np.ndarray, *places: tuple[float, float]) -> None:
        """A line with round ends."""
        pen, points, thick = ImageDraw.Draw(self.picture), self.points(*places), max(1.0, width * self.unit)
        pen.line(points, fill=_ink(ink), width=round(thick), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=_ink(ink))

    def area(self, ink: np.ndarray, *places: tuple[float, float]) -> None:
        ImageDraw.Draw(self.picture).polygon(self.points(*places), fill=_ink(ink))


def _ink(color: np.ndarray) -> Ink:
    red, green, blue = (int(np.clip(value, 0, 255)) for value in color)
    return red, green, blue


def _oval(x: float, y: float, a: float, b: float, power: float = 2.0) -> Points:
    turn = np.linspace(0, 2 * np.pi, 60)
    side = [np.sign(wave) * np.abs(wave) ** (2 / power) for wave in (np.cos(turn), np.sin(turn))]
    return [(x + a * float(u), y + b * float(v)) for u, v in zip(*side)]


def hand(sheet: Sheet) -> None:
    """The back of a hand with four fingers, from below over mouth and a cheek: each finger with a dark edge, a light
    ridge and a nail."""
    skin = sheet.skin
    sheet.area(skin * 0.72, (-0.1, 1.5), (0.9, 1.2), (1.7, 2.6), (0.6, 3.2))
    for number in range(4):
        root, tip = (0.05 + 0.26 * number, 1.45 - 0.1 * number), (-0.55 + 0.25 * number, 0.35 - 0.08 * number)
        joint = (0.55 * root[0] + 0.45 * tip[0] + 0.05, 0.5 * (root[1] + tip[1]))
        sheet.line(0.27, skin * 0.5, root, joint, tip)
        sheet.line(0.23, skin * 0.85, root, joint, tip)
        sheet.line(0.1, skin * 1.02, root, joint, tip)
        sheet.area(np.minimum(skin * 1.15 + 14, 255), *_oval(tip[0] - 0.02, tip[1] + 0.02, 0.06, 0.08))


def microphone(sheet: Sheet) -> None:
    """A ball of woven wire on a dark handle, before chin and mouth."""
    dark, wire = np.array([34.0, 34, 38]), np.array([128.0, 130, 136])
    sheet.area(dark, (0.0, 1.0), (0.45, 0.85), (1.25, 3.0), (0.85, 3.2))
    sheet.area(wire * 0.62, *_oval(0.1, 0.75, 0.42, 0.42))
    sheet.area(wire * 0.85, *_oval(0.05, 0.7, 0.3, 0.3))
    for step in np.linspace(-0.36, 0.36, 11):
        half = float(np.sqrt(0.4**2 - step**2))
        sheet.line(0.012, wire * 0.35, (0.1 + step, 0.75 - half), (0.1 + step * 0.9, 0.75 + half))
        sheet.line(0.012, wire * 0.35, (0.1 - half, 0.75 + step), (0.1 + half, 0.75 + step * 0.9))
    sheet.line(0.07, dark * 0.6, (-0.3, 0.88), (0.47, 0.95))


def hair(sheet: Sheet) -> None:
    """A lock of the person's own hair over an eye and a cheek, and some loose strands."""
    color = sheet.hair
    for number in range(26):
        shift, tone = (number - 13) / 26, 0.6 + 0.5 * ((number * 7) % 5) / 4
        wave = [0.07 * float(np.sin(2.2 * step + number)) for step in range(7)]
        places = [(-0.15 - 0.62 * s / 6 + shift * (0.75 - 0.06 * s) + wave[s], -1.75 + 0.42 * s) for s in range(7)]
        sheet.line(0.035, color * tone, *places)
    for number in range(4):
        sheet.line(
            0.016, color * 0.8, (0.1 + 0.1 * number, -1.7), (0.45 - 0.03 * number, -0.7), (0.3 + 0.1 * number, 0.4)
        )


def sunglasses(sheet: Sheet) -> None:
    """Dark lenses in a dark frame."""
    for side in (-1, 1):
        sheet.area(np.array([20.0, 16, 14]), *_oval(0.5 * side, -0.42, 0.44, 0.36, 3))
        sheet.area(np.array([46.0, 44, 50]), *_oval(0.5 * side, -0.4, 0.37, 0.29, 3))
        sheet.line(0.05, np.array([96.0, 98, 108]), (0.5 * side - 0.2, -0.3), (0.5 * side + 0.05, -0.58))
        sheet.line(0.08, np.array([20.0, 16, 14]), (0.9 * side, -0.5), (1.35 * side, -0.45))
    sheet.line(0.07, np.array([20.0, 16, 14]), (-0.1, -0.5), (0.1, -0.5))


def rims(sheet: Sheet) -> None:
    """Glasses whose lenses are clear: only the frame covers anything."""
    ink = np.array([58.0, 30, 20])
    for side in (-1, 1):
        ring = _oval(0.5 * side, -0.42, 0.4, 0.3, 2.6)
        sheet.line(0.07, ink, *ring)
        sheet.line(0.06, ink, (0.9 * side, -0.5), (1.35 * side, -0.45))
    sheet.line(0.06, ink, (-0.1, -0.45), (0.0, -0.5), (0.1, -0.45))


def thing(sheet: Sheet) -> None:
    """A card with another clip's picture on it, held before nose and mouth."""
    corners = sheet.points((-0.75, 0.05), (0.6, -0.1), (0.7, 1.0), (-0.65, 1.15))
    size, cover = sheet.picture.size, Image.new("L", sheet.picture.size)
    ImageDraw.Draw(cover).polygon(corners, fill=255)
    xs, ys = [round(x) for x, _ in corners], [round(y) for _, y in corners]
    card = sheet.thing.resize((max(8, max(xs) - min(xs)), max(8, max(ys) - min(ys))))
    print_ = Image.new("RGB", size)
    print_.paste(card, (min(xs), min(ys)))
    sheet.picture.paste(print_, (0, 0), cover)


KINDS: dict[str, Callable[[Sheet], None]] = {
    "hand": hand,
    "microphone": microphone,
    "hair": hair,
    "sunglasses": sunglasses,
    "rims of glasses": rims,
    "card": thing,
}


def draw_over(clip: Tensor, landmarks: np.ndarray, kind: str, other: Tensor) -> tuple[Tensor, Tensor]:
    """A clip with a thing before its face.

    Args:
        clip: ``[T, 3, H, W]``, 0…1.
        landmarks: ``[T, 5, 2]`` pixels.
        kind: of :data:`KINDS`.
        other: ``[3, h, w]``, a picture of another clip.

    Returns:
        The clip, and how much each pixel is covered, ``[T, 1, H, W]``, 0…1.
    """
    height, width = clip.shape[-2:]
    skin, dark = _colors(clip[0], landmarks[0])
    pixels = (other * 255).byte().permute(1, 2, 0).numpy()
    card = Image.fromarray(pixels[: pixels.shape[0] // 3, : pixels.shape[1] // 3])
    frames, covers = [], []
    for number, (frame, points) in enumerate(zip(clip, landmarks)):
        sway = 0.05 * np.array([np.sin(number / 3), np.cos(number / 4)])
        picture = Image.new("RGBA", (width * FINE, height * FINE))
        KINDS[kind](Sheet(picture, points, sway, skin, dark, card))
        # Averaged with its transparency taken into account, as a lens does.
        small = picture.convert("RGBa").resize((width, height), Image.Resampling.BOX)
        small = small.filter(ImageFilter.GaussianBlur(0.5))
        layer = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
        frames.append(layer[:3] + (1 - layer[3:]) * frame)
        covers.append(layer[3:])
    return torch.stack(frames).clamp(0, 1), torch.stack(covers)


def _colors(frame: Tensor, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skin beside the nose, and the darkest tone above the forehead; 0…255."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    height, width = frame.shape[-2:]

    def near(place: np.ndarray, reach: int) -> np.ndarray:
        x, y = (int(np.clip(value, reach, size - reach - 1)) for value, size in zip(place.round(), (width, height)))
        part = frame[:, y - reach : y + reach + 1, x - reach : x + reach + 1]
        return part.reshape(3, -1).T.double().numpy() * 255

    skin = near((points[2] + points[0] + points[3]) / 3, 3).mean(0)
    above = near(eyes - 1.1 * (mouth - eyes), 8)
    return skin, above[above.sum(1).argsort()[: len(above) // 4]].mean(0)
