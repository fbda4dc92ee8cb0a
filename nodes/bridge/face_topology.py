"""Which points of MediaPipe's face mesh its parts connect, under the names that ComfyUI's core has for them."""

from __future__ import annotations

from collections.abc import Sequence

Edges = frozenset[tuple[int, int]]

OVAL = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_BROW = ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336))
RIGHT_BROW = ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107))
IRISES = ((474, 475, 476, 477), (469, 470, 471, 472))
NOSE = ((168, 6, 197, 195, 5, 4), (4, 45, 220, 115, 48), (4, 275, 440, 344, 278))


def _line(points: Sequence[int]) -> Edges:
    return frozenset(zip(points[:-1], points[1:]))


def _ring(points: Sequence[int]) -> Edges:
    return _line([*points, points[0]])


def connection_sets() -> dict[str, Edges]:
    """Edges by part; ``left`` and ``right`` are the person's own."""
    sets = {
        "face_oval": _ring(OVAL),
        "left_eye": _ring(LEFT_EYE),
        "right_eye": _ring(RIGHT_EYE),
        "left_eyebrow": frozenset().union(*map(_line, LEFT_BROW)),
        "right_eyebrow": frozenset().union(*map(_line, RIGHT_BROW)),
        "lips": _ring(OUTER_LIPS) | _ring(INNER_LIPS),
    }
    contours = frozenset().union(*sets.values())
    sets |= {"irises": frozenset().union(*map(_ring, IRISES)), "nose": frozenset().union(*map(_line, NOSE))}
    # The triangles between them aren't told.
    return {**sets, "contours": contours, "all": contours | sets["irises"] | sets["nose"], "tesselation": frozenset()}
