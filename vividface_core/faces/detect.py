"""Find faces in frames: one interface, two detectors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights, UnsupportedCheckpoint, first_line
from vividface_core.faces.facexlib_modules import facexlib_module
from vividface_core.faces.mtcnn import Mtcnn, suppress
from vividface_core.faces.weights import facexlib_folders, first_file
from vividface_core.io.file_kinds import check_weights

if TYPE_CHECKING:
    from torch import nn

DETECTORS = ("auto", "mtcnn", "retinaface")
RETINAFACE_FILES = {
    "detection_Resnet50_Final.pth": "resnet50",
    "detection_mobilenet0.25_Final.pth": "mobile0.25",
}
"""Weight files of facexlib's RetinaFace and the backbone that each one is for, best first."""
RETINAFACE_ADDRESS = "https://github.com/xinntao/facexlib/releases/download/v0.1.0/"


@dataclass(frozen=True)
class FaceDetection:
    """One face in one frame.

    Attributes:
        box: float32 [4], x0 y0 x1 y1 in pixels of the frame; may reach beyond its borders.
        landmarks: float32 [5,2], x and y in pixels: left eye, right eye, nose tip, left and right corner of the
            mouth, left and right as seen in the picture.
        score: face probability, 0…1.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float


class FaceDetector(Protocol):
    """What every detector offers."""

    name: str

    def detect(self, frames: Tensor) -> list[list[FaceDetection]]:
        """Faces of each frame of [T,3,H,W] RGB 0…1, most probable first."""
        ...


class MtcnnDetector:
    """The embedded detector: small, without dependencies."""

    name = "mtcnn"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.net = Mtcnn.load(device)

    def detect(self, frames: Tensor) -> list[list[FaceDetection]]:
        """Faces of each frame of [T,3,H,W] RGB 0…1, most probable first. A frame too small to hold one has none."""
        return [_detections(*found) for found in self.net.detect(frames)]


class RetinaFaceDetector:
    """facexlib's RetinaFace with weights that are on disk.

    Deng et al.: "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR 2020.
    """

    name = "retinaface"
    long_side = 1024
    threshold = 0.8
    overlap = 0.4

    def __init__(self, weights: Path, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.net: Any = _build_retinaface(weights, self.device)

    @torch.inference_mode()
    def detect(self, frames: Tensor) -> list[list[FaceDetection]]:
        """Faces of each frame of [T,3,H,W] RGB 0…1, most probable first."""
        height, width = frames.shape[-2:]
        ratio = min(1.0, self.long_side / max(height, width))
        size = max(1, round(height * ratio)), max(1, round(width * ratio))
        return [self._detect_one(frame, size) for frame in frames]

    def _detect_one(self, frame: Tensor, size: tuple[int, int]) -> list[FaceDetection]:
        utils = facexlib_module("detection.retinaface_utils")
        height, width = frame.shape[-2:]
        picture = frame[None].to(self.device, torch.float32)
        if size != (height, width):
            picture = torch.nn.functional.interpolate(picture, size, mode="area")
        # The network was trained on 0…255 BGR without the mean of its training set.
        bgr = picture.flip(1) * 255 - self.net.mean_tensor
        offsets, probability, points = (out[0].float().cpu() for out in self.net(bgr))
        priors = utils.PriorBox(self.net.cfg, image_size=size).forward()
        variance = self.net.cfg["variance"]
        extent = torch.tensor([width, height], dtype=torch.float32)
        boxes = (utils.decode(offsets, priors, variance) * extent.repeat(2)).numpy()
        landmarks = (utils.decode_landm(points, priors, variance).view(-1, 5, 2) * extent).numpy()
        scores = probability[:, 1].numpy()
        kept = np.flatnonzero(scores >= self.threshold)
        kept = kept[suppress(boxes[kept], scores[kept], np.zeros(len(kept), int), self.overlap)]
        return _detections(boxes[kept], landmarks[kept], scores[kept])


def load_detector(
    name: str = "auto", device: str | torch.device = "cpu", folders: Sequence[str | Path] | None = None
) -> FaceDetector:
    """Make a detector ready.

    Args:
        name: ``retinaface`` for facexlib's, ``mtcnn`` for the embedded one; ``auto``: RetinaFace if its weights are
            there. The detector's ``name`` tells which one it is.
        device: where its network runs.
        folders: where to look for RetinaFace's weights before ``$VIVIDFACE_MODELS/facexlib`` and
            ``~/.cache/vividface/facexlib``.

    Raises:
        InvalidOption: there is no detector of that name.
        MissingWeights: its weights are in none of the folders. Nothing is downloaded.
        MissingDependency: facexlib is absent or broken.
        UnsupportedCheckpoint: the weights file holds something else.
    """
    if name not in DETECTORS:
        raise InvalidOption(f"There is no face detector {name!r}. Choose one of: {', '.join(DETECTORS)}.")
    if name == "mtcnn" or (name == "auto" and first_file(RETINAFACE_FILES, facexlib_folders(folders)) is None):
        return MtcnnDetector(device)
    return RetinaFaceDetector(find_retinaface(folders), device)


def find_retinaface(folders: Sequence[str | Path] | None = None) -> Path:
    """Path of RetinaFace's weights; the folders are those of :func:`load_detector`.

    Raises:
        MissingWeights: no folder holds them.
    """
    places = facexlib_folders(folders)
    if found := first_file(RETINAFACE_FILES, places):
        return found
    best = next(iter(RETINAFACE_FILES))
    raise MissingWeights(
        f"RetinaFace needs {best}, which is in none of: {', '.join(map(str, places))}. "
        f"Fetch it from {RETINAFACE_ADDRESS}{best} and put it into one of them, or use the detector mtcnn."
    )


def _build_retinaface(weights: Path, device: torch.device) -> nn.Module:
    try:
        retinaface = facexlib_module("detection.retinaface").RetinaFace
    except ImportError as error:
        raise MissingDependency(
            f"The detector retinaface needs facexlib ({error}); run `pip install facexlib` or use the detector mtcnn."
        ) from error
    backbone = RETINAFACE_FILES.get(weights.name)
    if backbone is None:
        raise UnsupportedCheckpoint(
            f"{weights} is no RetinaFace file known here; its name must be one of {', '.join(RETINAFACE_FILES)}."
        )
    check_weights(weights)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        with warnings.catch_warnings():
            # facexlib builds its backbone with an argument that torchvision calls deprecated.
            warnings.simplefilter("ignore", UserWarning)
            net = retinaface(network_name=backbone, device=device)
        # The released files were saved from a DataParallel wrapper.
        net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except Exception as error:
        raise UnsupportedCheckpoint(
            f"{weights} can't be loaded as RetinaFace with {backbone} ({first_line(error)}). "
            f"Fetch it again from {RETINAFACE_ADDRESS}{weights.name}."
        ) from error
    return net.eval().requires_grad_(False).to(device)


def _detections(boxes: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> list[FaceDetection]:
    return [
        FaceDetection(box.astype(np.float32), points.astype(np.float32), float(score))
        for box, points, score in zip(boxes, landmarks, scores, strict=True)
    ]
