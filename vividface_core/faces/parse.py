"""Where in a crop the face is, and where its background begins.

The parsing networks give the outline of face and hair; their weights aren't part of the package and are used where a
user has put them. Without them a head-shaped ellipse is laid over the five landmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights, UnsupportedCheckpoint
from vividface_core.faces.facexlib_modules import facexlib_module
from vividface_core.faces.weights import facexlib_folders, first_file
from vividface_core.io.file_kinds import check_weights

FILES = {
    "bisenet": (
        "parsing_bisenet.pth",
        "https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",
    ),
    "parsenet": (
        "parsing_parsenet.pth",
        "https://github.com/xinntao/facexlib/releases/download/v0.2.2/parsing_parsenet.pth",
    ),
}
NAMES = ("auto", "bisenet", "parsenet", "landmark-hull")

CLASSES = {
    "bisenet": (
        "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l cloth "
        "hair hat"
    ).split(),
    "parsenet": (
        "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck "
        "cloth"
    ).split(),
}
"""The 19 classes of CelebAMask-HQ, in the order of each network's outputs."""

LEFT_OUT = ("background", "neck", "neck_l", "cloth")
NORMALISATION = {
    "bisenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "parsenet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
PARSED_SIDE = 512


class FaceParser(Protocol):
    """Tells face from background in crops."""

    name: str

    def parse(self, crops: Tensor, landmarks: np.ndarray) -> Tensor:
        """Masks ``[T, 1, S, S]`` in 0…1 (1: face) for crops ``[T, 3, S, S]`` in 0…1 with landmarks ``[T, 5, 2]``
        in pixels of the crops, on the crops' device."""


class NetworkParser:
    """A parsing network; the mask is the probability that a pixel is of any kept class."""

    def __init__(self, name: str, network: nn.Module, kept: Sequence[int], device: str | torch.device) -> None:
        self.name, self.device = name, torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self.device)
        self._kept = list(kept)
        self._mean, self._spread = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in NORMALISATION[name]
        )

    @torch.inference_mode()
    def parse(self, crops: Tensor, landmarks: np.ndarray) -> Tensor:
        # One crop at a time: a window of 81 crops would need gigabytes.
        return torch.stack([self._parse_one(crop) for crop in crops])

    def _parse_one(self, crop: Tensor) -> Tensor:
        side = crop.shape[-1]
        picture = _resize(crop[None].to(self.device, torch.float32), PARSED_SIDE).clamp(0, 1)
        scores = self._network((picture - self._mean) / self._spread)[0]
        face = scores.softmax(dim=1)[:, self._kept].sum(dim=1, keepdim=True)
        return _resize(face, side).clamp(0, 1)[0].to(crop)


def _resize(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


class LandmarkHull:
    """A soft ellipse over the head, hair and chin included, that follows the tilt of the eyes and turns of the head.

    Its measures are those of aligned portraits (FFHQ), in units of the eye distance.
    """

    name = "landmark-hull"
    half_width, half_height, drop, soft = 1.25, 1.65, 0.1, 0.25

    def parse(self, crops: Tensor, landmarks: np.ndarray) -> Tensor:
        side = crops.shape[-1]
        place = torch.arange(side, dtype=torch.float32, device=crops.device) + 0.5
        masks = [self._ellipse(place, points) for points in np.asarray(landmarks, np.float64)]
        return torch.stack(masks)[:, None].to(crops.dtype)

    def _ellipse(self, place: Tensor, points: np.ndarray) -> Tensor:
        left, right, nose = points[:3]
        eyes, mouth = (left + right) / 2, points[3:].mean(0)
        down = mouth - eyes
        # A turned head brings the eyes together, a nodding one brings the mouth up: the longer measure is the scale.
        unit = max(float(np.linalg.norm(right - left)), float(np.linalg.norm(down)), 1e-3)
        # Both the eye line and the line to the mouth tell the tilt; in profile only the second one does.
        across = (right - left) + np.array([down[1], -down[0]])
        across = across / max(np.linalg.norm(across), 1e-9)
        along = np.array([-across[1], across[0]])
        # In a turned head the nose leads and the back of the head trails.
        turn = float(np.clip((nose - eyes) @ across / unit, -0.6, 0.6))
        centre = eyes + self.drop * unit * along - 0.5 * turn * unit * across
        x, y = place[None, :] - centre[0], place[:, None] - centre[1]
        u = (x * across[0] + y * across[1]) / (self.half_width * unit)
        v = (x * along[0] + y * along[1]) / (self.half_height * unit)
        edge = ((1 - torch.sqrt(u * u + v * v)) / self.soft + 0.5).clamp(0, 1)
        return edge * edge * (3 - 2 * edge)


def load_parser(
    name: str = "auto",
    device: str | torch.device = "cpu",
    folders: Iterable[str | Path] | None = None,
    classes: Iterable[str] | None = None,
) -> FaceParser:
    """Load a face parser.

    Args:
        name: ``bisenet`` or ``parsenet``; ``landmark-hull`` needs no weights; ``auto``: the first of these three whose
            weights are there. The parser's ``name`` tells which one it is.
        folders: where weights are looked for first; then in ``$VIVIDFACE_MODELS/facexlib`` and
            ``~/.cache/vividface/facexlib``. Nothing is downloaded.
        classes: names of the kept classes (see :data:`CLASSES`); ``None``: all but background, neck, necklace and
            clothes. The landmark hull knows no classes.

    Raises:
        InvalidOption: unknown parser or class.
        MissingWeights: the named network's file isn't in any folder.
        MissingDependency: facexlib isn't installed.
        UnsupportedCheckpoint: the file isn't this network's.
    """
    if name not in NAMES:
        raise InvalidOption(f"Face parser {name!r} is unknown; choose one of {', '.join(NAMES)}.")
    places = facexlib_folders(folders)
    if name == "auto":
        name = next((network for network in FILES if first_file(FILES[network][:1], places)), "landmark-hull")
    if name == "landmark-hull":
        return LandmarkHull()
    kept = _kept(name, classes)
    path = first_file(FILES[name][:1], places)
    if path is None:
        file, address = FILES[name]
        raise MissingWeights(
            f"The weights {file} of the face parser {name} aren't in {', '.join(map(str, places))}. "
            f"Download {address} into {places[0]}, or, for whole heads, choose the parser landmark-hull."
        )
    return NetworkParser(name, _load_network(name, path), kept, device)


def _kept(name: str, classes: Iterable[str] | None) -> list[int]:
    known = CLASSES[name]
    wanted = [one for one in known if one not in LEFT_OUT] if classes is None else list(classes)
    if strange := [one for one in wanted if one not in known]:
        raise InvalidOption(f"Face classes {', '.join(strange)} are unknown to {name}; it knows {', '.join(known)}.")
    return [known.index(one) for one in wanted]


def _load_network(name: str, path: Path) -> nn.Module:
    try:
        bisenet = facexlib_module("parsing.bisenet").BiSeNet
        parsenet = facexlib_module("parsing.parsenet").ParseNet
    except ImportError as error:
        raise MissingDependency(
            f"The face parser {name} needs facexlib ({error}); run `pip install facexlib` or choose landmark-hull."
        ) from error
    from pickle import UnpicklingError

    network = bisenet(num_class=19) if name == "bisenet" else parsenet(PARSED_SIDE, PARSED_SIDE, parsing_ch=19)
    check_weights(path)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise UnsupportedCheckpoint(
            f"{path} holds no weights of the face parser {name} ({error}). Download it again from {FILES[name][1]}."
        ) from error
    return network
