"""The steps of a restoration, for frames of a file or in memory.

Three forward passes, each in constant memory: shot detection, face tracking, restoration shot by shot. The results of
the first two are small and may be stored by the caller (``cached``), so that a resumed run doesn't repeat them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from weakref import WeakKeyDictionary

import torch

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.faces.detect import FaceDetector, load_detector
from vividface_core.faces.embed import FaceEmbedder, load_embedder
from vividface_core.faces.identity_guard import IdentityGuard, TrackIdentity, warnings
from vividface_core.faces.occluders import OccluderFinder, SteadyCover, load_occluder_finder
from vividface_core.faces.parse import load_parser
from vividface_core.faces.select import check_spec
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import choose_faces, find_faces, find_shots, one_shot
from vividface_core.pipeline.canvas import Canvas
from vividface_core.pipeline.deflicker import Flicker, SteadyFrame, task_notice
from vividface_core.pipeline.options import Given, Plan, Resources, RestoreOptions, check_shape
from vividface_core.pipeline.planning import best_window, choose_window, reduce_memory, whole_window
from vividface_core.pipeline.progress import FRAME, Unchanged, WorkMeter, sample_length, window_seconds
from vividface_core.pipeline.regions import FaceRegion, Region, RegionStream, WholeFrame, composed
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.oom_fallback import OomFallbackRestorer
from vividface_core.restorers.windows import plan_windows, usual_overlap
from vividface_core.runtime.allocator import trim_memory
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.prefetch import prefetch
from vividface_core.video.flicker import FlickerSums
from vividface_core.video.frame import Frame
from vividface_core.video.shots import Shot
from vividface_core.video.source import FrameSource

TRIM_EVERY = 64
"""Frames between two returns of freed memory to the system."""
WORTH_TIMING = 100
"""Crops from which a run's time is measured beforehand: that takes at least eleven."""
BESIDE = 5
"""Crops by which the time beside the model is told."""
CachedStep = Callable[[str, Callable[[], Any]], Any]
"""``cached(name, make)`` returns what ``make()`` returned, now or in an earlier run; JSON values only."""


_timings: WeakKeyDictionary[Any, dict[tuple, tuple[float, float]]] = WeakKeyDictionary()
"""Seconds of one frame and of a longer clip by shape, length, device and type, of each :attr:`Restorer.timed_as`: no
model is timed twice."""


class Restoration:
    """Collaborators of one restoration, and its steps in order: :meth:`plan`, then :meth:`frames` shot by shot.

    Args:
        source: the degraded frames.
        restorer: on its device; clips go there and come back.
        given: what is known of the faces beforehand.
        resources: what works beside the restorer.
        canvas: what restored faces are put into; ``None``: the source's own frames.
        cached: see :data:`CachedStep`.
    """

    def __init__(
        self,
        source: FrameSource,
        restorer: Restorer,
        options: RestoreOptions,
        callbacks: Callbacks,
        *,
        given: Given | None = None,
        resources: Resources | None = None,
        canvas: Canvas | None = None,
        cached: CachedStep = lambda name, make: make(),
    ) -> None:
        self.source, self.options, self.callbacks, self.canvas = source, options, callbacks, canvas
        self.restorer = restorer
        if not restorer.parallel:
            self.restorer = OomFallbackRestorer(restorer, self.notice, shorter=not options.as_released)
        self._timed_for = restorer
        given, self._resources = given or Given(), resources or Resources()
        self.parser = self._resources.parser or load_parser("auto", device=restorer.device)
        self._given, self._mask, self._limit = given.tracks, given.mask, self._resources.memory_limit
        self._cached = cached
        self._embedder: FaceEmbedder | None = None
        self._occluder_finder: OccluderFinder | None = None
        self._own_detector: FaceDetector | None = None
        self._meter: WorkMeter | None = None
        self.notices: list[str] = []
        self.identity: dict[int, list[TrackIdentity]] = {}
        self.flicker: dict[int, tuple[FlickerSums, FlickerSums]] = {}

    @property
    def mask_source(self) -> str:
        """Where the blending masks come from, for a report."""
        return "none (whole frame)" if self.options.whole_frame else self.parser.name

    @property
    def takes_given_tracks(self) -> bool:
        """Whether faces aren't looked for, as they are known beforehand."""
        return self._given is not None

    def notice(self, text: str) -> None:
        """Report a notice to the user and keep it for the result."""
        self.notices.append(text)
        self.callbacks.notice(text)

    def finish(self) -> list[TrackIdentity]:
        """After the last shot: the similarity of each restored face to its input. Reports those below the threshold."""
        figures = [figure for shot in sorted(self.identity) for figure in self.identity[shot]]
        options = self.options
        for line in warnings(figures, options.identity_threshold, options.identity_guard == "blend"):
            self.notice(line)
        return figures

    def flicker_figures(self) -> Flicker | None:
        """After the last shot: the flicker before and after, over all shots; ``None``: it wasn't to be taken away."""
        if not self.flicker:
            return None
        before, after = zip(*self.flicker.values())
        return Flicker.of(sum(before, FlickerSums()), sum(after, FlickerSums()))

    def plan(self, *, timed: bool = True) -> Plan:
        """Detect shots, track faces, choose the window length, and report the plan.

        Args:
            timed: measure how long it will take, if it is long.

        Raises:
            UnreadableVideo: no frame decodes.
            OutOfMemory: not even one frame fits.
            InvalidOption: window and overlap don't go together, or a reference picture is missing.
        """
        if self.options.deflicker and (told := task_notice(self.restorer, self.options.deflicker)):
            self.notice(told)
        shots = self._shots()
        tracks = self._tracks(shots)
        plan = self._windows(shots, tracks)
        plan.seconds = self._expected_seconds(plan) if timed else None
        self._meter = WorkMeter(plan, self._tell_work)
        self.callbacks.plan(plan)
        return plan

    def frames(self, number: int, plan: Plan) -> Iterator[Frame]:
        """Every frame of shot ``number``, with its faces restored, in order; then ``identity[number]`` is known, and
        where flicker is taken away ``flicker[number]``."""
        shot = plan.shots[number]
        meter = self._meter or WorkMeter(plan, self._tell_work)
        meter.begin(number)
        streams = [self._stream(track, plan, shot, meter) for track in plan.tracks[number]]
        frames = self.source.read(shot.start, shot.end)
        try:
            with closing(prefetch(self._pairs(frames, shot), _pair_bytes, max_items=plan.window)) as source:
                for frame in composed(source, streams, self._mask):
                    self.callbacks.frame(frame)
                    yield frame
                    if frame.index % TRIM_EVERY == 0:
                        trim_memory()
                    meter.frame(sum(stream.covers(frame.index) for stream in streams))
        finally:
            self.restorer.drop()
        figures = (stream.guard.figures(number) for stream in streams if stream.guard is not None)
        for region in (stream.region for stream in streams):
            if isinstance(region, SteadyFrame):
                self.flicker[number] = (region.before.sums, region.after.sums)
        self.identity[number] = [figure for figure in figures if figure is not None]

    def _pairs(self, frames: Iterator[Frame], shot: Shot) -> Iterator[tuple[Frame, Frame]]:
        """Frames to look at, each with the one that its faces are put into."""
        if self.canvas is None:
            return ((frame, frame) for frame in frames)
        return self.canvas.under(frames, shot.start, shot.end)

    def _tell_work(self, done: float, total: float) -> None:
        self.callbacks.progress("restore", done, total)

    def _shots(self) -> list[Shot]:
        find = one_shot if self.options.as_released else find_shots

        def look() -> list[tuple[int, int]]:
            found = [(shot.start, shot.end) for shot in find(self.source, self.callbacks.progress)]
            if not found:
                raise UnreadableVideo(f"{self.source.name} holds no frame that can be decoded; nothing was written.")
            return found

        return [Shot(start, end) for start, end in self._cached("shots", look)]

    def _tracks(self, shots: list[Shot]) -> list[list[FaceTrack]]:
        """What is restored of each shot."""
        options = self.options
        if options.strongest == 0:
            return [[] for _ in shots]
        if options.whole_frame:
            return [[FaceTrack.whole_frame(shot.start, shot.end)] for shot in shots]
        if self._given is not None:
            parts = [[track.between(shot.start, shot.end) for track in self._given] for shot in shots]
            return [[track for track in tracks if track is not None and self._shows(track)] for tracks in parts]
        found = [self._found(number, shot, shots[-1].end) for number, shot in enumerate(shots)]
        chosen, _ = choose_faces(
            found,
            options.faces,
            options.min_face,
            self._detector() if options.faces.startswith("ref:") else None,
            same_person=options.same_person,
            named=options.named_people,
        )
        return [[track for track in tracks if self._shows(track)] for tracks in chosen]

    def _shows(self, track: FaceTrack) -> bool:
        return self.options.strength_of(track.person) > 0

    def _found(self, number: int, shot: Shot, total: int) -> list[FaceTrack]:
        """All faces of a shot."""

        def look() -> list[dict[str, Any]]:
            report = self.callbacks.progress
            found = find_faces(self.source, shot, self._detector(), report, total=total, notice=self.notice)
            return [track.to_json() for track in found]

        return [FaceTrack.from_json(track) for track in self._cached(f"faces-{number:05d}", look)]

    def _detector(self) -> FaceDetector:
        if self._own_detector is None:
            given = self._resources.detector
            self._own_detector = given or load_detector(self.options.detector, device=self.restorer.device)
        return self._own_detector

    def _windows(self, shots: list[Shot], tracks: list[list[FaceTrack]]) -> Plan:
        """Choose the window once and store it, so that a resumed run cuts the same windows."""
        options, restorer = self.options, self.restorer
        height, width = shape = self._shape()
        longest = max((track.last - track.first for shot in tracks for track in shot), default=1)
        restorer.restore_defaults()
        choose = whole_window if options.as_released else choose_window
        wanted = restorer.valid_lengths.at_least(longest) if options.as_released else best_window(restorer, longest)
        wanted = options.window or wanted
        if way := reduce_memory(restorer, wanted, shape, self._limit):
            self.notice(f"To fit the memory, {way}: the same pictures, a little slower.")
        window = options.window or self._cached("window", lambda: choose(restorer, shape, longest, self._limit))
        if options.window and window > restorer.native_frames:
            self.notice(
                f"A window of {window} frames is longer than the {restorer.native_frames} that this model was trained "
                "on; its pictures may suffer."
            )
        overlap = usual_overlap(window) if options.overlap is None else options.overlap
        plan_windows(window + 1, window, overlap)  # refuses an impossible pair before the work starts
        memory = restorer.memory_for(window, height, width)
        info = self.source.info if self.canvas is None else self.canvas.info
        return Plan(info, shots, tracks, shape, window, overlap, memory, whole_frame=options.whole_frame)

    def _shape(self) -> tuple[int, int]:
        """Height and width of what the model sees."""
        if self.options.keep_size:
            width, height = self.source.size
            return height, width
        side = self.options.size or self.restorer.native_size
        return side, side

    def _expected_seconds(self, plan: Plan) -> float | None:
        """Time short clips on this device, and what is done beside the model; ``None`` where that would be much
        beside the work itself. Times of the model are measured once a shape."""
        if not plan.window_count:
            return 0.0
        if plan.window_count == 1 or plan.crop_frames < WORTH_TIMING or not self._resources.timing:
            return None
        length = min(plan.window, self.restorer.valid_lengths.at_least(sample_length(plan)))
        single, sample = self._model_times(plan, length)
        windows = [len(window) for frames in plan.lengths() for window in plan.windows(frames)]
        model = sum(window_seconds(frames, length, sample, single) for frames in windows)
        model /= max(1, self._timed_for.parallel)
        beside, one = self._beside_the_model(plan), model / sum(windows)
        plan.beside = min(10.0, beside / max(one, 1e-9))
        frames = plan.shots[-1].end - plan.shots[0].start
        return model + beside * sum(plan.lengths()) + FRAME * one * frames

    def _model_times(self, plan: Plan, length: int) -> tuple[float, float]:
        """Seconds of one frame and of ``length`` frames in the model."""
        known = _timings.setdefault(self._timed_for.timed_as, {})
        at = (*plan.shape, length, self.restorer.device, self.restorer.dtype)
        if at not in known:
            self._timed(plan, min(length, 5))  # the first clip pays for what is set up once
            known[at] = self._timed(plan, 1), self._timed(plan, length)
        return known[at]

    def _timed(self, plan: Plan, frames: int) -> float:
        clip = torch.full((frames, 3, *plan.shape), 0.5, device=self.restorer.device)
        began = time.monotonic()
        restored = self.restorer.restore(clip, progress=lambda share: self.callbacks.progress("timing", share, 1.0))
        restored[-1, 0, 0, 0].item()  # a device may still be at work
        return time.monotonic() - began

    def _beside_the_model(self, plan: Plan) -> float:
        """Seconds of cutting out, parsing, comparing and putting back a crop, by a few of them, unrestored."""
        shot = next(number for number, tracks in enumerate(plan.tracks) if tracks)
        track = plan.tracks[shot][0]
        part = track.between(track.first, track.first + BESIDE)
        assert part is not None  # it begins where the track does
        part_shot = Shot(part.first, part.last)
        frames = list(self.source.read(part.first, part.last))
        seconds = 0.0
        for _ in range(2):  # the first time loads what is loaded once
            stream = RegionStream(
                self._region(part, plan, part_shot),
                plan_windows(len(frames), len(frames), 0),
                Unchanged(self.restorer.device),
                None,
                self._guard(part, plan.shape[0]),
                self._cover(part),
            )
            began = time.monotonic()
            for _ in composed(((frame, frame) for frame in frames), [stream], self._mask):
                self.callbacks.progress("timing", 1.0, 1.0)
            seconds = time.monotonic() - began
        return seconds / len(frames)

    def _stream(self, track: FaceTrack, plan: Plan, shot: Shot, meter: WorkMeter) -> RegionStream:
        windows = plan.windows(track.last - track.first)
        return RegionStream(
            self._region(track, plan, shot),
            windows,
            self.restorer,
            meter.window,
            self._guard(track, plan.shape[0]),
            self._cover(track),
            exact=self.options.as_released,
        )

    def _region(self, track: FaceTrack, plan: Plan, shot: Shot) -> Region:
        options = self.options
        if options.deflicker:
            return SteadyFrame(
                shot.start, shot.end, plan.shape, options.strength, options.deflicker, options.keep_detail
            )
        if options.whole_frame:
            return WholeFrame(shot.start, shot.end, plan.shape, options.strength)
        color = self.restorer.color_default if options.color == "auto" else options.color
        scale = None if self.canvas is None else self.canvas.scale
        return FaceRegion(track, plan.shape[0], self.parser, color, options.strength_of(track.person), scale)

    def _guard(self, track: FaceTrack, size: int) -> IdentityGuard | None:
        options = self.options
        if options.identity_guard == "off" or options.whole_frame:
            return None
        if self._embedder is None:
            self._embedder = load_embedder(self.restorer.device)
        return IdentityGuard(
            self._embedder,
            track,
            size,
            threshold=options.identity_threshold,
            blends=options.identity_guard == "blend",
            strength=options.strength_of(track.person),
        )

    def _cover(self, track: FaceTrack) -> SteadyCover | None:
        if self.options.occluders == "restore" or self.options.whole_frame:
            return None
        if self._occluder_finder is None:
            self._occluder_finder = load_occluder_finder(self.restorer.device)
        return SteadyCover(self._occluder_finder, track.last - track.first, track.turn)


def _pair_bytes(pair: tuple[Frame, Frame]) -> int:
    frame, canvas = pair
    return frame.nbytes() + (0 if canvas is frame else canvas.nbytes())


def check_request(options: RestoreOptions, given: Given, restorer: Restorer) -> None:
    """Refuse what can't go together, before any work.

    Raises:
        InvalidOption: tracks, and no face crop wanted; a window or a size that the restorer doesn't take; one window
            for all frames, and a restorer that takes several at once.
    """
    check_spec(options.faces)
    if options.as_released and restorer.parallel:
        raise InvalidOption(
            "as_released restores all frames in one window, which several devices share only together (--together)."
        )
    if given.tracks is not None and options.whole_frame:
        raise InvalidOption("Whole frames are wanted and face tracks are given; leave out one of the two.")
    check_shape(options, [(restorer.valid_lengths, restorer.size_multiple)])
