"""Join encoded parts into the output: no second encoding, and the source's other streams beside them."""

from __future__ import annotations

import errno
import heapq
import math
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.file_names import beside, is_too_long, missing_numbers
from vividface_core.video.colorspace import convert
from vividface_core.video.decoding import open_video
from vividface_core.video.display_matrix import described_stream, field_box
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.kept import lost_tags, not_kept
from vividface_core.video.matroska import reserve_aspect, set_aspect
from vividface_core.video.opening import media_name, open_output
from vividface_core.video.passthrough import CompanionFailed, StreamCopier, TimedPacket
from vividface_core.video.pixel_formats import canonical
from vividface_core.video.presets import Preset, container_for, keeps_fields, load_preset
from vividface_core.video.timeline import Timeline
from vividface_core.video.writer import flush_to_disk, set_color_tags, unwritable

_LARGEST_TIMESCALE = 2**31 - 1
_UNEVEN = 0.26
"""Frames by which a time may miss an even rate: containers round their times to milliseconds."""
_JPEG = (".jpg", ".jpeg")


@dataclass
class MuxReport:
    """What became of a joining.

    Attributes:
        output: the finished file or folder.
        frames: video frames in it.
        copied: audio and subtitle streams taken along unchanged.
        notices: everything that is not as it was in the source, one sentence each.
    """

    output: Path
    frames: int = 0
    copied: int = 0
    notices: list[str] = field(default_factory=list)


def check_output(output: str | Path, preset: str, info: VideoInfo | None = None) -> None:
    """Find out before the work whether the output could be written.

    Raises:
        InvalidOption: unknown preset, or a suffix that doesn't go with it.
        UnwritableVideo: folder missing or write-protected, or a folder of pictures that isn't empty.
    """
    output, rules = Path(output), load_preset(preset)
    if is_too_long(output):
        raise UnwritableVideo(f"The name {output.name} is too long for this file system. Choose a shorter one.")
    if not output.parent.is_dir():
        raise UnwritableVideo(f"The folder {output.parent} does not exist. Make it, or choose another output.")
    if not os.access(output.parent, os.W_OK):
        raise UnwritableVideo(f"The folder {output.parent} is write-protected. Choose another output.")
    if os.path.exists(output) and not (output.is_file() or output.is_dir()):
        raise UnwritableVideo(f"{output} is no ordinary file (a pipe or a device, say). Choose another name.")
    if rules.name != "png":
        container_for(output, rules)
        if output.is_dir():
            raise UnwritableVideo(f"{output} is a folder; give the name of a file, or use the preset png.")
    elif output.suffix.lower() in rules.suffixes[1:]:
        if info is not None and info.kind != "image":
            raise InvalidOption(
                f"{output.name} is one picture, but the input is a video; give a folder's name instead."
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UnwritableVideo(f"{output} exists already and is no empty folder. Choose another name.")


def mux(
    parts: Sequence[Path],
    source: VideoInfo | None,
    output: str | Path,
    preset: str,
    *,
    tags: Mapping[str, str] | None = None,
    rehearsal: float | None = None,
) -> MuxReport:
    """Join parts, in order, into one output with the source's audio, subtitles, chapters, tags and times.

    Times are exactly the source's in mp4 and mov; Matroska rounds them to 1 ms, AVI to its frame rate. The output
    appears under its name when it is complete; until then a hidden file lies beside it.

    Args:
        parts: written by :class:`~vividface_core.video.writer.VideoWriter` with this preset.
        source: where audio and the like come from; ``None``: video only.
        tags: of the file, in place of the source's of the same name; pictures have none.
        rehearsal: write so many seconds of the other streams, and take everything away again.

    Raises:
        InvalidOption, UnwritableVideo: see :func:`check_output`; also parts that don't fit together, and a full disk.
    """
    output, rules = Path(output), load_preset(preset)
    check_output(output, preset, source)
    timeline = Timeline.read([Path(part) for part in parts])
    report = MuxReport(output, len(timeline), notices=list(dict.fromkeys(timeline.records[0].notices)))
    scratch = beside(output, before=".", after=f".partial{output.suffix}")
    _clear(scratch)
    try:
        if rules.name == "png":
            _write_pictures(timeline, source, scratch, report)
        else:
            _write_video(timeline, source, scratch, rules, report, tags or {}, rehearsal)
        if rehearsal is not None:
            return report
        if output.is_dir():
            output.rmdir()
        os.replace(scratch, output)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unwritable(output, error, f"preset {rules.name}") from error
    finally:
        _clear(scratch)
    return report


def _clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _write_video(
    timeline: Timeline,
    source: VideoInfo | None,
    scratch: Path,
    rules: Preset,
    report: MuxReport,
    tags: Mapping[str, str],
    seconds: float | None = None,
) -> None:
    """Join, and once more without the streams beside the picture that turn out not to go into this output."""
    without: set[int] = set()
    convert: set[int] = set()
    while True:
        attempt = MuxReport(report.output, report.frames)
        try:
            _join(timeline, source, scratch, rules, attempt, tags, without, convert, seconds)
            break
        except CompanionFailed as failed:
            without |= failed.streams & convert  # converting didn't help either
            convert |= failed.streams
            _clear(scratch)
    if source is not None and (missing := missing_numbers(source.names)):
        report.notices.append(
            f"{missing} number{'s are' if missing > 1 else ' is'} missing among the pictures; in a video they follow "
            "each other."
        )
    report.copied = attempt.copied
    report.notices += attempt.notices
    flush_to_disk(scratch)


def _join(
    timeline: Timeline,
    source: VideoInfo | None,
    scratch: Path,
    rules: Preset,
    report: MuxReport,
    tags: Mapping[str, str],
    without: Collection[int],
    convert: Collection[int],
    seconds: float | None,
) -> None:
    """Write everything into one file.

    Args:
        without: numbers of the source's streams that are left out.
        convert: numbers of those that aren't copied, even if the container should take them.
        seconds: of the streams beside the picture; ``None``: all.

    Raises:
        CompanionFailed: some of the other streams are at fault, or may be.
    """
    holds = container_for(scratch, rules)
    options = {**holds.options}
    companions: StreamCopier | None = None
    with ExitStack() as stack:
        other, video_index = None, -1
        if source is not None and source.kind == "video":
            other, stream = open_video(source.path, playlist=source.playlist)
            stack.callback(other.close)
            video_index = stream.index
        if holds.format in ("mp4", "mov"):
            options |= _timescales(timeline, other)
            if other is not None and any("." in name for name in other.metadata):
                # Names as phones have them (com.apple.quicktime.make), which only this kind of list has room for.
                options["movflags"] = f"{options.get('movflags', '')}+use_metadata_tags"
        try:
            with open_output(scratch, holds.format, options) as target:
                video = _add_video(target, timeline, source, rules, scratch.suffix.lower())
                streams: list[Iterator] = [_timed(timeline, source, video, report)]
                if source is not None and other is not None:
                    companions = StreamCopier(
                        other,
                        video_index,
                        target,
                        holds,
                        source.origin,
                        chapters=source.span is None,
                        without=without,
                        convert=convert,
                    )
                    streams.append(_within(companions.packets(seconds), source))
                _set_tags(target, tags, report)
                _mux(target, streams, companions)
        except (av.FFmpegError, OSError, ValueError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC
            if full or companions is None or not companions.taken:
                raise
            # The header, the trailer, or the picture behind packets that waited for it: any of them may be at fault.
            raise CompanionFailed(companions.taken, str(error)) from error
    if source is not None and source.sample_aspect_ratio and holds.format == "matroska":
        set_aspect(scratch, source.width, source.height, source.sample_aspect_ratio)
    if companions is not None:
        report.copied = companions.copied
        report.notices += companions.notices
        if source is not None and source.origin and source.span is None:
            report.notices.append(
                f"The source's clock began at {float(source.origin):.3f} s; the output's begins at 0."
            )
    report.notices += not_kept(scratch, source, rules, holds.format)
    if companions is not None:
        report.notices += lost_tags(scratch, companions.tags, tags, holds.format)


def _mux(target: av.container.OutputContainer, streams: list[Iterator], companions: StreamCopier | None) -> None:
    for _, packet in heapq.merge(*streams, key=lambda timed: timed[0]):
        number = None if companions is None else companions.source_of(packet)
        try:
            target.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            if number is None or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            raise CompanionFailed([number], str(error)) from error


def _set_tags(target: av.container.OutputContainer, tags: Mapping[str, str], report: MuxReport) -> None:
    # Containers write the names of tags in capitals or not.
    for name in [name for name in target.metadata if name.lower() in tags]:
        del target.metadata[name]
        report.notices.append(f"The source's own {name.lower()} gave way to the output's.")
    target.metadata.update(tags)


def _within(packets: Iterator[TimedPacket], source: VideoInfo) -> Iterator[TimedPacket]:
    """Packets of the part that is taken, where only a part is."""
    length = source.span and float(source.span[1] - source.span[0])
    return packets if length is None else (timed for timed in packets if 0 <= timed[0] < length)


def _timescales(timeline: Timeline, other: av.container.InputContainer | None) -> dict[str, str]:
    """Units in which every frame time and every stream's start is a whole number."""
    video = timeline.time_base.denominator
    movie = math.lcm(video, *(s.time_base.denominator for s in other.streams if s.time_base)) if other else video
    return {
        "video_track_timescale": str(video),
        "movie_timescale": str(movie if movie <= _LARGEST_TIMESCALE else video),
    }


def _add_video(
    target: av.container.OutputContainer, timeline: Timeline, source: VideoInfo | None, rules: Preset, suffix: str
) -> av.VideoStream:
    with av.open(media_name(timeline.parts[0])) as part, tempfile.TemporaryDirectory() as folder:
        template = part.streams.video[0]
        context = template.codec_context
        boxes = source.hdr.boxes() if source is not None and source.hdr else b""
        if source is not None and source.fields and keeps_fields(rules, source):
            boxes += field_box(source.fields)
        if source is None or not (source.display_matrix or boxes):
            video = target.add_stream_from_template(template, opaque=True)
        else:
            with described_stream(template, source.display_matrix, boxes, Path(folder)) as described:
                video = target.add_stream_from_template(described, opaque=True)
        out = video.codec_context
        out.extradata, out.pix_fmt = context.extradata, context.pix_fmt
        out.profile = context.profile if context.profile else out.profile
        out.width, out.height = template.width, template.height
        out.codec_tag = rules.tags.get(suffix) or (context.codec_tag if rules.part == "mov" else out.codec_tag)
    set_color_tags(out, ColorInfo(**timeline.records[0].color))
    video.time_base = 1 / source.fps if source is not None and suffix == ".avi" else timeline.time_base
    if source is not None:
        out.framerate = source.fps
        if source.sample_aspect_ratio:
            out.sample_aspect_ratio = source.sample_aspect_ratio
            if suffix == ".mkv":
                reserve_aspect(video)
    return video


def _timed(
    timeline: Timeline, source: VideoInfo | None, video: av.VideoStream, report: MuxReport
) -> Iterator[TimedPacket]:
    shift = round(source.origin / timeline.time_base) if source else 0
    even = _Even(timeline, source, report) if source and video.time_base != timeline.time_base else None
    for packet in timeline.packets(_last_duration(timeline, source)):
        assert packet.pts is not None and packet.dts is not None  # the timeline gave them
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, video
        if even is not None:
            even.place(packet)
        yield float(packet.dts * packet.time_base), packet


class _Even:
    """Times for a container that has one frame rate: AVI. A frame's place is its time in frames, rounded."""

    def __init__(self, timeline: Timeline, source: VideoInfo, report: MuxReport) -> None:
        self._base = 1 / source.fps
        self._next: int | None = None
        steps = [(pts - timeline.sorted[0]) * timeline.time_base / self._base for pts in timeline.sorted]
        if any(abs(step - round(step)) > _UNEVEN for step in steps):
            report.notices.append(
                f"The source's frame rate varies; AVI has one rate, so times are rounded to {float(source.fps):.3f}."
            )

    def place(self, packet: av.Packet) -> None:
        assert packet.pts is not None  # the timeline gave it
        number = round(packet.pts * packet.time_base / self._base)
        number = number if self._next is None else max(number, self._next)
        self._next = number + 1
        packet.time_base = self._base
        packet.pts = packet.dts = number
        packet.duration = 1


def _last_duration(timeline: Timeline, source: VideoInfo | None) -> int:
    """What the source's length leaves for its last frame; where that is no sensible time, one usual step."""
    step = timeline.usual_step
    if len(timeline.sorted) > 1:
        step = timeline.sorted[-1] - timeline.sorted[-2]
    elif source is not None:
        step = max(1, round(1 / (source.fps * timeline.time_base)))
    if source is None or source.duration is None:
        return step
    left = round(source.duration / timeline.time_base) - (timeline.sorted[-1] - timeline.sorted[0])
    whole = source.frame_count == len(timeline)
    return left if left > 0 and (whole or left <= 2 * step) else step


def _write_pictures(timeline: Timeline, source: VideoInfo | None, scratch: Path, report: MuxReport) -> None:
    suffix = scratch.suffix.lower()
    if suffix in (".png", *_JPEG):
        if len(timeline) != 1:
            raise InvalidOption(
                f"{report.output.name} is one picture, but there are {len(timeline)} frames; name a folder."
            )
        data = bytes(next(timeline.packets(1)))
        if suffix in _JPEG and source is not None and source.has_alpha:
            report.notices.append("Transparency is left out: JPEG has none (png keeps it).")
        scratch.write_bytes(_as_jpeg(data) if suffix in _JPEG else data)
        flush_to_disk(scratch)
        return
    scratch.mkdir()
    names = source.names if source is not None else ()
    for number, packet in enumerate(timeline.packets(1)):
        name = names[number] if number < len(names) else f"{number:06d}"
        (scratch / f"{name}.png").write_bytes(bytes(packet))
    if source is None or source.kind not in ("video", "animation"):
        return
    left_out = sorted({stream.kind for stream in source.streams if stream.kind in ("audio", "subtitle")})
    if left_out:
        report.notices.append(f"Pictures have no {' and no '.join(left_out)}, so the source's is left out.")
    report.notices.append(
        f"Pictures have no times; the source plays {float(source.fps):.3f} frames a second on average."
    )


def _as_jpeg(png: bytes) -> bytes:
    """A picture as JPEG in its best quality, without chroma subsampling."""
    decoder = av.CodecContext.create("png", "r")
    frame = canonical((decoder.decode(av.Packet(png)) + decoder.decode(None))[0])
    assert frame is not None  # PNG has planar formats alone, or packed ones of the same values
    color = ColorInfo("gbr", "pc")
    jpeg = ColorInfo("bt470bg", "pc", matrix_tagged=True, range_tagged=True, siting="center")
    if frame.format.name.startswith("gray"):
        color = replace(color, matrix="bt470bg")
    picture = convert(frame, color, "yuv444p", jpeg)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuv444p"
    encoder.color_range, encoder.time_base = 2, Fraction(1, 25)
    encoder.qmin = encoder.qmax = 1
    encoder.options = {"huffman": "optimal"}
    return b"".join(bytes(packet) for packet in encoder.encode(picture) + encoder.encode(None))
