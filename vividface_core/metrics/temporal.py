"""How steady a clip is: flicker against the truth, and what optical flow says of neighbouring frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, Metric, MetricContext, Side
from vividface_core.metrics.networks import flow
from vividface_core.metrics.networks.flow import DisFlow, FlowEstimator, RaftFlow, load_raft
from vividface_core.runtime.wording import counted
from vividface_core.video.flicker import FlickerMeter

PUBLISHED_CONTRAST = 1 / 255
"""E*warp's script gives RAFT pictures of 0…1 where it takes 0…255. Its figures can only be met by doing likewise."""


def temporal_difference(output: Tensor, reference: Tensor) -> Tensor:
    """Mean |(x_t − x_{t−1}) − (y_t − y_{t−1})| in 1/255 of two ``[n, 3, H, W]`` clips, 0…1: ``[n − 1]``."""
    return (output.diff(dim=0) - reference.diff(dim=0)).abs().mean((1, 2, 3)) * 255


def warping_error(frames: Tensor, estimator: FlowEstimator, within: bool) -> Tensor:
    """Mean squared distance (summed over RGB) of each frame from the next one warped back onto it, ``[n − 1]``.

    At half size, over the pixels that are visible in both (:func:`~vividface_core.metrics.networks.flow.visible`); NaN:
    there is none.

    Args:
        frames: ``[n, 3, H, W]``, 0…1.
        within: leave out pixels that move out of the frame, too.
    """
    small = F.interpolate(frames, scale_factor=0.5, mode="bilinear", align_corners=False)
    first, second = small[:-1], small[1:]
    forward, backward = estimator(first, second), estimator(second, first)
    seen = flow.visible(forward, backward)
    if within:
        seen = seen & flow.inside(forward)
    error = (flow.warp(second, forward) - first).square().sum(1, keepdim=True)
    return (error * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3))


def flow_score(frames: Tensor, estimator: FlowEstimator) -> Tensor:
    """Mean length of the flow from each frame to the next one, in pixels: ``[n − 1]``."""
    return estimator(frames[:-1], frames[1:]).norm(dim=1).mean((1, 2))


class PairMeter:
    """A metric of neighbouring frames. A frame's figure is that of it and the one before, so the first has none.

    Args:
        measure: figures of the pairs in ``[n, 3, H, W]`` frames of each side, ``[n − 1]``; NaN where a pair has none.
        sides: whose frames it takes.
    """

    def __init__(self, measure: Callable[..., Tensor], sides: Sequence[Side] = ("output",)) -> None:
        self._measure = measure
        self._last: dict[Side, list[Tensor]] = {side: [] for side in sides}
        self._values: list[float] = []

    def update(self, chunk: Chunk) -> list[float]:
        stacks = [torch.cat([*before, chunk.frames(side)]) for side, before in self._last.items()]
        self._last = {side: [stack[-1:].clone()] for side, stack in zip(self._last, stacks)}
        pairs = len(stacks[0]) - 1
        values = self._measure(*stacks).cpu().double().tolist() if pairs else []
        self._values += values
        return [math.nan] * (len(chunk) - pairs) + values

    def compute(self) -> ClipResult:
        if not self._values:
            return ClipResult(math.nan, ("it has a single frame",))
        known = [value for value in self._values if not math.isnan(value)]
        lost, pairs = len(self._values) - len(known), len(self._values)
        notes = (f"no pixel is seen in both frames of {lost} of {pairs} pairs",) if lost else ()
        return ClipResult(math.fsum(known) / len(known) if known else math.nan, notes)


class FlickerClip:
    """Variance of the second difference of the mean luma; a frame's figure is the size of the second
    difference that ends with it (of blocks: the root of their mean square), so the first two have none.

    Args:
        blocks: of blocks, not of the whole frame.
    """

    def __init__(self, blocks: bool) -> None:
        self._meter, self._blocks = FlickerMeter(), blocks
        self._frames = 0

    def update(self, chunk: Chunk) -> list[float]:
        found = self._meter.update(chunk.output)
        self._frames += len(chunk)
        values = found[:, 1:].square().mean(1).sqrt() if self._blocks else found[:, 0].abs()
        return [math.nan] * (len(chunk) - len(found)) + values.tolist()

    def compute(self) -> ClipResult:
        sums = self._meter.sums
        notes = () if sums.count else (f"it has {counted(self._frames, 'frame')}, and three are needed",)
        return ClipResult(sums.blocks if self._blocks else sums.frame, notes)


def _temporal(context: MetricContext, clip: ClipFacts) -> PairMeter:
    return PairMeter(temporal_difference, ("output", "reference"))


def _warping(context: MetricContext, clip: ClipFacts) -> PairMeter:
    estimator = _raft(context, clip, 2, PUBLISHED_CONTRAST)
    return PairMeter(lambda frames: warping_error(frames, estimator, within=False))


def _warping_dis(context: MetricContext, clip: ClipFacts) -> PairMeter:
    estimator = _large_enough(DisFlow(), clip, 2)
    return PairMeter(lambda frames: warping_error(frames, estimator, within=True))


def _score(context: MetricContext, clip: ClipFacts) -> PairMeter:
    estimator = _raft(context, clip, 1)
    return PairMeter(lambda frames: flow_score(frames, estimator))


def _score_dis(context: MetricContext, clip: ClipFacts) -> PairMeter:
    estimator = _large_enough(DisFlow(), clip, 1)
    return PairMeter(lambda frames: flow_score(frames, estimator))


def _raft(context: MetricContext, clip: ClipFacts, shrink: int, contrast: float = 1.0) -> FlowEstimator:
    network = context.once("raft", lambda: load_raft(context.path(flow.RAFT), context.device))
    return _large_enough(RaftFlow(network, contrast), clip, shrink)


def _large_enough(estimator: FlowEstimator, clip: ClipFacts, shrink: int) -> FlowEstimator:
    """The estimator, if it can take the clip's frames at 1/``shrink`` of their size.

    Raises:
        InvalidOption: they are too small.
    """
    least = estimator.least_side * shrink
    if min(clip.width, clip.height) < least:
        raise InvalidOption(f"it needs sides of {least} pixels or more, and {clip.name} is {clip.width}×{clip.height}")
    return estimator


ENTRIES = (
    Metric(
        "temporal",
        "Temporal",
        False,
        "needed",
        "Ours: mean absolute difference between the frame differences of output and reference, in 1/255; RGB, 8 bits; "
        "mean over pairs of neighbouring frames, then over clips.",
        _temporal,
        digits=3,
    ),
    Metric(
        "ewarp",
        "E*warp",
        False,
        "none",
        "EvalCrafter's warping error, as DOVE's script takes it: frames at half size (bilinear), RGB 0…1; each frame "
        "less the next one, warped back by RAFT's flow (C+T weights, 20 updates; as there, the network gets 0…1 "
        "where it was trained with 0…255), squared, summed over RGB, mean over pixels that are neither occluded nor "
        "at a motion edge (forward-backward check); mean over pairs of neighbouring frames, then over clips. "
        "It sees no truth: blur lowers it.",
        _warping,
        (flow.RAFT,),
        display_scale=1e3,
        digits=3,
    ),
    Metric(
        "flow-score",
        "Flow score",
        False,
        "none",
        "EvalCrafter's: mean length of RAFT's flow (C+T weights, 20 updates) from each frame to the next, in pixels at "
        "full size; mean over pairs of neighbouring frames, then over clips. It counts wanted motion as well: compare "
        "with the truth's own.",
        _score,
        (flow.RAFT,),
        digits=3,
    ),
    Metric(
        "ewarp-dis",
        "Ewarp (DIS)",
        False,
        "none",
        "Ours, not to be compared with E*warp: as that, with OpenCV's dense inverse search (medium preset, 8-bit luma) "
        "in RAFT's place, and without the pixels that move out of the frame.",
        _warping_dis,
        display_scale=1e3,
        digits=3,
    ),
    Metric(
        "flow-score-dis",
        "Flow score (DIS)",
        False,
        "none",
        "Ours, not to be compared with the flow score: as that, with OpenCV's dense inverse search (medium preset, "
        "8-bit luma) in RAFT's place.",
        _score_dis,
        digits=3,
    ),
    Metric(
        "flicker",
        "Flicker",
        False,
        "none",
        "Ours: variance over the clip of the second difference x[t-1] - 2x[t] + x[t+1] of the frames' mean luma "
        "(BT.709, of 8-bit RGB, 0-255); mean over clips. Cuts count as flicker.",
        lambda context, clip: FlickerClip(blocks=False),
        color="luma",
        digits=3,
        default=False,
    ),
    Metric(
        "flicker-blocks",
        "Flicker (blocks)",
        False,
        "none",
        "Ours: as flicker, of each of 8 by 8 blocks of the frame, and the mean of the 64 variances. Motion within a "
        "block counts too.",
        lambda context, clip: FlickerClip(blocks=True),
        color="luma",
        digits=3,
        default=False,
    ),
)
