"""The people of a film on one picture: some faces of each, number, frames, size, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vividface_core.faces.crop import crop_clip
from vividface_core.faces.people import Person
from vividface_core.faces.pose import nose_symmetry
from vividface_core.faces.track import FaceTrack
from vividface_core.io.pictures import INK, LINE, PAPER, SOFT, bytes_of, font, pillow
from vividface_core.runtime.wording import counted
from vividface_core.video.shots import Shot

PICTURES, SIDE = 4, 120
"""Faces of each person, of as many tracks, and their side in pixels."""
CARDS = 40
"""People that are drawn at most: those seen longest."""
COMPARED = 16
"""People in the table of likeness at most."""
NEAR = 0.1
"""Likeness this near below the threshold is marked: look whether they are one."""
COLUMNS, GAP, EDGE, SLIT = 2, 28, 36, 3
CARD = PICTURES * SIDE + (PICTURES - 1) * SLIT
WIDTH = 2 * EDGE + COLUMNS * CARD + (COLUMNS - 1) * GAP
CAPTION, HEAD, CELL = 74, 108, 46
MARK = "#a3372b"


class Portraits:
    """Cuts out the pictures of the sheet as frames pass by.

    Args:
        people: as they are numbered.

    Attributes:
        frames: numbers of the frames that are wanted.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self.people = list(people)[:CARDS]
        self._wanted: dict[int, list[tuple[int, FaceTrack]]] = {}
        self._pictures: dict[int, dict[int, np.ndarray]] = {person.number: {} for person in self.people}
        for person in self.people:
            longest = sorted(person.tracks, key=lambda track: -len(track.boxes))[:PICTURES]
            for track in longest:
                self._wanted.setdefault(_clearest(track), []).append((person.number, track))

    @property
    def frames(self) -> list[int]:
        return sorted(self._wanted)

    def add(self, index: int, rgb: Tensor) -> None:
        """Take what is wanted of frame ``index`` ``[3, H, W]``, 0…1."""
        for number, track in self._wanted.get(index, ()):
            face = crop_clip(rgb.cpu(), track.crops[index - track.first], SIDE)
            self._pictures[number][index] = bytes_of(torch.rot90(face, track.turn, (-2, -1)))

    def of(self, person: Person) -> list[np.ndarray]:
        """The faces ``[S, S, 3]`` uint8 of a person that were seen, in the order of time."""
        return [picture for _, picture in sorted(self._pictures[person.number].items())]


def _clearest(track: FaceTrack) -> int:
    """The frame in which the face is largest and most turned to the camera."""
    seen = track.scores > 0
    return track.first + int(np.argmax(track.sizes * nose_symmetry(track.landmarks) * seen))


def draw_people(portraits: Portraits, people: Sequence[Person], shots: Sequence[Shot], threshold: float) -> Any:
    """A Pillow picture of the people.

    Args:
        portraits: with the faces of all frames that it wanted.
        people: all of the film.
        threshold: by which they were gathered.

    Raises:
        MissingDependency: Pillow is absent.
    """
    image = pillow()
    shown = portraits.people
    rows = -(-len(shown) // COLUMNS)
    table = min(len(people), COMPARED) if len(people) > 1 else 0
    height = HEAD + rows * (SIDE + CAPTION) + (90 + CELL * (table + 1) if table else 0) + EDGE
    picture = image.new("RGB", (WIDTH, height), PAPER)
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    draw.text((EDGE, 26), f"{counted(len(people), 'person', 'people')} in {_length(shots)}", INK, font(32))
    more = f" Of {len(people)} the {CARDS} who are seen longest are drawn." if len(people) > len(shown) else ""
    told = f"One person from a mean likeness of {threshold:.2f} on, or seen without a break.{more}"
    draw.text((EDGE, 70), told, SOFT, font(17))
    for place, person in enumerate(shown):
        _card(picture, draw, person, portraits.of(person), _corner(place), shots)
    if table:
        _likeness(draw, list(people)[:table], HEAD + rows * (SIDE + CAPTION), threshold)
    return picture


def cards(people: Sequence[Person], shots: Sequence[Shot], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Where the people are on the sheet.

    Args:
        people: those that are drawn, :attr:`Portraits.people`.
        shots: of the film.
        size: width, height of the sheet.

    Returns:
        For each ``number``, ``text`` (frames, shots, size), ``box`` (left, top, width, height of the faces, as shares
        of the sheet) and ``ratio`` (width of the faces over their height).
    """
    told = []
    for place, person in enumerate(people):
        left, top = _corner(place)
        wide = min(len(person.tracks), PICTURES) * (SIDE + SLIT) - SLIT
        box = [left / size[0], top / size[1], wide / size[0], SIDE / size[1]]
        told.append({"number": person.number, "text": describe(person, shots), "box": box, "ratio": wide / SIDE})
    return told


def _corner(place: int) -> tuple[int, int]:
    """Left and top of a card."""
    row, column = divmod(place, COLUMNS)
    return EDGE + column * (CARD + GAP), HEAD + row * (SIDE + CAPTION)


def _length(shots: Sequence[Shot]) -> str:
    return f"{counted(len(shots), 'shot')}, {counted(shots[-1].end, 'frame')}"


def describe(person: Person, shots: Sequence[Shot]) -> str:
    """A person in a few words."""
    seen = sum(any(shot.start <= track.first < shot.end for track in person.tracks) for shot in shots)
    return f"{counted(person.frames, 'frame')} in {seen} of {counted(len(shots), 'shot')}, {person.size:.0f} pixels"


def _card(
    picture: Any, draw: Any, person: Person, faces: list[np.ndarray], corner: tuple[int, int], shots: Sequence[Shot]
) -> None:
    left, top = corner
    for place, face in enumerate(faces):
        picture.paste(pillow().fromarray(face), (left + place * (SIDE + SLIT), top))
    number = f"{person.number}"
    draw.text((left, top + SIDE + 38), number, INK, font(34), anchor="ls")
    begin = left + int(font(34).getlength(number)) + 14
    draw.text((begin, top + SIDE + 36), describe(person, shots), SOFT, font(18), anchor="ls")


def _likeness(draw: Any, people: list[Person], top: int, threshold: float) -> None:
    draw.line([(EDGE, top + 4), (WIDTH - EDGE, top + 4)], LINE, 1)
    draw.text((EDGE, top + 40), "How alike they are", INK, font(21), anchor="ls")
    near = f"red: less than {NEAR:g} below the threshold; two who are seen at one time stay two"
    draw.text((EDGE + 210, top + 40), near, SOFT, font(16), anchor="ls")
    top += 64
    for place, person in enumerate(people, 1):
        for at in ((EDGE + CELL * place, top), (EDGE, top + CELL * place)):
            draw.text((at[0] + CELL / 2, at[1] + CELL / 2), f"{person.number}", INK, font(20), anchor="mm")
    for row, one in enumerate(people, 1):
        for column, other in enumerate(people[: row - 1], 1):
            alike = one.likeness(other)
            text = "?" if alike is None else f"{alike:.2f}"
            color = MARK if alike is not None and alike >= threshold - NEAR else SOFT
            middle = (EDGE + CELL * column + CELL / 2, top + CELL * row + CELL / 2)
            draw.text(middle, text, color, font(17), anchor="mm")
