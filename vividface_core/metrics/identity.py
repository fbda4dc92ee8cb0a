"""Is it still the same person? Embeddings of output and truth compared, and of one frame and another.

IDS follows the script of BFVR-STC's authors. VividFace's FaceCons has no public definition, so ours stands beside
EvalCrafter's, which they name. VIDD is that of the FOS benchmark (Chen et al.: "Towards Real-world Video Face
Restoration: A New Benchmark", 2024) with a network whose weights are public.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import MissingDependency, first_line
from vividface_core.faces import arcface
from vividface_core.faces.embed import DIMENSIONS, FaceEmbedder, align, load_embedder
from vividface_core.io.tensors import read_tensors
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, Metric, MetricContext, Side
from vividface_core.metrics.weights import WeightFile
from vividface_core.runtime.wording import counted

ARCFACE = WeightFile(
    arcface.FILE,
    arcface.ADDRESS,
    "MIT; trained on MS1M, which is for research only",
    "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    175367323,
)
CLIP = WeightFile(
    "clip-vit-base-patch32/pytorch_model.bin",
    "https://huggingface.co/openai/clip-vit-base-patch32/resolve/main/pytorch_model.bin",
    "MIT",
    "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    605247071,
)
CLIP_SIDE = 224


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines ``[n]`` of unit vectors ``[n, d]``; float64, −1…1, NaN where either is."""
    return (a.double() * b.double()).sum(1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances ``[n]`` of unit vectors ``[n, d]``, √(2 − 2 cos); float64, 0…2, NaN where either is."""
    return (a.double() - b.double()).norm(dim=1)


class Vectors(Protocol):
    """Unit vectors of a chunk's frames."""

    def of(self, chunk: Chunk, side: Side) -> Tensor:
        """``[n, d]`` float32 on the processor, NaN where a frame has none."""

    def borrowed(self, chunk: Chunk) -> int:
        """In how many frames the output's face was cut out where the truth's is."""


@dataclass
class AlignedFaces:
    """The measured face of one side of a chunk.

    Attributes:
        frames: those that have one, as indices.
        faces: ``[len(frames), 3, 112, 112]``, RGB 0…1.
        borrowed: how many of them took the truth's landmarks.
    """

    frames: list[int]
    faces: Tensor
    borrowed: int


def aligned_faces(chunk: Chunk, side: Side) -> AlignedFaces:
    """Faces of a chunk, each aligned by its own five landmarks.

    One that is found in the truth but not in the output is cut out by the truth's: a face that a method has lost would
    otherwise be left out of its mean.
    """
    return chunk.once(f"aligned faces of {side}", lambda: _align(chunk, side))


def _align(chunk: Chunk, side: Side) -> AlignedFaces:
    points, borrowed = chunk.landmarks(side), 0
    if side == "output" and chunk.reference is not None:
        reference = chunk.landmarks("reference")
        lost = np.isnan(points).any((1, 2)) & ~np.isnan(reference).any((1, 2))
        points, borrowed = np.where(lost[:, None, None], reference, points), int(lost.sum())
    found = np.flatnonzero(~np.isnan(points).any((1, 2))).tolist()
    pictures = chunk.frames(side)
    faces = [align(pictures[k], points[k : k + 1]) for k in found]
    return AlignedFaces(found, torch.cat(faces) if faces else pictures.new_zeros(0), borrowed)


class FaceVectors:
    """The measured face as a network sees it, once a chunk however many metrics ask.

    Args:
        name: of the network.
        network: takes aligned faces.
    """

    def __init__(self, name: str, network: arcface.ArcFace | FaceEmbedder) -> None:
        self._name, self._network = name, network

    def of(self, chunk: Chunk, side: Side) -> Tensor:
        return chunk.once(f"{self._name} vectors of {side}", lambda: self._make(chunk, side))

    def borrowed(self, chunk: Chunk) -> int:
        return aligned_faces(chunk, "output").borrowed

    def _make(self, chunk: Chunk, side: Side) -> Tensor:
        aligned = aligned_faces(chunk, side)
        vectors = torch.full((len(chunk), DIMENSIONS), math.nan)
        if aligned.frames:
            vectors[aligned.frames] = self._network.vectors(aligned.faces).cpu()
        return vectors


class ClipVectors:
    """CLIP's image features of whole frames, fed as EvalCrafter's script feeds them: values of 0…255 as they are,
    without CLIP's own mean and deviation, squeezed to a square, bilinear without antialiasing."""

    def __init__(self, net: nn.Module) -> None:
        self._net = net

    def of(self, chunk: Chunk, side: Side) -> Tensor:
        size = (CLIP_SIDE, CLIP_SIDE)
        pictures = F.interpolate(chunk.frames(side) * 255, size, mode="bilinear", align_corners=False, antialias=False)
        return F.normalize(self._net(pictures).image_embeds.float(), dim=1).cpu()

    def borrowed(self, chunk: Chunk) -> int:
        return 0


class Partner(Protocol):
    """What a frame's vector is compared with.

    Attributes:
        lacking: why a clip with faces may have no figure.
    """

    lacking: str

    def partners(self, chunk: Chunk, vectors: Vectors) -> Tensor:
        """``[n, d]``, NaN where there is none; chunks come in order."""


class WithReference:
    """Each frame goes with the truth's."""

    lacking = "no face was found in the reference"

    def partners(self, chunk: Chunk, vectors: Vectors) -> Tensor:
        return vectors.of(chunk, "reference")


class WithPrevious:
    """Each frame goes with the one before it."""

    lacking = "no two frames in a row have a face"
    _last: Tensor | None = None

    def partners(self, chunk: Chunk, vectors: Vectors) -> Tensor:
        own = vectors.of(chunk, "output")
        before = torch.full_like(own[:1], math.nan) if self._last is None else self._last
        self._last = own[-1:]
        return torch.cat([before, own[:-1]])


class WithFirst:
    """Each frame goes with the first that has a vector; that one itself with none."""

    lacking = "no second frame has a face"
    _first: Tensor | None = None

    def partners(self, chunk: Chunk, vectors: Vectors) -> Tensor:
        own = vectors.of(chunk, "output")
        partners, begin = torch.full_like(own, math.nan), 0
        if self._first is None:
            known = (~own[:, 0].isnan()).nonzero().flatten().tolist()
            if not known:
                return partners
            begin, self._first = known[0] + 1, own[known[0]]
        partners[begin:] = self._first
        return partners


class VectorMeter:
    """Compares vectors frame by frame; the clip's figure is the mean of the frames that have one."""

    def __init__(self, vectors: Vectors, partner: Partner, compare: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._vectors, self._partner, self._compare = vectors, partner, compare
        self._values: list[float] = []
        self._frames = self._without = self._borrowed = 0

    def update(self, chunk: Chunk) -> list[float]:
        own = self._vectors.of(chunk, "output")
        values = self._compare(own, self._partner.partners(chunk, self._vectors)).tolist()
        self._frames += len(values)
        self._without += int(own[:, 0].isnan().sum())
        self._borrowed += self._vectors.borrowed(chunk)
        self._values += [value for value in values if not math.isnan(value)]
        return values

    def compute(self) -> ClipResult:
        if not self._values:
            return ClipResult(math.nan, (self._reason(),))
        notes = []
        if self._without:
            notes.append(f"no face was found in {counted(self._without, 'frame')}")
        if self._borrowed:
            lost = counted(self._borrowed, "frame")
            notes.append(f"the output's face was not found in {lost} and cut out where the truth's is")
        return ClipResult(math.fsum(self._values) / len(self._values), tuple(notes))

    def _reason(self) -> str:
        if self._without == self._frames:
            return "no face was found in any frame"
        return "a single frame has none to be compared with" if self._frames == 1 else self._partner.lacking


def load_clip(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """CLIP ViT-B/32's image half with the weights of ``path``, as transformers publishes the whole; frozen.

    Raises:
        MissingWeights: the file isn't there.
        MissingDependency: transformers is absent or broken.
        UnsupportedCheckpoint: the file lacks that network's weights.
    """
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except Exception as error:  # a broken library beside it raises anything
        raise MissingDependency(
            f"CLIP needs transformers ({first_line(error)}); run `pip install transformers`."
        ) from error
    net = CLIPVisionModelWithProjection(CLIPVisionConfig())
    tensors = read_tensors(path, net.state_dict().keys())
    arcface.fill(net, tensors, f"{path} doesn't hold the image half of CLIP ViT-B/32", CLIP.address)
    return net.eval().requires_grad_(False).to(device)


def _arcface(context: MetricContext) -> Vectors:
    return FaceVectors(
        "ArcFace", context.once("arcface", lambda: arcface.load_arcface(context.path(ARCFACE), context.device))
    )


def _mobile(context: MetricContext) -> Vectors:
    return FaceVectors("MobileFaceNet", context.once("mobilefacenet", lambda: load_embedder(context.device)))


def _clip(context: MetricContext) -> Vectors:
    return ClipVectors(context.once("clip-vit-base-patch32", lambda: load_clip(context.path(CLIP), context.device)))


def _make(
    vectors: Callable[[MetricContext], Vectors],
    partner: Callable[[], Partner],
    compare: Callable[[Tensor, Tensor], Tensor] = cosine,
) -> Callable[[MetricContext, ClipFacts], VectorMeter]:
    def make(context: MetricContext, clip: ClipFacts) -> VectorMeter:
        return VectorMeter(vectors(context), partner(), compare)

    return make


_IR_SE50 = (
    f"ArcFace's IR-SE50 ({ARCFACE.name}, the same bytes as model_ir_se50.pth of BFVR-STC's script), fed red first as "
    "there, −1…1, without a mirrored copy"
)
_MOBILE = "the MobileFaceNet that comes with the package, not the papers' network"
_ALIGNED = (
    "the largest face, followed through the clip, aligned to 112×112 by its own five landmarks (averaged where it is "
    "larger)"
)
_BLUR = "A clip that is blurred throughout is consistent too: read it beside the identity with the truth"
_BORROWED = "where it is found in the truth but not in the output, it is cut out where the truth's is"
_FOLLOWED = f"with a reference it is the reference's face that is followed, and {_BORROWED}"
_PAIRED = f"Cosine of the unit embeddings of output and truth: {_ALIGNED}; {_BORROWED}"
_MEAN = "mean over frames, then over clips"

ENTRIES = (
    Metric(
        "ids",
        "IDS",
        True,
        "needed",
        f"{_PAIRED}. {_IR_SE50}; {_MEAN}. That script resizes frames to 512×512 first, samples faces without averaging "
        "and counts only a clip's 24th frame.",
        _make(_arcface, WithReference),
        (ARCFACE,),
    ),
    Metric(
        "ids-mobile",
        "Identity (MobileFaceNet)",
        True,
        "needed",
        f"{_PAIRED}. Network: {_MOBILE}, so the figure is no IDS; {_MEAN}.",
        _make(_mobile, WithReference),
    ),
    Metric(
        "facecons",
        "FaceCons (ours)",
        True,
        "used",
        "Ours; VividFace's definition is not public. Cosine of the unit embeddings of a frame and the one before it: "
        f"{_ALIGNED}; {_FOLLOWED}. {_IR_SE50}; mean over neighbours that both have a face, then over clips. "
        f"{_BLUR}.",
        _make(_arcface, WithPrevious),
        (ARCFACE,),
    ),
    Metric(
        "facecons-first",
        "FaceCons to the first (ours)",
        True,
        "used",
        "Ours: as facecons, but each frame with the first one that has a face.",
        _make(_arcface, WithFirst),
        (ARCFACE,),
        default=False,
    ),
    Metric(
        "facecons-mobile",
        "Consistency (MobileFaceNet)",
        True,
        "used",
        f"Ours: as facecons, but with {_MOBILE}.",
        _make(_mobile, WithPrevious),
    ),
    Metric(
        "facecons-clip",
        "FaceCons (EvalCrafter)",
        True,
        "none",
        "EvalCrafter's face consistency, as its script computes it: cosine of the CLIP ViT-B/32 image features of each "
        "frame and of the clip's first; no face is looked for; frames squeezed to 224×224, bilinear without "
        f"antialiasing, 0…255 without CLIP's normalisation; {_MEAN}.",
        _make(_clip, WithFirst),
        (CLIP,),
        default=False,
    ),
    Metric(
        "vidd",
        "VIDD (IR-SE50)",
        False,
        "used",
        "Euclidean distance of the unit embeddings of a frame and the one before it, as in the FOS benchmark's script; "
        "alignment and network are ours, as the script's own (a grey ResNet-18 on whole crops, embeddings not of unit "
        f"length) has no public weights: {_ALIGNED}; {_FOLLOWED}. {_IR_SE50}; mean over neighbours that both have a "
        f"face, then over clips. {_BLUR}.",
        _make(_arcface, WithPrevious, distance),
        (ARCFACE,),
    ),
    Metric(
        "vidd-mobile",
        "VIDD (MobileFaceNet)",
        False,
        "used",
        f"As vidd, but with {_MOBILE}.",
        _make(_mobile, WithPrevious, distance),
    ),
)
