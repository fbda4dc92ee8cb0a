"""A video goes in, the same video degraded comes out, with a record of what was drawn."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vividface_core.degrade.mixture import Mixture
from vividface_core.degrade.preset import Preset
from vividface_core.degrade.presets import load_preset
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.io.atomic import write_json
from vividface_core.io.file_names import beside, scratch_prefix
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.colorspace import convert
from vividface_core.video.frame import Frame
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.mux import check_output, mux
from vividface_core.video.opening import open_media
from vividface_core.video.pixel_formats import layout
from vividface_core.video.presets import part_suffix
from vividface_core.video.rehearsal import rehearse
from vividface_core.video.source import VideoFrames
from vividface_core.video.writer import VideoWriter

CODECS_OUT = ("h264", "ffv1", "png")
"""How a result may be kept, the default first."""
TAG = "vividface_degradation"
"""Name of the record in a file's comment."""
FORMAT = 1


@dataclass
class DegradeResult:
    """What was done.

    Attributes:
        sidecar: the JSON file with ``record``.
        record: what was drawn, from where, with which seed.
        notices: everything that a user may not expect, one sentence each.
    """

    output: Path
    sidecar: Path
    frames: int
    drawn: SampledDegradation
    record: dict[str, Any]
    notices: list[str] = field(default_factory=list)


def seed_for(seed: int, name: str) -> int:
    """The seed of one of many files, by its name: other files beside it change nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def sidecar_of(output: str | Path) -> Path:
    """Where the record of an output lies: beside it, as ``face.mp4.degradation.json``."""
    output = Path(output)
    return beside(output, after=".degradation.json")


def targets_of(output: Path) -> list[Target]:
    """All that degrading into ``output`` writes."""
    return [Target(output, "the output"), Target(sidecar_of(output), "the record")]


def record_of(preset: Preset | Mixture, drawn: SampledDegradation, **others: Any) -> dict[str, Any]:
    """What was drawn, from where, with which seed: enough to do it again."""
    return {"format": FORMAT, **drawn.as_dict(), "ranges": preset.ranges(), **others}


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record of a degraded file: the one in it, else the one beside it; ``None`` if there is none."""
    path = Path(path)
    texts = []
    if path.is_file():
        try:
            with open_media(path) as container:
                texts = [text for key, text in container.metadata.items() if key.lower() == "comment"]
        except (UnreadableVideo, av.FFmpegError, OSError, ValueError):
            texts = []  # no video, so it tells nothing
    if sidecar_of(path).is_file():
        texts.append(sidecar_of(path).read_text(encoding="utf-8"))
    for text in texts:
        try:
            return dict(json.loads(text)[TAG])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def degrade_video(
    source: str | Path | VideoFrames,
    output: str | Path,
    preset: str | Preset | Mixture = "vividface",
    *,
    seed: int = 0,
    values: Mapping[str, Any] | None = None,
    codec_out: str = "h264",
    deinterlace: str = "auto",
    callbacks: Callbacks | None = None,
) -> DegradeResult:
    """Degrade a video, a folder of pictures or one picture. Streaming; times, audio, subtitles and rotation stay.

    The record lies in the sidecar (:func:`sidecar_of`) and, in containers, in the comment.

    Args:
        output: file, or folder for ``png``. Appears only when it is complete.
        values: other values than the preset's, see :meth:`~vividface_core.degrade.presets.Preset.with_values`.
        codec_out: ``h264`` (crf 16 in the source's own pixel format: adds next to nothing), ``ffv1`` or ``png``, both
            RGB as it came out of the degradation, rounded to 8 bits (16 for deeper sources).
        deinterlace: of a path, see :class:`~vividface_core.video.reader.VideoReader`.

    Raises:
        InvalidOption: unknown preset or value, a negative seed, an output that doesn't fit.
        UnreadableVideo, UnwritableVideo: as reader and writer.
    """
    output, callbacks = Path(output), callbacks or Callbacks()
    chosen = load_preset(preset, values)
    drawn = chosen.sample(seed)
    source = source if isinstance(source, VideoFrames) else VideoFrames(source, deinterlace=deinterlace)
    check_request(source, output, codec_out)
    result = DegradeResult(output, sidecar_of(output), 0, drawn, {}, drawn.notices)
    for line in result.notices:
        callbacks.notice(line)
    canvas = _Canvas(source.info, codec_out)
    for frame in source.read(0, 1):
        rehearse(canvas.put(canvas.keep(frame), frame.rgb()), canvas.info, output, codec_out, source=source.info)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=scratch_prefix(output)) as folder:
        part = Path(folder) / f"part{part_suffix(codec_out)}"
        with VideoWriter(part, canvas.info, codec_out) as writer:
            for frame in _degraded(source, drawn, canvas, callbacks):
                writer.write(frame)
                result.frames += 1
        result.record = record_of(chosen, drawn, frames=result.frames, source=source.path.name, codec_out=codec_out)
        sidecar = Path(folder) / "record.json"
        write_json(sidecar, {TAG: result.record}, indent=1)
        tags = {"comment": json.dumps({TAG: result.record}, ensure_ascii=False)}
        told = mux([part], source.info, output, codec_out, tags=tags).notices
        sidecar.replace(result.sidecar)
    for line in [*source.warnings, *told]:
        result.notices.append(line)
        callbacks.notice(line)
    return result


def check_request(source: VideoFrames, output: Path, codec_out: str) -> None:
    """Find out before the work whether the output could be written, and over nothing that is read.

    Raises:
        InvalidOption, UnwritableVideo: it couldn't.
    """
    if codec_out not in CODECS_OUT:
        raise InvalidOption(
            f"There is no output {codec_out!r} of a degradation; choose one of {', '.join(CODECS_OUT)}."
        )
    check_paths(targets_of(output), [Source(source.path, "the input")])
    check_output(output, codec_out, source.file)


class _Canvas:
    """The frames that results are put into: the source's own kind for H.264, RGB where nothing may be lost."""

    def __init__(self, source: VideoInfo, codec_out: str) -> None:
        self.info = self._source = source
        shape = layout(source.pix_fmt)
        if codec_out != "h264" and shape.family != "rgb":
            color = ColorInfo("gbr", "pc", source.color.primaries, source.color.transfer, True, True)
            name = ("gbrap" if shape.alpha else "gbrp") + ("" if shape.depth == 8 else "16le")
            self.info = replace(source, pix_fmt=name, bit_depth=layout(name).depth, color=color)

    def keep(self, frame: Frame) -> _Waiting:
        """What of a source's frame outlives its degradation: its time, and its transparency."""
        native = frame.native if self._source.has_alpha else None
        return _Waiting(frame.index, frame.pts, frame.duration, native)

    def put(self, waiting: _Waiting, rgb: Any) -> Frame:
        """The frame with its degraded colours ``[3, H, W]``."""
        info, native = self.info, waiting.native
        if native is None:
            native = av.VideoFrame(info.width, info.height, info.pix_fmt)
            native.time_base = Fraction(info.time_base)
        else:
            native = convert(native, self._source.color, info.pix_fmt, info.color)
        empty = Frame(waiting.index, waiting.pts, waiting.duration, native, info.color, info.rotation, info.mirrored)
        return empty.with_rgb(rgb, None)


@dataclass(frozen=True)
class _Waiting:
    index: int
    pts: int
    duration: int
    native: av.VideoFrame | None


def _degraded(source: VideoFrames, drawn: SampledDegradation, canvas: _Canvas, callbacks: Callbacks) -> Iterator[Frame]:
    """The degraded frames. Half of the progress is told as they go in, half as they come out: a codec lies between."""
    waiting: deque[_Waiting] = deque()
    fed = made = 0

    def tell() -> None:
        callbacks.progress("degrade", (fed + made) / 2, source.count)

    def pictures() -> Iterator[Any]:
        nonlocal fed
        for frame in source.read():
            waiting.append(canvas.keep(frame))
            yield frame.rgb()
            fed += 1
            tell()

    for rgb in drawn.stream(pictures()):
        frame = canvas.put(waiting.popleft(), rgb)
        yield frame
        made += 1
        callbacks.frame(frame)
        tell()
    if waiting:
        raise UnreadableVideo(f"{source.name}: {len(waiting)} of {fed} frames were lost in the degradation's codec.")
