"""FasterVQA: how good a video looks to people, without a reference, from a few small pieces of it.

Wu et al.: "Neighbourhood Representative Sampling for Efficient End-to-end Video Quality Assessment" (2022). A network
sees 32 frames of 7×7 fragments of 32 px, cut out at full resolution, so that neither blur nor noise is lost to
resizing. Sampling follows the authors' test code to the letter, also where it surprises. Only what it leaves to chance
is settled here: it is drawn as that code draws it with NumPy and PyTorch seeded with :data:`SEED`, anew for each clip,
so that a clip always has the same figure, and all versions of a clip are looked at in the same places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, Metric, MetricContext
from vividface_core.metrics.networks.fragment_swin import FRAMES, GRID, SIDE, FragmentSwin, load_fragment_swin
from vividface_core.metrics.weights import WeightFile

SEGMENTS, STEP = 8, 2
"""Parts of a clip that are looked at, and frames from one that is taken to the next."""
FRAGMENT, ALIGNED = 32, 8
"""Pixels a side of a fragment, and frames that are cut at the same places."""
SEED = 42
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of values 0…255."""
CENTRE, SPREAD = 0.14759505, 0.03613452
"""Of raw scores; they bring the figure to 0…1."""

WEIGHTS = WeightFile(
    "FAST_VQA_3D_1_1.pth",
    "https://github.com/VQAssessment/FAST-VQA-and-FasterVQA/releases/download/v2.0.0/FAST_VQA_3D_1_1.pth",
    "MIT",
    "8c3108647653fd48e31f3bebbe03a344d624c806d3f1af9478a4e9f5aa3038ab",
    127_343_543,
)


def segment_frames(count: int) -> np.ndarray:
    """Indices of the 32 frames of a clip of ``count``: four of each eighth, every second one, from a random place on.

    Where an eighth has fewer than eight frames, they reach into the next one, and past the end to the beginning.
    """
    length, taken = count // SEGMENTS, FRAMES // SEGMENTS
    room = length - taken * STEP
    rng = np.random.RandomState(SEED)
    offsets = rng.randint(0, room, SEGMENTS, dtype=np.int64) if room > 0 else 0
    starts = np.arange(SEGMENTS) * length + offsets
    return (starts[:, None] + np.arange(taken) * STEP).ravel() % count


def middle_frames(count: int) -> np.ndarray:
    """Indices of the 32 frames in a clip's middle; of a shorter clip, all and then again from the first one on."""
    return (max(0, count - FRAMES + 1) // 2 + np.arange(FRAMES)) % count


def fragment_corners(height: int, width: int) -> Tensor:
    """Upper left corners of the fragments, ``[4, 7, 7, 2]`` (groups of eight frames, rows, columns; y and x), pixels.

    The frame is a grid of 7×7 cells, and each fragment lies at a random place within its cell; in cells under 32 px,
    at its corner. Both sides must have 32 px or more.
    """
    rng = torch.Generator().manual_seed(SEED)
    axes = []
    for side in (height, width):
        cell = side // GRID
        starts = (torch.arange(GRID) * cell).clamp(max=side - FRAGMENT)
        drawn = (GRID, GRID, FRAMES // ALIGNED)
        room = cell - FRAGMENT
        offsets = torch.randint(room, drawn, generator=rng) if room > 0 else torch.zeros(drawn, dtype=torch.int64)
        axes.append((starts, offsets.permute(2, 0, 1)))
    (y, down), (x, right) = axes
    return torch.stack([y[:, None] + down, x + right], -1)


def cut_fragments(frame: Tensor, corners: Tensor) -> Tensor:
    """The mosaic ``[3, 224, 224]`` of a frame ``[3, H, W]``, values 0…255; ``corners`` ``[7, 7, 2]`` for H×W.

    A frame with a side under 224 px is enlarged first, bilinearly, and cut to whole values. The corners stay those of
    its own size, as in the authors' code: what lies beyond that in the enlarged frame isn't looked at.
    """
    ratio = min(frame.shape[-2] / SIDE, frame.shape[-1] / SIDE)
    if ratio < 1:
        # Each colour by itself: together, PyTorch rounds them otherwise, and what is cut may be one value less.
        frame = (F.interpolate(frame[:, None] / 255, scale_factor=1 / ratio, mode="bilinear")[:, 0] * 255).floor()
    at = corners.to(frame.device)[..., None] + torch.arange(FRAGMENT, device=frame.device)
    pieces = frame[:, at[:, :, 0, :, None], at[:, :, 1, None, :]]
    return rearrange(pieces, "c i j y x -> c (i y) (j x)")


class FragmentSampler:
    """Collects what the network sees of a clip whose frames pass once, in order; it keeps nothing else of them.

    Args:
        frames: indices of the frames that it sees, ``[32]``, each of them below the clip's length.
    """

    def __init__(self, height: int, width: int, frames: np.ndarray, device: torch.device | str = "cpu") -> None:
        self._corners = fragment_corners(height, width)
        self._places: dict[int, list[int]] = {}
        for place, index in enumerate(frames.tolist()):
            self._places.setdefault(index, []).append(place)
        self._video = torch.zeros(3, FRAMES, SIDE, SIDE, device=device)

    def add(self, first: int, frames: Tensor) -> None:
        """``frames`` ``[n, 3, H, W]`` RGB 0…1 follow one another from index ``first`` on."""
        for index, frame in enumerate(frames, first):
            places = self._places.pop(index, ())
            values = (frame * 255).round() if places else frame
            for place in places:
                self._video[:, place] = cut_fragments(values, self._corners[place // ALIGNED])

    @property
    def video(self) -> Tensor:
        """``[3, 32, 224, 224]``, values 0…255."""
        if self._places:
            raise ValueError(f"the clip ended before frame {min(self._places)}")
        return self._video


class FasterVqaMeter:
    """Measures one clip."""

    def __init__(self, net: FragmentSwin, sampler: FragmentSampler, notes: tuple[str, ...] = ()) -> None:
        self._net, self._sampler, self._notes = net, sampler, notes

    def update(self, chunk: Chunk) -> tuple[()]:
        self._sampler.add(chunk.first, chunk.output)
        return ()

    @torch.inference_mode()
    def compute(self) -> ClipResult:
        video = self._sampler.video
        mean, std = (torch.tensor(x, device=video.device).view(3, 1, 1, 1) for x in (MEAN, STD))
        raw = self._net(((video - mean) / std)[None]).double()
        return ClipResult(float(torch.sigmoid((raw - CENTRE) / SPREAD)), self._notes)


class TooSmall:
    """Stands for the meter of a clip that no fragment fits into."""

    def update(self, chunk: Chunk) -> tuple[()]:
        return ()

    def compute(self) -> ClipResult:
        return ClipResult(math.nan, (f"frames have a side of less than {FRAGMENT} px, a fragment's",))


def faster_vqa(
    context: MetricContext, clip: ClipFacts, choose: Callable[[int], np.ndarray] = segment_frames
) -> FasterVqaMeter | TooSmall:
    """A meter for ``clip``; ``choose`` gives the frames to be looked at.

    Raises:
        MissingWeights: the authors' checkpoint isn't there.
        UnsupportedCheckpoint: it is damaged or another one.
    """
    net = context.once("fastervqa", lambda: load_fragment_swin(context.path(WEIGHTS)).to(context.device))
    if min(clip.height, clip.width) < FRAGMENT:
        return TooSmall()
    frames = choose(clip.frames)
    different = len(np.unique(frames))
    short = (f"only {different} different frames were looked at, not {FRAMES}: the clip is short",)
    sampler = FragmentSampler(clip.height, clip.width, frames, context.device)
    return FasterVqaMeter(net, sampler, short if different < FRAMES else ())


_REST = (
    f"of each 7×7 fragments of 32 px at random places of a grid's cells, the same for 8 frames; seed {SEED} for each "
    "clip. RGB, 8 bits, ImageNet's normalisation; the authors' network and weights (FAST_VQA_3D_1_1); "
    f"1/(1 + exp(−(x − {CENTRE})/{SPREAD})) of the mean x over all places, mean over clips. Frames with a side under "
    "224 px are enlarged, and then, as in the authors' code, looked at only up to their own size."
)

ENTRIES = (
    Metric(
        "fastervqa",
        "FasterVQA",
        True,
        "none",
        "32 frames, 4 of each eighth of the clip, every second one from a random place on (as the authors' benchmark, "
        f"f3dvqa-b.yml, samples); {_REST}",
        faster_vqa,
        (WEIGHTS,),
    ),
    Metric(
        "fastervqa-middle",
        "FasterVQA (middle)",
        True,
        "none",
        "32 consecutive frames in the clip's middle (what the authors' script for single videos, vqa.py, takes, and so "
        f"perhaps the tables of papers); {_REST}",
        partial(faster_vqa, choose=middle_frames),
        (WEIGHTS,),
        default=False,
    ),
)
