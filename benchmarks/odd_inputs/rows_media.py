"""Whole and cut files, fields, and HDR: what is carried, what is told, what is refused."""

from __future__ import annotations

from benchmarks.odd_inputs.material import (
    DV,
    FFV1,
    FIELDS,
    INTERLACED,
    X264,
    X265,
    all_of,
    case,
    changed,
    clip,
    cut,
    picture,
    raw,
    remade,
)
from benchmarks.odd_inputs.rows import Row

WHOLE, FIELD, HDR = "Whole or cut", "Fields", "HDR"
_SAME = "frames size times"


def _cut_row(what: str, suffix: str, *options: str, output: str = "o.mkv --preset ffv1", told: str = "cut off") -> Row:
    make = all_of(clip(f"in{suffix}", *options, size="160x120", seconds=1, sound=True), cut(f"in{suffix}", 0.8))
    status = 1 if suffix in (".mp4", ".mov") else 0
    return Row(WHOLE, what, make, f"R in{suffix} -o {output}", status, told)


CUTS = [
    Row(
        WHOLE,
        "cut by stream copy (mp4, B-frames)",
        case("cut-by-stream-copy.mp4", "in.mp4"),
        "R in.mp4 -o o.mp4",
        same=_SAME,
        values={"frames": 14},
    ),
    Row(
        WHOLE,
        "cut by stream copy (mov, ProRes)",
        all_of(
            clip("a.mov", "-c:v", "prores_ks", seconds=1),
            remade("a.mov", "in.mov", "-c", "copy", before=("-ss", "0.4")),
        ),
        "R in.mov -o o.mov --preset prores",
        same="frames size",
    ),
    _cut_row("80 % of an mp4", ".mp4", *X264, "-movflags", "+faststart"),
    _cut_row("80 % of a mov", ".mov", "-c:v", "mjpeg", "-movflags", "+faststart"),
    _cut_row("80 % of a Matroska file", ".mkv", *X264),
    _cut_row("80 % of a WebM file", ".webm", "-c:v", "libvpx", "-deadline", "realtime"),
    _cut_row("80 % of a transport stream", ".ts", *X264),
    _cut_row("80 % of an AVI file", ".avi", "-c:v", "mpeg4"),
    _cut_row("80 % of an FLV file", ".flv", *X264),
    _cut_row("80 % of a WMV file", ".wmv", "-c:v", "wmv2"),
    _cut_row("80 % of an MXF file", ".mxf", "-c:v", "mpeg2video"),
    _cut_row("80 % of a program stream", ".mpg", "-c:v", "mpeg2video"),
    _cut_row("80 % of an Ogg file", ".ogv", "-c:v", "libtheora"),
    Row(
        WHOLE,
        "an mp4 whose index was never written",
        all_of(clip("in.mp4", *X264, seconds=1), cut("in.mp4", 0.6)),
        "R in.mp4 -o o.mp4",
        1,
        "never finished",
    ),
    Row(
        WHOLE,
        "80 % of a PNG",
        all_of(picture("in.png", size=(200, 200)), cut("in.png", 0.8)),
        "R in.png -o o.png --preset png",
        1,
        "cut off",
    ),
    Row(
        WHOLE,
        "80 % of a JPEG",
        all_of(picture("in.jpg", size=(200, 200)), cut("in.jpg", 0.6)),
        "R in.jpg -o o.png --preset png",
        0,
        "cut off",
    ),
    Row(
        WHOLE,
        "a GIF without its end",
        all_of(clip("in.gif", seconds=0.5), cut("in.gif", 0.7)),
        "R in.gif -o o.mp4",
        0,
        "cut off",
    ),
    Row(
        WHOLE,
        "bytes behind the end of an mp4",
        all_of(clip("in.mp4", *X264), changed("in.mp4", lambda d: d + bytes(999))),
        "R in.mp4 -o o.mp4",
        same=_SAME,
    ),
    Row(
        WHOLE,
        "damaged DTS sound",
        all_of(
            clip("in.mkv", *X264, "-c:a", "dca", "-strict", "-2", sound=True, seconds=1),
            changed(
                "in.mkv",
                lambda d: d[: len(d) // 2] + bytes(b ^ 0x5A for b in d[len(d) // 2 :][:6000]) + d[len(d) // 2 + 6000 :],
            ),
        ),
        "R in.mkv -o o.mp4",
        0,
        "dts",
    ),
    Row(
        WHOLE,
        "a folder with a damaged film",
        all_of(clip("a.mp4", *X264), raw("b.mp4", bytes(999))),
        "degrade . -o done --quiet",
        1,
        "1 of 2 files failed: b.mp4",
    ),
]

INTERLACE = [
    Row(
        FIELD,
        "H.264, top first",
        case("interlaced-h264.mp4", "in.mp4"),
        "R in.mp4 -o o.mp4",
        0,
        "is interlaced",
        values={"fields": None},
    ),
    Row(
        FIELD,
        "the same, fields kept",
        case("interlaced-h264.mp4", "in.mp4"),
        "R in.mp4 -o o.mp4 --deinterlace off",
        same="frames fields",
    ),
    Row(
        FIELD,
        "MPEG-2 in a program stream",
        clip("in.mpg", *FIELDS, "-r", "25", "-c:v", "mpeg2video", "-q:v", "2", *INTERLACED, rate=50),
        "R in.mpg -o o.mkv --preset ffv1",
        0,
        "is interlaced",
        values={"fields": None},
    ),
    Row(
        FIELD,
        "fields kept in H.265",
        case("interlaced-h264.mp4", "in.mp4"),
        "R in.mp4 -o o.mp4 --preset h265 --deinterlace off",
        0,
        "interlaced",
    ),
    Row(
        FIELD,
        "DV tape in AVI",
        clip(
            "in.avi",
            *DV,
            sound=True,
            seconds=0.1,
            rate="30000/1001",
        ),
        "R in.avi -o o.mp4",
        0,
        "converted to aac",
        same="frames size aspect fps fields",
    ),
    Row(
        FIELD,
        "combs that nothing marks",
        clip(
            "in.mp4",
            *FIELDS[:1],
            FIELDS[1].replace("setfield=tff", "setfield=prog"),
            "-r",
            "25",
            *X264,
            "-crf",
            "10",
            rate=50,
            size="160x96",
            seconds=0.5,
        ),
        "R in.mp4 -o o.mp4",
        0,
        "interlaced",
    ),
    Row(
        FIELD,
        "combs that nothing marks, degraded",
        clip(
            "in.mkv",
            *FIELDS[:1],
            FIELDS[1].replace("setfield=tff", "setfield=prog"),
            "-r",
            "25",
            *FFV1,
            rate=50,
            size="160x96",
            seconds=0.5,
        ),
        "degrade in.mkv -o o.mkv --codec-out ffv1 --quiet",
        0,
        "isn't marked as interlaced",
    ),
    Row(
        FIELD,
        "whole frames marked as interlaced",
        clip("in.mkv", "-vf", "setfield=tff", *FFV1, "-flags", "+ildct"),
        "R in.mkv -o o.mkv --preset ffv1",
        same="frames fields",
    ),
]

_PQ = ("-vf", "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv")
HDRS = [
    Row(
        HDR,
        "HDR10 (mastering display, light level)",
        case("hdr10-static-metadata.mp4", "in.mp4"),
        "R in.mp4 -o o.mp4 --preset h265",
        same="frames hdr depth transfer",
    ),
    Row(
        HDR,
        "HDR10 into H.264",
        case("hdr10-static-metadata.mp4", "in.mp4"),
        "R in.mp4 -o o.mkv",
        same="frames hdr depth transfer",
    ),
    Row(
        HDR,
        "HDR10 into AVI",
        case("hdr10-static-metadata.mp4", "in.mp4"),
        "R in.mp4 -o o.avi --preset ffv1",
        0,
        "mastering display",
    ),
    Row(HDR, "HDR10 into pictures", case("hdr10-static-metadata.mp4", "in.mp4"), "R in.mp4 -o o --preset png", 0, "PQ"),
    Row(
        HDR,
        "HLG",
        clip("in.mp4", *_PQ[:1], _PQ[1].replace("smpte2084", "arib-std-b67"), *X265),
        "R in.mp4 -o o.mov",
        same="frames depth transfer",
    ),
    Row(HDR, "HDR10, degraded", case("hdr10-static-metadata.mp4", "in.mp4"), "degrade in.mp4 -o o.mp4 --quiet"),
]

ROWS = [*CUTS, *INTERLACE, *HDRS]
