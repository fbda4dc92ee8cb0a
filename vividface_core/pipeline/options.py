"""Options, plan and result of a restoration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import DETECTORS, FaceDetector
from vividface_core.faces.identity_guard import MODES, THRESHOLD, TrackIdentity
from vividface_core.faces.masks import BlendMask
from vividface_core.faces.occluders import MODES as OCCLUDERS
from vividface_core.faces.parse import FaceParser
from vividface_core.faces.people import SAME_OVER_CUTS
from vividface_core.faces.select import people_of
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.upscaler import Upscaler
from vividface_core.restorers.lengths import ClipLengths
from vividface_core.restorers.windows import Window, plan_windows
from vividface_core.video.info import VideoInfo
from vividface_core.video.shots import Shot

if TYPE_CHECKING:
    from vividface_core.pipeline.deflicker import Flicker

COLORS = ("auto", "wavelet", "lab", "adain", "none")
FLICKERS = ("brightness", "pixel")
"""Kinds of flicker."""
SMALLEST = 32
"""Side in pixels of the smallest crop that a model may be given."""


@dataclass(frozen=True)
class RestoreOptions:
    """The options that decide the result of a restoration.

    Attributes:
        preset: how to encode: ``h264``, ``h265``, ``prores``, ``ffv1`` or ``png``.
        whole_frame: no face crop; each frame is resized to the native square and back, the papers' protocol.
        faces: ``all``, ``largest``, ``person:1,2``, ``index:0,2`` or ``ref:PICTURE``.
        min_face: faces with a shorter box side (pixels) are left alone.
        strength: 0 keeps the source, 1 is the full restoration.
        color: colour match of a patch: ``auto`` (what the model's system takes for faces, ``none`` for whole frames),
            ``wavelet``, ``lab``, ``adain``, ``none``.
        window: frames restored together, a native length of the model; ``None``: the model's own, or less if memory
            is short.
        overlap: frames that neighbouring windows share; ``None``: about a quarter of a window, at most 8.
        detector: ``auto``, ``mtcnn`` or ``retinaface``.
        size: side of the crop handed to the model; ``None``: the model's native size.
        identity_guard: ``warn``: say so where a restored face looks like somebody else; ``blend``: also blend it back
            towards the input as far as needed; ``off``. Whole frames have no landmarks and aren't looked at.
        identity_threshold: least cosine similarity of a restored face to its input, 0…1.
        keep_size: whole frames are restored at their own size; otherwise they pass through the model's square.
        deinterlace: ``auto``: interlaced frames whose fields show different moments are made into whole ones before
            faces are looked for; ``off``: never. Where no face is restored, fields stay as they are.
        deflicker: ``brightness`` or ``pixel``: whole frames lose that kind of flicker
            (:mod:`vividface_core.pipeline.deflicker`); "": nothing of that kind.
        keep_detail: of a de-flickered frame only brightness or colour is changed, with the detail of the source;
            otherwise the model's picture is shown.
        scale: by how much the frames of a file are enlarged, 1…4, so that small faces keep the size that they are
            restored at; the rest by Lanczos' filter.
        person_strengths: pairs of a person's number (:mod:`vividface_core.faces.people`) and the strength for them,
            in place of ``strength``.
        same_person: least mean likeness, a cosine 0…1, of tracks that are one person's over the cuts of a film.
        as_released: whole frames as VividFace's released script restores them: no cut is looked for, all frames are
            one window however long, and they reach the model in fp32.
        model_size: whole frames of a file are written as the model makes them, in its square, and not brought back to
            the size of the source.
        occluders: ``keep``: what stands before a face (a hand, a microphone, hair, glasses) stays as it is;
            ``restore``: it is restored like the face. Whole frames are restored as wholes.
    """

    preset: str = "h264"
    whole_frame: bool = False
    faces: str = "all"
    min_face: float = 24.0
    strength: float = 1.0
    color: str = "auto"
    window: int | None = None
    overlap: int | None = None
    detector: str = "auto"
    size: int | None = None
    identity_guard: str = "warn"
    identity_threshold: float = THRESHOLD
    keep_size: bool = False
    deinterlace: str = "auto"
    deflicker: str = ""
    keep_detail: bool = True
    scale: float = 1.0
    person_strengths: tuple[tuple[int, float], ...] = ()
    same_person: float = SAME_OVER_CUTS
    as_released: bool = False
    model_size: bool = False
    occluders: str = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise InvalidOption(f"strength is {self.strength}; it goes from 0 (source) to 1 (fully restored).")
        check_person_strengths(self.person_strengths)
        if self.person_strengths and self.whole_frame:
            raise InvalidOption(
                "Whole frames know no people, so nobody can have another strength; leave out one of the two."
            )
        if not 0 <= self.same_person <= 1:
            raise InvalidOption(f"same_person is {self.same_person}; it is a cosine from 0 to 1.")
        if not self.min_face >= 0:
            raise InvalidOption(f"min_face is {self.min_face}; it is a length in pixels, 0 or more.")
        if self.overlap is not None and self.overlap < 0:
            raise InvalidOption(f"overlap is {self.overlap}; it is a number of frames, 0 or more.")
        if self.detector not in DETECTORS:
            raise InvalidOption(f"There is no face detector {self.detector!r}. Choose one of: {', '.join(DETECTORS)}.")
        if self.color not in COLORS:
            raise InvalidOption(f"color is {self.color!r}; choose one of {', '.join(COLORS)}.")
        if self.deinterlace not in ("auto", "off"):
            raise InvalidOption(f"deinterlace is {self.deinterlace!r}; choose one of auto, off.")
        if self.window is not None and self.window < 1:
            raise InvalidOption(f"window is {self.window}; it must be at least 1 frame.")
        if self.size is not None and self.size < SMALLEST:
            raise InvalidOption(f"size is {self.size}; it must be at least {SMALLEST}.")
        if self.identity_guard not in MODES:
            raise InvalidOption(f"identity_guard is {self.identity_guard!r}; choose one of {', '.join(MODES)}.")
        if not 0 <= self.identity_threshold <= 1:
            raise InvalidOption(f"identity_threshold is {self.identity_threshold}; it is a cosine from 0 to 1.")
        if self.occluders not in OCCLUDERS:
            raise InvalidOption(f"occluders is {self.occluders!r}; choose one of {', '.join(OCCLUDERS)}.")
        if self.keep_size and not self.whole_frame:
            raise InvalidOption("keep_size is for whole frames; a face crop has the size that the model knows.")
        if self.keep_size and self.size is not None:
            raise InvalidOption("keep_size restores frames at their own size; leave out one of size and keep_size.")
        if self.deflicker not in ("", *FLICKERS):
            raise InvalidOption(f"deflicker is {self.deflicker!r}; choose one of {', '.join(FLICKERS)}.")
        self._check_whole_clip()
        if self.deflicker and not self.whole_frame:
            raise InvalidOption("Flicker is taken from whole frames; set whole_frame as well.")
        if self.whole_frame and self.identity_guard == "blend":
            raise InvalidOption(
                "The identity guard can't blend whole frames back, because no face is looked for in them; leave out "
                "one of whole_frame and identity_guard 'blend'."
            )

    def strength_of(self, person: int) -> float:
        """The strength for a person of the film."""
        return dict(self.person_strengths).get(person, self.strength)

    @property
    def strongest(self) -> float:
        """The largest strength that anybody may have; 0: nothing is restored."""
        return max([self.strength, *(strength for _, strength in self.person_strengths)])

    @property
    def named_people(self) -> set[int]:
        """Numbers of people that are chosen or have a strength of their own."""
        return people_of(self.faces) | {number for number, _ in self.person_strengths}

    def _check_whole_clip(self) -> None:
        """What goes with :attr:`as_released` and :attr:`model_size`."""
        for name in ("as_released", "model_size"):
            if getattr(self, name) and not self.whole_frame:
                raise InvalidOption(f"{name} is for whole frames; set whole_frame as well.")
        if self.as_released and (self.window is not None or self.overlap is not None):
            raise InvalidOption("as_released restores all frames in one window; leave out window and overlap.")
        if self.as_released and self.deflicker:
            raise InvalidOption("as_released restores, and takes no flicker alone; leave out one of the two.")
        if self.model_size and self.keep_size:
            raise InvalidOption("keep_size and model_size both name the size of the output; leave out one of them.")


def check_person_strengths(pairs: Sequence[tuple[int, float]]) -> None:
    """
    Raises:
        InvalidOption: numbers of people that can't be, or are told twice, or strengths out of their range.
    """
    for number, strength in pairs:
        if number < 1:
            raise InvalidOption(f"There is no person {number}; people are numbered from 1.")
        if not 0 <= strength <= 1:
            raise InvalidOption(
                f"The strength of person {number} is {strength:g}; it goes from 0 (source) to 1 (fully restored)."
            )
    numbers = [number for number, _ in pairs]
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        raise InvalidOption(f"Person {min(twice)} has two strengths; give one.")


def parse_strengths(text: str) -> tuple[float, tuple[tuple[int, float], ...]]:
    """A strength for all and those of some people, out of ``0.8``, ``1=1.0,2=0.5`` or ``0.8,2=0.5``.

    Returns:
        The strength for all (1 if none is told), and pairs of a person's number and strength.

    Raises:
        InvalidOption: it isn't of this form; ranges are :class:`RestoreOptions`' matter.
    """
    alone: list[float] = []
    pairs: list[tuple[int, float]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        number, told, value = part.rpartition("=")
        try:
            pairs += [(int(number), float(value))] if told else []
            alone += [] if told else [float(value)]
        except ValueError:
            alone = [0.0, 0.0]
    if len(alone) > 1 or not alone + pairs:
        raise InvalidOption(
            f"strength is {text!r}; write one number (0.8), numbers of people with theirs (1=1.0,2=0.5), or both "
            "(0.8,2=0.5)."
        )
    return (alone or [1.0])[0], tuple(pairs)


def check_shape(options: RestoreOptions, native: Iterable[tuple[ClipLengths, int]]) -> None:
    """Check window and size against what models take.

    Args:
        native: clip lengths and multiple of the sides, of each model that may be meant.

    Raises:
        InvalidOption: no model takes the window, or the size.
    """
    lengths, multiples = ({value: None for value in values} for values in zip(*native))
    if options.window is not None and not any(options.window in each for each in lengths):
        raise InvalidOption(f"window is {options.window}; it must be {', or '.join(map(str, lengths))}.")
    if options.size is not None and all(options.size % each for each in multiples):
        raise InvalidOption(
            f"size is {options.size}; it must be a multiple of {' or '.join(map(str, multiples))}, at least {SMALLEST}."
        )


@dataclass(frozen=True)
class Given:
    """What is known of the faces beforehand.

    Attributes:
        tracks: the faces to restore; ``None``: they are looked for, and chosen as the options say. A track that
            crosses a cut is cut there. Strengths of people go by the tracks' ``person``.
        mask: limits where the restoration shows; ``None``: wherever the parser sees a face.
    """

    tracks: Sequence[FaceTrack] | None = None
    mask: BlendMask | None = None


@dataclass(frozen=True)
class Resources:
    """What works beside the restorer.

    Attributes:
        detector: ``None``: the one that the options name.
        parser: ``None``: the best whose weights are here.
        memory_limit: bytes that the model may use on its device; ``None``: what is free now.
        timing: long runs begin with a measurement of the model, to tell their time.
        upscale: enlarges frames of a file by ``scale`` of the options; ``None``: Lanczos' filter does.
    """

    detector: FaceDetector | None = None
    parser: FaceParser | None = None
    memory_limit: int | None = None
    timing: bool = True
    upscale: Upscaler | None = None


@dataclass(frozen=True)
class Resuming:
    """What becomes of a run that is interrupted.

    Attributes:
        resume: go on with what an interrupted run left.
        keep_unfinished: keep the finished shots of an interrupted run for a resume.
        model_id: what tells this checkpoint from another one; a resume refuses a different one. ``None``: the
            restorer's name.
    """

    resume: bool = False
    keep_unfinished: bool = True
    model_id: str | None = None


@dataclass
class Plan:
    """What a run is going to do, known before it starts.

    Attributes:
        info: ``None`` for frames that come from no file.
        shape: height and width of what the model sees.
        peak_memory: bytes on the model's device, estimated.
        seconds: expected for restoring, measured on a short part.
        whole_frame: the regions are whole frames, not faces.
        beside: cutting out, parsing and putting back a crop, over its time in the model; measured.
    """

    info: VideoInfo | None
    shots: list[Shot]
    tracks: list[list[FaceTrack]]
    shape: tuple[int, int]
    window: int
    overlap: int
    peak_memory: int
    seconds: float | None = None
    whole_frame: bool = False
    beside: float = 0.2

    def windows(self, length: int) -> list[Window]:
        return plan_windows(length, self.window, self.overlap)

    @property
    def window_count(self) -> int:
        """Windows of all regions of all shots."""
        return sum(len(self.windows(frames)) for frames in self.lengths())

    @property
    def crop_frames(self) -> int:
        """Crops that pass through the model, overlaps counted twice."""
        return sum(len(window) for frames in self.lengths() for window in self.windows(frames))

    def lengths(self) -> list[int]:
        """Frames of each region."""
        return [track.last - track.first for tracks in self.tracks for track in tracks]


@dataclass
class Result:
    """What a run did. ``output`` is ``None`` for frames that go to no file; ``identity`` tells of every face track how
    like its input it is, those of resumed shots included. Whole frames have no tracks. ``people`` are those of the
    film whose faces are restored, 0 where tracks were given. ``flicker`` is measured where it was to be taken away."""

    output: Path | None
    frames: int = 0
    shots: int = 0
    tracks: int = 0
    people: int = 0
    seconds: float = 0.0
    mask_source: str = ""
    resumed_shots: int = 0
    whole_frame: bool = False
    notices: list[str] = field(default_factory=list)
    identity: list[TrackIdentity] = field(default_factory=list)
    flicker: Flicker | None = None
