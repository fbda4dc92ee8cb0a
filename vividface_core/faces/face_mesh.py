"""A face as a mesh of 478 points in space: contours, eyes, lips and irises.

The network is MediaPipe's FaceMesh with attention (Grishchenko et al.: "Attention Mesh: High-fidelity Face Mesh
Prediction in Real-time", 2020), here in plain PyTorch, so that its points can be had without its runtime. A trunk
predicts 468 points of the whole face; around the lips and both eyes its features are sampled again, finer, and small
networks replace the points there and add the irises.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.faces.blazeface import BlazeDetector, Block, crop_squares, load_blazeface, pad_to_halve, whole
from vividface_core.faces.weights import FOLDER, read_weights
from vividface_core.runtime.devices import channels_last

WEIGHTS = FOLDER / "mesh.safetensors"

SIDE = 192
"""Side of the crop that the network takes, in pixels."""
POINTS = 478
FACE_POINTS = 468
MARGIN = 1.5
"""Side of the crop over the long side of the points' bounding box."""
PRESENT = 0.5
"""Presence from which MediaPipe takes the points for a face's."""

LIPS = (
    61,
    146,
    91,
    181,
    84,
    17,
    314,
    405,
    321,
    375,
    291,
    185,
    40,
    39,
    37,
    0,
    267,
    269,
    270,
    409,
    78,
    95,
    88,
    178,
    87,
    14,
    317,
    402,
    318,
    324,
    308,
    191,
    80,
    81,
    82,
    13,
    312,
    311,
    310,
    415,
    76,
    77,
    90,
    180,
    85,
    16,
    315,
    404,
    320,
    307,
    306,
    184,
    74,
    73,
    72,
    11,
    302,
    303,
    304,
    408,
    62,
    96,
    89,
    179,
    86,
    15,
    316,
    403,
    319,
    325,
    292,
    183,
    42,
    41,
    38,
    12,
    268,
    271,
    272,
    407,
)
LEFT_EYE = (
    33,
    7,
    163,
    144,
    145,
    153,
    154,
    155,
    133,
    246,
    161,
    160,
    159,
    158,
    157,
    173,
    130,
    25,
    110,
    24,
    23,
    22,
    26,
    112,
    243,
    247,
    30,
    29,
    27,
    28,
    56,
    190,
    226,
    31,
    228,
    229,
    230,
    231,
    232,
    233,
    244,
    113,
    225,
    224,
    223,
    222,
    221,
    189,
    35,
    124,
    46,
    53,
    52,
    65,
    143,
    111,
    117,
    118,
    119,
    120,
    121,
    128,
    245,
    156,
    70,
    63,
    105,
    66,
    107,
    55,
    193,
)
RIGHT_EYE = (
    263,
    249,
    390,
    373,
    374,
    380,
    381,
    382,
    362,
    466,
    388,
    387,
    386,
    385,
    384,
    398,
    359,
    255,
    339,
    254,
    253,
    252,
    256,
    341,
    463,
    467,
    260,
    259,
    257,
    258,
    286,
    414,
    446,
    261,
    448,
    449,
    450,
    451,
    452,
    453,
    464,
    342,
    445,
    444,
    443,
    442,
    441,
    413,
    265,
    353,
    276,
    283,
    282,
    295,
    372,
    340,
    346,
    347,
    348,
    349,
    350,
    357,
    465,
    383,
    300,
    293,
    334,
    296,
    336,
    285,
    417,
)
LEFT_IRIS, RIGHT_IRIS = tuple(range(468, 473)), tuple(range(473, 478))
"""Places of the five regions' points among the 478; left and right as seen in the picture. An iris is its middle,
then right, upper, left and lower edge."""
EYE_CONTOUR = 16
"""So many points at the head of an eye's are its lids' edge; an iris gets their mean depth."""
_SHARE = 1 / 6
"""A face narrower than this part of the frame's long side is looked for in a window of its own."""
_WINDOW = 3
"""Side of that window, in faces."""
_FACE = 2.1
"""Side of the detector's box, in distances between eyes and mouth or from eye to eye, whichever is longer."""
_FACES_AT_ONCE = 16


def _stage(inputs: int, outputs: int) -> list[nn.Module]:
    return [Block(inputs, outputs, 2), Block(outputs, outputs), Block(outputs, outputs)]


def _neck(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 32, 1), nn.PReLU(32), Block(32, 32)]


class _Stem(nn.Sequential):
    """[N,3,192,192] → [N,32,48,48]."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16), Block(16, 16), Block(16, 16), Block(16, 32, 2))

    def forward(self, faces: Tensor) -> Tensor:
        return super().forward(pad_to_halve(faces, 3))


class _Head(nn.Sequential):
    """Features of a region [N,128,4,4] → points [N,n,2] in a quarter of the region's cells."""

    def __init__(self, points: int) -> None:
        super().__init__(
            Block(128, 128), Block(128, 128), *_stage(128, 128), *_neck(128), nn.Conv2d(32, 2 * points, 2), nn.Flatten()
        )

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).unflatten(1, (-1, 2))


class Region(nn.Module):
    """One region of the face, looked at again.

    Args:
        points: places of the region's points among the face's; their box, turned with ``line`` and widened by
            ``MARGIN``, is what is looked at.
        line: two points whose line is the box's horizontal.
        extra: number of points that a second head finds; 0: there is none.
    """

    side = 16

    def __init__(self, points: tuple[int, ...], line: tuple[int, int], extra: int = 0) -> None:
        super().__init__()
        self.points, self.line = list(points), line
        self.features = nn.Sequential(Block(32, 32), Block(32, 32), *_stage(32, 64), Block(64, 128, 2))
        self.contour = _Head(len(points))
        self.iris = _Head(extra) if extra else None

    def forward(self, features: Tensor, face: Tensor) -> tuple[Tensor, Tensor | None]:
        """Points of the region [N,n,2] and of its iris [N,5,2], in pixels of the crop.

        Args:
            features: of the crop, [N,32,48,48].
            face: its points so far, [N,468,3] in pixels of the crop.
        """
        scale = SIDE / features.shape[-1]
        middle, across, down = _box(face[:, self.points, :2] / scale, _direction(face, *self.line))
        inner = self.features(_sample(features, middle, across, down, self.side))

        def place(points: Tensor) -> Tensor:
            # A head counts in quarters of the region's cells.
            at = points / (scale * self.side) - 0.5
            return scale * (middle[:, None] + at[..., :1] * across[:, None] + at[..., 1:] * down[:, None])

        return place(self.contour(inner)), None if self.iris is None else place(self.iris(inner))


def _direction(points: Tensor, start: int, end: int) -> Tensor:
    """Unit vectors [N,2] from one point to another."""
    return F.normalize(points[:, end, :2] - points[:, start, :2], dim=-1)


def _box(points: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Middle, width and height [N,2] of the box around points [N,n,2] whose horizontal is ``right``, widened."""
    axes = torch.stack([right, torch.stack([-right[:, 1], right[:, 0]], -1)], 1)
    turned = points @ axes.mT
    least, most = turned.amin(1), turned.amax(1)
    middle = ((least + most)[:, None] / 2 @ axes)[:, 0]
    across, down = ((most - least) * MARGIN)[..., None].mul(axes).unbind(1)
    return middle, across, down


def _sample(features: Tensor, middle: Tensor, across: Tensor, down: Tensor, side: int) -> Tensor:
    """Bilinear look-ups on a grid of ``side``² cells over a box; nothing where a cell's middle is outside.

    Coordinates are those of ``features``' cells, 0 at the edge of the first.
    """
    steps = (torch.arange(side, device=features.device, dtype=features.dtype) + 0.5) / side - 0.5
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    at = middle[:, None, None] + columns[..., None] * across[:, None, None] + rows[..., None] * down[:, None, None]
    size = at.new_tensor([features.shape[-1], features.shape[-2]])
    inside = ((at >= 0.5) & (at <= size - 0.5)).all(-1)
    sampled = F.grid_sample(features, at * 2 / size - 1, align_corners=False)
    return sampled * inside[:, None]


class FaceMesh(nn.Module):
    """Crops of faces [N,3,192,192] RGB 0…1 → points [N,478,3] in pixels of the crop and presence [N], 0…1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem()
        self.trunk = nn.Sequential(
            Block(32, 32),
            Block(32, 32),
            *_stage(32, 64),
            *_stage(64, 128),
            *_stage(128, 128),
            *_stage(128, 128),
            *_neck(128),
        )
        self.mesh = nn.Conv2d(32, 3 * FACE_POINTS, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.lips = Region(LIPS, (61, 291))
        self.left_eye = Region(LEFT_EYE, (33, 133), extra=len(LEFT_IRIS))
        self.right_eye = Region(RIGHT_EYE, (362, 263), extra=len(RIGHT_IRIS))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stem(faces)
        summary = self.trunk(features)
        face = self.mesh(summary).reshape(-1, FACE_POINTS, 3)
        points = F.pad(face, (0, 0, 0, POINTS - FACE_POINTS))
        points[:, LIPS, :2] = self.lips(features, face)[0]
        for eye, iris in ((self.left_eye, LEFT_IRIS), (self.right_eye, RIGHT_IRIS)):
            points[:, eye.points, :2], points[:, iris, :2] = eye(features, face)
            points[:, iris, 2] = face[:, eye.points[:EYE_CONTOUR], 2].mean(1, keepdim=True)
        return points, self.presence(summary).flatten().sigmoid()


class FaceMesher:
    """Finds the 478 points of faces whose five landmarks are known, as MediaPipe does in single pictures: its own
    detector's box gives a crop of 1.5 times the box's long side, turned so that the eyes are level, and the network
    is asked once. The five landmarks say which face is meant.

    MediaPipe's detector sees nothing of small faces. Where the five landmarks show one, it is given not the whole
    frame but a window around it.
    """

    def __init__(self, net: FaceMesh, detector: BlazeDetector) -> None:
        self.net, self.detector = net, detector

    def landmarks(self, frames: Tensor, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of one face a frame.

        Args:
            frames: [N,3,H,W] RGB 0…1. For several faces of one frame, expand it.
            landmarks: [N,5,2] pixels, in the order of ``FaceDetection.landmarks``; NaN: no face here.

        Returns:
            float32 [N,478,3], x and y in pixels of the frame, z in the same unit, smaller is nearer; NaN where there
            is no face or MediaPipe's detector sees none. And float32 [N], how sure the network is that it looks at a
            face, 0…1; 0 where it had none to look at. MediaPipe rejects points below ``PRESENT``.
        """
        points = np.full((len(frames), POINTS, 3), np.nan, np.float32)
        presence = np.zeros(len(frames), np.float32)
        landmarks = np.asarray(landmarks, np.float64)
        known = np.flatnonzero(np.isfinite(landmarks).all((1, 2)))
        for some in (known[i : i + _FACES_AT_ONCE] for i in range(0, len(known), _FACES_AT_ONCE)):
            there = frames[torch.from_numpy(some).to(frames.device)]
            squares = self.squares(there, landmarks[some])
            seen = np.isfinite(squares).all(1)
            if seen.any():
                there = there[torch.from_numpy(seen).to(frames.device)]
                points[some[seen]], presence[some[seen]] = self.in_squares(there, squares[seen])
        return points, presence

    def squares(self, frames: Tensor, landmarks: np.ndarray) -> np.ndarray:
        """Crops [N,4] as :meth:`in_squares` takes them, by MediaPipe's detector; NaN where it sees no such face.

        Args:
            frames: [N,3,H,W] RGB 0…1.
            landmarks: [N,5,2] pixels.
        """
        squares = np.full((len(frames), 4), np.nan)
        found = self.detector.find(frames, _windows(frames, landmarks))
        for square, (boxes, points, _), face in zip(squares, found, landmarks, strict=True):
            middle = face.mean(0)
            mine = np.flatnonzero(((boxes[:, :2] <= middle) & (middle <= boxes[:, 2:])).all(1))
            if len(mine):
                centres = (boxes[mine, :2] + boxes[mine, 2:]) / 2
                nearest = mine[np.linalg.norm(centres - middle, axis=1).argmin()]
                square[:] = square_around(boxes[nearest], points[nearest, 0], points[nearest, 1])
        return squares

    @torch.inference_mode()
    def in_squares(self, frames: Tensor, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points and presence, as :meth:`landmarks`, of faces in crops whose place is given.

        Args:
            frames: [N,3,H,W] RGB 0…1.
            squares: [N,4] middle x, y and side in pixels, and turn in radians, clockwise as seen.
        """
        crops = crop_squares(frames.to(self.net.mesh.weight), squares, SIDE, outside="border")
        found, presence = self.net(crops)
        found, presence = found.cpu().double().numpy(), presence.cpu().numpy()
        x, y, side, turn = np.asarray(squares, np.float64).T[..., None]
        at = (found[..., 0] / SIDE - 0.5 + 1j * (found[..., 1] / SIDE - 0.5)) * side * np.exp(1j * turn) + x + 1j * y
        points = np.stack([at.real, at.imag, found[..., 2] * side / SIDE], -1)
        return points.astype(np.float32), presence


def square_around(box: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The crop [4] for a face with that box [4] and those eyes [2]; the box stays upright, only the crop is turned."""
    (x, y), (width, height) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return np.array([x, y, MARGIN * max(width, height), np.arctan2(right[1] - left[1], right[0] - left[0])])


def _windows(frames: Tensor, landmarks: np.ndarray) -> np.ndarray:
    """Where to look for faces with these five landmarks [N,5,2]: [N,3]."""
    eyes, mouth = landmarks[:, :2].mean(1), landmarks[:, 3:].mean(1)
    heights, widths = mouth - eyes, landmarks[:, 1] - landmarks[:, 0]
    sides = _FACE * np.maximum(np.linalg.norm(heights, axis=1), np.linalg.norm(widths, axis=1))
    near = np.column_stack([landmarks.mean(1), _WINDOW * sides])
    return np.where(sides[:, None] < _SHARE * max(frames.shape[-2:]), near, whole(frames))


def load_mesher(device: str | torch.device = "cpu", path: Path = WEIGHTS) -> FaceMesher:
    """The mesher with the weights that come with the package.

    Raises:
        MissingWeights: the file isn't there, so the installation is incomplete.
    """
    net = FaceMesh()
    net.load_state_dict(read_weights(path))
    # Separate filters of few channels are twice as quick with the channels last in memory.
    channels_last(net)
    return FaceMesher(net.eval().requires_grad_(False).to(device), load_blazeface(device))
