"""The main job: a video goes in, the same video with its faces restored comes out.

Three forward passes, each in constant memory: where the shots are; which faces move through them; restore and write,
one shot at a time. Between passes only numbers are kept, on disk (:mod:`vividface_core.job`), so a run that was killed
goes on at its first unfinished shot.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vividface_core.analysis import choose_faces, find_faces, find_shots
from vividface_core.errors import InvalidOption, UnreadableVideo, VividFaceError
from vividface_core.faces.detect import load_detector
from vividface_core.faces.parse import FaceParser, load_parser
from vividface_core.faces.select import check_spec
from vividface_core.faces.track import FaceTrack
from vividface_core.job import Job
from vividface_core.memory import choose_window
from vividface_core.restorers.base import Restorer
from vividface_core.stream import FaceRegion, RegionStream, WholeFrame
from vividface_core.video.frame import Frame
from vividface_core.video.info import VideoInfo
from vividface_core.video.mux import assemble, check_output
from vividface_core.video.presets import part_suffix
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import Shot
from vividface_core.video.writer import VideoWriter
from vividface_core.windows import Window, plan_windows

COLORS = ("auto", "wavelet", "lab", "adain", "none")


@dataclass(frozen=True)
class RestoreOptions:
    """What the user may choose. Everything here decides the result; nothing else does.

    Attributes:
        preset: how to encode: ``h264``, ``h265``, ``prores``, ``ffv1`` or ``png``.
        whole_frame: no face crop; each frame is resized to the native square and back, the papers' protocol.
        faces: ``all``, ``largest``, ``index:0,2`` or ``ref:PICTURE``.
        min_face: faces with a shorter box side (pixels) are left alone.
        strength: 0 keeps the source, 1 is the full restoration.
        color: colour match of a patch: ``auto`` (``wavelet`` for faces, ``none`` for whole frames), ``wavelet``,
            ``lab``, ``adain``, ``none``.
        window: frames restored together (4k + 1); ``None``: the model's own, or less if memory is short.
        overlap: frames that neighbouring windows share; ``None``: about a quarter of a window, at most 8.
        detector: ``auto``, ``mtcnn`` or ``retinaface``.
        size: side of the crop handed to the model; ``None``: the model's native size.
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

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise InvalidOption(f"strength is {self.strength}; it goes from 0 (source) to 1 (fully restored).")
        if self.color not in COLORS:
            raise InvalidOption(f"color is {self.color!r}; choose one of {', '.join(COLORS)}.")
        if self.window is not None and (self.window < 1 or self.window % 4 != 1):
            raise InvalidOption(f"window is {self.window}; it must be 4k + 1 frames: 5, 9, 13 … 81.")
        if self.size is not None and (self.size < 32 or self.size % 16):
            raise InvalidOption(f"size is {self.size}; it must be a multiple of 16, at least 32.")


@dataclass
class Plan:
    """What a run will do, told before it starts."""

    info: VideoInfo
    shots: list[Shot]
    tracks: list[list[FaceTrack]]
    size: int
    window: int
    overlap: int
    peak_memory: int
    seconds: float | None = None

    def windows(self, length: int) -> list[Window]:
        return plan_windows(length, self.window, self.overlap)

    @property
    def window_count(self) -> int:
        """Windows of all regions of all shots."""
        return sum(len(self.windows(frames)) for frames in self._lengths())

    @property
    def crop_frames(self) -> int:
        """Crops that pass through the model, overlaps counted twice."""
        return sum(len(window) for frames in self._lengths() for window in self.windows(frames))

    def _lengths(self) -> list[int]:
        return [track.last - track.first for tracks in self.tracks for track in tracks]


@dataclass
class Result:
    """What a run did."""

    output: Path
    frames: int = 0
    shots: int = 0
    tracks: int = 0
    seconds: float = 0.0
    mask_source: str = ""
    resumed_shots: int = 0
    notices: list[str] = field(default_factory=list)


class Listener:
    """Receives a run's news; all methods may be overridden and may raise to stop the run."""

    def plan(self, plan: Plan) -> None:
        """Everything is known, nothing is restored yet."""

    def progress(self, stage: str, done: float, total: float | None) -> None:
        """``stage`` is ``shots``, ``faces`` or ``restore``; ``done`` of ``total`` frames."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


def restore_video(
    source: str | Path,
    output: str | Path,
    restorer: Restorer,
    options: RestoreOptions | None = None,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    model_id: str | None = None,
    parser: FaceParser | None = None,
    memory_limit: int | None = None,
) -> Result:
    """Restore the faces of ``source`` into ``output``.

    Frame count, timestamps, audio, subtitles, colour tags and every pixel outside the restored faces stay as they
    were (pixels: bit for bit in a lossless preset).

    Args:
        source: any video, a folder of images, or one image.
        output: file, or folder for the ``png`` preset. Appears only when it is complete.
        model_id: what tells this checkpoint from another one; a resume refuses a different one.
        memory_limit: bytes the model may use on its device; ``None``: what is free now.

    Raises:
        VividFaceError: see :mod:`vividface_core.errors`; the work folder is kept for a resume
            if it holds a finished shot.
    """
    options, listener = options or RestoreOptions(), listener or Listener()
    source, output = Path(source), Path(output)
    began = time.monotonic()
    info = probe(source)
    if source.resolve() == output.resolve():
        raise InvalidOption(f"The output {output} is the input itself; choose another name.")
    check_output(output, options.preset, info)
    check_spec(options.faces)
    request = {"source": _identity(source), "model": model_id or restorer.name, "options": asdict(options)}
    job = Job(output, request, resume=resume)
    run = _Run(source, output, restorer, options, listener, job, info, parser, memory_limit)
    try:
        result = run.go()
    except VividFaceError:
        if not job.has_parts():
            job.remove()
        raise
    job.remove()
    result.seconds = time.monotonic() - began
    return result


def _identity(source: Path) -> dict[str, object]:
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return {
        "path": str(source.resolve()),
        "bytes": sum(file.stat().st_size for file in files),
        "modified": max((file.stat().st_mtime_ns for file in files), default=0),
    }


class _Run:
    """One run's collaborators, so that its steps read as a list."""

    def __init__(self, source: Path, output: Path, restorer: Restorer, options: RestoreOptions, listener: Listener,
                 job: Job, info: VideoInfo, parser: FaceParser | None, memory_limit: int | None) -> None:
        self.source, self.output, self.restorer, self.options = source, output, restorer, options
        self.listener, self.job, self.info, self.memory_limit = listener, job, info, memory_limit
        self.parser = parser or load_parser("auto", device=restorer.device)
        self.result = Result(output)

    def go(self) -> Result:
        shots = self._shots()
        tracks = [self._tracks(number, shot, shots[-1].end) for number, shot in enumerate(shots)]
        plan = self._plan(shots, tracks)
        self.result.shots, self.result.frames = len(shots), shots[-1].end
        self.result.tracks = sum(map(len, tracks))
        self.result.mask_source = "none (whole frame)" if self.options.whole_frame else self.parser.name
        self.listener.plan(plan)
        if not plan.window_count and self._pass_on():
            return self.result
        parts = [self._part(number, shot, plan) for number, shot in enumerate(shots)]
        report = assemble(parts, self.info, self.output, self.options.preset)
        for line in report.notices:
            self._notice(line)
        return self.result

    def _pass_on(self) -> bool:
        """Nothing is to be restored: copy the file, where input and output are of one kind."""
        same = self.source.is_file() and self.source.suffix.lower() == self.output.suffix.lower()
        why = "The strength is 0" if self.options.strength == 0 else "No face was found to restore"
        self._notice(f"{why}, so {'the file is copied' if same else 'all pictures are passed on'} unchanged.")
        if same:
            copy = self.job.folder / "copy"
            shutil.copyfile(self.source, copy)
            copy.replace(self.output)
        return same

    def _notice(self, text: str) -> None:
        self.result.notices.append(text)
        self.listener.notice(text)

    def _shots(self) -> list[Shot]:
        stored = self.job.read_json("shots.json")
        if stored is None:
            stored = [(shot.start, shot.end) for shot in find_shots(self.source, self.listener.progress)]
            if not stored:
                raise UnreadableVideo(f"{self.source} holds no frame that can be decoded; nothing was written.")
            self.job.write_json("shots.json", stored)
        return [Shot(start, end) for start, end in stored]

    def _tracks(self, number: int, shot: Shot, total: int) -> list[FaceTrack]:
        options = self.options
        if options.strength == 0:
            return []
        if options.whole_frame:
            return [FaceTrack.whole_frame(shot.start, shot.end)]
        name = f"faces-{number:05d}.json"
        stored = self.job.read_json(name)
        if stored is None:
            detector = load_detector(options.detector, device=self.restorer.device)
            found = find_faces(self.source, shot, detector, self.listener.progress, total=total)
            chosen = choose_faces(found, options.faces, options.min_face, detector)
            stored = [track.to_json() for track in chosen]
            self.job.write_json(name, stored)
        return [FaceTrack.from_json(track) for track in stored]

    def _plan(self, shots: list[Shot], tracks: list[list[FaceTrack]]) -> Plan:
        """Choose the window once and store it, so that a resumed run cuts the same windows."""
        options, restorer = self.options, self.restorer
        size = options.size or restorer.native_size
        window = options.window or self.job.read_json("window.json")
        if window is None:
            longest = max((t.last - t.first for shot in tracks for t in shot), default=1)
            window = choose_window(restorer, size, longest, self.memory_limit)
            self.job.write_json("window.json", window)
        elif options.window and window > restorer.native_frames:
            self._notice(
                f"A window of {window} frames is longer than the {restorer.native_frames} that this model was trained "
                "on; its pictures may suffer."
            )
        overlap = min(8, window // 4) if options.overlap is None else options.overlap
        plan_windows(window + 1, window, overlap)  # refuses an impossible pair before the work starts
        memory = restorer.memory_for(window, size, size)
        plan = Plan(self.info, shots, tracks, size, window, overlap, memory)
        plan.seconds = self._expected_seconds(plan)
        return plan

    def _expected_seconds(self, plan: Plan) -> float | None:
        """Time one short clip on this device; cheaper than the window it stands for, and honest about the machine."""
        if not plan.window_count:
            return 0.0
        clip = torch.full((5, 3, plan.size, plan.size), 0.5, device=self.restorer.device)
        began = time.monotonic()
        self.restorer.restore(clip)
        return (time.monotonic() - began) / len(clip) * plan.crop_frames

    def _part(self, number: int, shot: Shot, plan: Plan) -> Path:
        part = self.job.part(number, part_suffix(self.options.preset))
        if part.exists():
            self.result.resumed_shots += 1
            return part
        streams = [self._stream(track, plan, shot) for track in plan.tracks[number]]
        total = plan.shots[-1].end
        with VideoReader(self.source, start_frame=shot.start, end_frame=shot.end) as reader:
            with VideoWriter(part, self.info, self.options.preset) as writer:
                for frame in composed(reader, streams):
                    writer.write(frame)
                    self.listener.progress("restore", frame.index + 1, total)
            for line in reader.warnings:
                self._notice(line)
        return part

    def _stream(self, track: FaceTrack, plan: Plan, shot: Shot) -> RegionStream:
        options, windows = self.options, plan.windows(track.last - track.first)

        def tick(share: float) -> None:
            self.listener.progress("window", share, 1.0)

        if options.whole_frame:
            region = WholeFrame(shot.start, shot.end, plan.size, options.strength)
        else:
            color = "wavelet" if options.color == "auto" else options.color
            region = FaceRegion(track, plan.size, self.parser, color, options.strength)
        return RegionStream(region, windows, self.restorer, tick)


def composed(frames: Iterable[Frame], streams: list[RegionStream]) -> Iterator[Frame]:
    """Yield every frame with all its regions restored, in order; frames wait until their windows are done."""
    waiting: deque[Frame] = deque()
    for frame in frames:
        waiting.append(frame)
        covering = [stream for stream in streams if stream.covers(frame.index)]
        if covering:
            rgb = frame.rgb()
            for stream in covering:
                stream.feed(frame.index, rgb)
        while waiting and all(stream.is_ready(waiting[0].index) for stream in streams):
            yield _compose(waiting.popleft(), streams)


def _compose(frame: Frame, streams: list[RegionStream]) -> Frame:
    covering = [stream for stream in streams if stream.covers(frame.index)]
    if not covering:
        return frame
    rgb: Tensor = frame.rgb()
    changed: Tensor | None = torch.zeros(rgb.shape[-2:], dtype=torch.bool)
    for stream in covering:
        rgb, touched = stream.apply(frame.index, rgb)
        changed = None if touched is None or changed is None else changed | touched
    return frame.with_rgb(rgb, changed)
