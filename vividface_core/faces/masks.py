"""Masks of whole frames: where faces are, and where a restoration may show."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.faces.crop import crop_clip, crop_points, paste, turn_points
from vividface_core.faces.occluders import OccluderFinder, SteadyCover
from vividface_core.faces.parse import FaceParser
from vividface_core.faces.track import FaceTrack
from vividface_core.video.frame import Frame


class BlendMask:
    """A mask that limits where a restoration shows, one for all frames or one a frame.

    Args:
        masks: ``[T, H, W]`` or ``[1, H, W]``, 0…1, 1 = restored; brought to the frames' size where it differs.
        frames: how many frames there are, if known.

    Raises:
        InvalidOption: another shape, or too few masks.
    """

    def __init__(self, masks: Tensor, frames: int | None = None) -> None:
        if masks.ndim != 3 or not masks.numel():
            raise InvalidOption(f"A mask is [frames, height, width]; this is {list(masks.shape)}.")
        if frames is not None and len(masks) not in (1, frames):
            raise InvalidOption(f"There are {len(masks)} masks for {frames} frames; give one, or one a frame.")
        self._masks = masks

    def at(self, index: int, height: int, width: int) -> Tensor:
        """``[H, W]`` of frame ``index``.

        Raises:
            InvalidOption: the frames go on after the last mask.
        """
        if len(self._masks) > 1 and index >= len(self._masks):
            raise InvalidOption(f"There are {len(self._masks)} masks, but frame {index} comes; give one a frame.")
        mask = self._masks[min(index, len(self._masks) - 1)].float().clamp(0, 1)
        if tuple(mask.shape) != (height, width):
            mask = F.interpolate(
                mask[None, None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
            )[0, 0]
        return mask

    def fingerprint(self) -> str:
        """What tells it from another mask."""
        digest = hashlib.sha256(repr(tuple(self._masks.shape)).encode())
        for mask in self._masks:
            digest.update(mask.float().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()


def face_masks(
    frames: Iterator[Frame],
    tracks: Sequence[FaceTrack],
    parser: FaceParser,
    size: int = 512,
    finder: OccluderFinder | None = None,
) -> Iterator[Tensor]:
    """For each frame ``[H, W]``, 0…1: the parser's mask of every tracked face, the larger value where they meet.

    Args:
        size: side of the crops that the parser sees; smaller faces are not enlarged beyond it.
        finder: leaves out what stands before a face; masks then come some frames later than their frames go in.
    """
    covers = (
        {id(track): SteadyCover(finder, track.last - track.first, track.turn) for track in tracks} if finder else {}
    )
    waiting: deque[tuple[int, tuple[int, int], list[tuple[FaceTrack, Tensor]]]] = deque()
    for frame in frames:
        rgb = frame.rgb()
        here = [track for track in tracks if track.first <= frame.index < track.last]
        parts = []
        for track in here:
            at = frame.index - track.first
            cut = crop_clip(rgb, track.crops[at], size)
            points = crop_points(track.landmarks[at : at + 1], track.crops[at : at + 1], size)
            parts.append((track, parse_turned(parser, cut[None], points, track.turn)[0]))
            if covers:
                covers[id(track)].look(cut)
        waiting.append((frame.index, (rgb.shape[-2], rgb.shape[-1]), parts))
        while waiting and all(covers[id(t)].knows(waiting[0][0] - t.first) for t, _ in waiting[0][2] if covers):
            yield _whole_mask(*waiting.popleft(), covers)
    while waiting:  # frames that end before their tracks do
        yield _whole_mask(*waiting.popleft(), covers)


def _whole_mask(
    index: int, size: tuple[int, int], parts: list[tuple[FaceTrack, Tensor]], covers: dict[int, SteadyCover]
) -> Tensor:
    whole = torch.zeros(size)
    for track, mask in parts:
        at = index - track.first
        part, (top, left) = paste(mask, track.crops[at], *size)
        part = part[0].clamp(0, 1)
        if covers:
            part = part * (1 - paste(covers[id(track)].take(at), track.crops[at], *size)[0][0].clamp(0, 1))
        box = (slice(top, top + part.shape[-2]), slice(left, left + part.shape[-1]))
        whole[box] = torch.maximum(whole[box], part)
    return whole


def parse_turned(parser: FaceParser, clip: Tensor, landmarks: np.ndarray, turn: int) -> Tensor:
    """:meth:`FaceParser.parse` of square crops whose faces lie on their side or stand on their head.

    Args:
        turn: quarter turns counter-clockwise that bring the faces upright, as parsers know them.
    """
    if not turn:
        return parser.parse(clip, landmarks)
    upright = turn_points(landmarks, turn, clip.shape[-1])
    return torch.rot90(parser.parse(torch.rot90(clip, turn, (-2, -1)), upright), -turn, (-2, -1))


def latent_mask(mask: Tensor, spatial_ratio: int = 8, temporal_ratio: int = 4) -> Tensor:
    """Bring a pixel mask to the autoencoder's grid (VividFace, Eq. 4–5).

    In space the nearest pixel of every cell is taken (Eq. 4). In time the first frame stands alone, as in the causal
    autoencoder, and every later latent frame takes the maximum of the frames that it stands for (Eq. 5): a latent
    frame is face where any of its frames is.

    Args:
        mask: ``[B, 1, 1 + temporal_ratio·k, H, W]``, 1 = face; H and W multiples of ``spatial_ratio``.

    Returns:
        ``[B, 1, 1 + k, H / spatial_ratio, W / spatial_ratio]`` in the mask's type. It broadcasts over the latent's
        channels.

    Raises:
        ValueError: a size that the autoencoder could not take.
    """
    frames, height, width = mask.shape[2:]
    if (frames - 1) % temporal_ratio or height % spatial_ratio or width % spatial_ratio:
        raise ValueError(
            f"A mask of {frames} frames of {height}×{width} doesn't fit the latent grid: it takes 1 + "
            f"{temporal_ratio}·k frames and sides that are multiples of {spatial_ratio}."
        )
    cells = mask[..., ::spatial_ratio, ::spatial_ratio]
    groups = [cells[:, :, :1], *cells[:, :, 1:].split(temporal_ratio, 2)] if frames > 1 else [cells]
    return torch.cat([group.amax(2, keepdim=True) for group in groups], 2)
