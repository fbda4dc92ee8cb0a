"""Join encoded parts into the output: no second encoding, and the source's other streams beside them."""

from __future__ import annotations

import heapq
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.video.colorspace import convert
from vividface_core.video.decoding import open_video
from vividface_core.video.display_matrix import rotated_stream
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.passthrough import StreamCopier, TimedPacket
from vividface_core.video.pixel_formats import canonical
from vividface_core.video.presets import Preset, container_for, load_preset
from vividface_core.video.timeline import Timeline
from vividface_core.video.writer import flush_to_disk, set_color_tags, unwritable

_LARGEST_TIMESCALE = 2**31 - 1
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
    if not output.parent.is_dir():
        raise UnwritableVideo(f"The folder {output.parent} does not exist. Make it, or choose another output.")
    if not os.access(output.parent, os.W_OK):
        raise UnwritableVideo(f"The folder {output.parent} is write-protected. Choose another output.")
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
) -> MuxReport:
    """Join parts, in order, into one output with the source's audio, subtitles, chapters, tags and times.

    Times are exactly the source's in mp4 and mov; Matroska rounds them to 1 ms, AVI to its frame rate. The output
    appears under its name when it is complete; until then a hidden file lies beside it.

    Args:
        parts: written by :class:`~vividface_core.video.writer.VideoWriter` with this preset.
        source: where audio and the like come from; ``None``: video only.
        tags: of the file, in place of the source's of the same name; pictures have none.

    Raises:
        InvalidOption, UnwritableVideo: see :func:`check_output`; also parts that don't fit together, and a full disk.
    """
    output, rules = Path(output), load_preset(preset)
    check_output(output, preset, source)
    timeline = Timeline.read([Path(part) for part in parts])
    report = MuxReport(output, len(timeline), notices=list(dict.fromkeys(timeline.records[0].notices)))
    scratch = output.with_name(f".{output.name}.partial{output.suffix}")
    _clear(scratch)
    try:
        if rules.name == "png":
            _write_pictures(timeline, source, scratch, report)
        else:
            _write_video(timeline, source, scratch, rules, report, tags or {})
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
    timeline: Timeline, source: VideoInfo | None, scratch: Path, rules: Preset, report: MuxReport,
    tags: Mapping[str, str],
) -> None:  # fmt: skip
    holds = container_for(scratch, rules)
    options = {**holds.options}
    with ExitStack() as stack:
        other, video_index = None, -1
        if source is not None and source.kind == "video":
            other, stream = open_video(source.path)
            stack.callback(other.close)
            video_index = stream.index
        if holds.format in ("mp4", "mov"):
            options |= _timescales(timeline, other)
        target = stack.enter_context(av.open(str(scratch), "w", format=holds.format, container_options=options))
        video = _add_video(target, timeline, source, rules, scratch.suffix.lower())
        streams: list[Iterator] = [_timed(timeline, source, video)]
        if other is not None:
            companions = StreamCopier(other, video_index, target, holds, source.origin,
                                    chapters=source.span is None)  # fmt: skip
            streams.append(_within(companions.packets(), source))
            report.copied = companions.copied
            report.notices += companions.notices
            if source.origin and source.span is None:
                report.notices.append(
                    f"The source's clock began at {float(source.origin):.3f} s; the output's begins at 0."
                )
        _set_tags(target, tags, report)
        for _, packet in heapq.merge(*streams, key=lambda timed: timed[0]):
            target.mux(packet)
    if source is not None and source.sample_aspect_ratio and not _keeps_aspect(scratch, source.sample_aspect_ratio):
        shape = str(source.sample_aspect_ratio).replace("/", ":")
        report.notices.append(f"The pixels' shape ({shape}) can't be recorded for {rules.codec} in {holds.format}.")
    flush_to_disk(scratch)


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


def _keeps_aspect(path: Path, aspect: Fraction) -> bool:
    container, stream = open_video(path)
    with container:
        return stream.sample_aspect_ratio == aspect


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
    with av.open(str(timeline.parts[0])) as part, tempfile.TemporaryDirectory() as folder:
        template = part.streams.video[0]
        context = template.codec_context
        if source is None or source.display_matrix is None:
            video = target.add_stream_from_template(template, opaque=True)
        else:
            with rotated_stream(template, source.display_matrix, Path(folder)) as rotated:
                video = target.add_stream_from_template(rotated, opaque=True)
        out = video.codec_context
        out.extradata, out.pix_fmt = context.extradata, context.pix_fmt
        out.profile = context.profile if context.profile else out.profile
        out.width, out.height = template.width, template.height
        out.codec_tag = rules.tags.get(suffix) or (context.codec_tag if rules.part == "mov" else out.codec_tag)
    set_color_tags(out, ColorInfo(**timeline.records[0].color))
    video.time_base = timeline.time_base
    if source is not None:
        out.framerate = source.fps
        if source.sample_aspect_ratio:
            out.sample_aspect_ratio = source.sample_aspect_ratio
    return video


def _timed(timeline: Timeline, source: VideoInfo | None, video: av.VideoStream) -> Iterator[tuple[float, av.Packet]]:
    shift = round(source.origin / timeline.time_base) if source else 0
    for packet in timeline.packets(_last_duration(timeline, source)):
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, video
        yield float(packet.dts * packet.time_base), packet


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
        scratch.write_bytes(_as_jpeg(data) if suffix in _JPEG else data)
        flush_to_disk(scratch)
        return
    scratch.mkdir()
    for number, packet in enumerate(timeline.packets(1)):
        (scratch / f"{number:06d}.png").write_bytes(bytes(packet))
    if source is None or source.kind != "video":
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
