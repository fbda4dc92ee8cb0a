"""Odd pictures, sound and containers: what is carried, what is told, what is refused."""

from __future__ import annotations

from fractions import Fraction

from benchmarks.odd_inputs.material import (
    FFV1,
    FIELDS,
    INTERLACED,
    X264,
    X265,
    all_of,
    animation,
    case,
    changed,
    clip,
    cut,
    numbered,
    picture,
    raw,
    remade,
    turned_picture,
)
from benchmarks.odd_inputs.rows import Row
from vividface_core.video.orientation import matrix_of

WHOLE, FIELD, HDR, ALPHA, SHAPE, PICTURES, BESIDE, TIMES, COLOUR, SIZES = (
    "Whole or cut",
    "Fields",
    "HDR",
    "Transparency",
    "Turned, mirrored, shape of pixels",
    "Pictures",
    "Beside the picture",
    "Times",
    "Colour",
    "Sizes and formats",
)
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
        0,
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
        "DV tape",
        case("camcorder.avi", "in.avi")
        if False
        else clip(
            "in.avi",
            "-vf",
            "scale=720:480,setfield=bff",
            "-target",
            "ntsc-dv",
            "-ac",
            "2",
            sound=True,
            seconds=0.2,
            rate=30,
        ),
        "R in.avi -o o.mp4",
        same="frames size aspect",
        told="",
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

_DISC = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(X,40)'"
_VP9 = clip(
    "in.webm", "-vf", f"{_DISC},format=yuva420p", "-c:v", "libvpx-vp9", "-auto-alt-ref", "0", "-deadline", "realtime"
)
TRANSPARENT = [
    Row(ALPHA, "VP9 into ProRes 4444", _VP9, "R in.webm -o o.mov --preset prores", same="frames alpha"),
    Row(ALPHA, "VP9 into H.264", _VP9, "R in.webm -o o.mp4", 0, "Transparency", values={"alpha": False}),
    Row(
        ALPHA,
        "VP8 into FFV1",
        clip("in.webm", "-vf", f"{_DISC},format=yuva420p", "-c:v", "libvpx", "-auto-alt-ref", "0"),
        "R in.webm -o o.mkv --preset ffv1",
        same="frames alpha",
    ),
    Row(
        ALPHA,
        "ProRes 4444 into pictures",
        clip("in.mov", "-vf", f"{_DISC},format=yuva444p10le", "-c:v", "prores_ks"),
        "R in.mov -o o --preset png",
        0,
        "Pictures have no times",
        values={"alpha": True},
    ),
    Row(
        ALPHA,
        "ProRes 4444, degraded",
        clip("in.mov", "-vf", f"{_DISC},format=yuva444p10le", "-c:v", "prores_ks"),
        "degrade in.mov -o o.mkv --codec-out ffv1 --quiet",
        0,
    ),
    Row(
        ALPHA,
        "QuickTime Animation",
        clip("in.mov", "-vf", f"{_DISC},format=argb", "-c:v", "qtrle"),
        "R in.mov -o o.mkv --preset ffv1",
        same="frames alpha",
    ),
    Row(
        ALPHA,
        "GIF with holes",
        clip("in.gif", "-vf", f"{_DISC},split[a][b];[a]palettegen[p];[b][p]paletteuse"),
        "R in.gif -o o.mp4",
        0,
        "Transparency",
    ),
    Row(ALPHA, "PNG, grey with transparency", picture("in.png", "LA"), "R in.png -o o.png --preset png", same="alpha"),
    Row(
        ALPHA,
        "PNG with transparency as JPEG",
        picture("in.png", "RGBA"),
        "R in.png -o o.jpg --preset png",
        0,
        "ransparen",
    ),
]


def _matrix(mirrored: bool, degrees: int, suffix: str = ".mp4"):
    def make(folder):
        from vividface_core.video.display_matrix import set_display_matrix

        clip(f"in{suffix}", *X264)(folder)
        set_display_matrix(folder / f"in{suffix}", matrix_of(mirrored, degrees, 96, 64))

    return make


SHAPES = [
    Row(SHAPE, "phone, turned by 270°", case("phone-rotated.mp4", "in.mp4"), "R in.mp4 -o o.mov", same="frames turned"),
    Row(
        SHAPE,
        "turned by 270° into AVI",
        case("phone-rotated.mp4", "in.mp4"),
        "R in.mp4 -o o.avi --preset ffv1",
        0,
        "rotation by 270 degrees",
    ),
    Row(SHAPE, "mirrored", _matrix(True, 0), "R in.mp4 -o o.mp4", same="turned"),
    Row(
        SHAPE, "mirrored and turned into Matroska", _matrix(True, 90), "R in.mp4 -o o.mkv --preset ffv1", same="turned"
    ),
    Row(SHAPE, "mirrored into AVI", _matrix(True, 0), "R in.mp4 -o o.avi --preset ffv1", 0, "mirroring"),
    Row(
        SHAPE, "turned, degraded", _matrix(False, 90), "degrade in.mp4 -o o.mp4 --quiet", values={"turned": (90, False)}
    ),
    Row(
        SHAPE,
        "pixels 16:15 into Matroska",
        clip("in.mp4", "-vf", "setsar=16/15", *X264, size="96x72"),
        "R in.mp4 -o o.mkv",
        same="aspect",
    ),
    Row(
        SHAPE,
        "pixels 8:9 into AVI",
        clip("in.mp4", "-vf", "setsar=8/9", *X264, size="96x72"),
        "R in.mp4 -o o.avi --preset ffv1",
        0,
        "pixels' shape",
    ),
    Row(
        SHAPE,
        "three pictures, one upside down by EXIF",
        case("pictures-with-exif", "f"),
        "R f -o o.mp4",
        values={"frames": 3},
    ),
    Row(
        SHAPE, "PNG with EXIF", turned_picture("in.png", 6), "R in.png -o o.png --preset png", values={"size": "48x64"}
    ),
    Row(
        SHAPE,
        "WebP with EXIF",
        turned_picture("in.webp", 6),
        "R in.webp -o o.png --preset png",
        values={"size": "48x64"},
    ),
    Row(
        SHAPE, "TIFF with EXIF", turned_picture("in.tif", 8), "R in.tif -o o.png --preset png", values={"size": "48x64"}
    ),
]

PICTURE_FILES = [
    Row(PICTURES, "animated PNG called .png", animation("in.png", "PNG"), "R in.png -o o.mp4", values={"frames": 4}),
    Row(PICTURES, "animated WebP", case("animated.webp", "in.webp"), "R in.webp -o o.mp4", values={"frames": 8}),
    Row(
        PICTURES,
        "animated WebP with transparency",
        animation("in.webp", "WEBP", mode="RGBA"),
        "R in.webp -o o.mkv --preset ffv1",
        values={"frames": 4, "alpha": True},
    ),
    Row(PICTURES, "animated AVIF", animation("in.avif", "AVIF"), "R in.avif -o o.mp4", values={"frames": 4}),
    Row(PICTURES, "AVIF of one picture", picture("in.avif"), "R in.avif -o o.png --preset png", values={"frames": 1}),
    Row(PICTURES, "TIFF of several pages", animation("in.tif", "TIFF"), "R in.tif -o o.mp4", values={"frames": 4}),
    Row(
        PICTURES,
        "animated WebP in a folder of pictures",
        all_of(picture("f/1.png"), animation("f/2.webp", "WEBP")),
        "R f -o o.mp4",
        1,
        "animated WebP",
    ),
    Row(
        PICTURES,
        "animated PNG in a folder of pictures",
        all_of(picture("f/1.png"), animation("f/2.png", "PNG")),
        "R f -o o.mp4",
        0,
        "2.png",
    ),
    Row(
        PICTURES,
        "numbers with gaps into pictures",
        numbered("f", [3, 4, 9]),
        "R f -o o --preset png",
        values={"frames": 3},
    ),
    Row(
        PICTURES, "numbers with gaps into a video", numbered("f", [3, 4, 9]), "R f -o o.mp4", 0, "4 numbers are missing"
    ),
    Row(
        PICTURES,
        "pictures of two sizes",
        all_of(picture("f/1.png"), picture("f/2.png", size=(32, 32))),
        "R f -o o.mp4",
        1,
        "must have one size",
    ),
    Row(
        PICTURES,
        "pictures of two kinds",
        all_of(picture("f/1.png"), picture("f/2.jpg"), picture("f/3.png", "L")),
        "R f -o o.mp4",
        0,
        "2.jpg is",
    ),
    Row(
        PICTURES,
        "a damaged picture in a folder",
        all_of(numbered("f", [1, 3]), raw("f/shot_0002.png", b"\x89PNG\r\n\x1a\n" + bytes(99))),
        "R f -o o.mp4",
        1,
        "shot_0002.png",
    ),
    Row(
        PICTURES,
        "the same name with two suffixes",
        all_of(picture("f/1.png"), picture("f/1.jpg")),
        "R f -o o --preset png",
        0,
        "1.png is",
    ),
    Row(PICTURES, "CMYK JPEG", picture("in.jpg", "CMYK"), "R in.jpg -o o.png --preset png", values={"frames": 1}),
    Row(PICTURES, "one bit a pixel", picture("in.png", "1"), "R in.png -o o.png --preset png", values={"frames": 1}),
    Row(PICTURES, "16 bits of grey", picture("in.png", "I;16"), "R in.png -o o.png --preset png", same="depth"),
    Row(PICTURES, "palette", picture("in.png", "P"), "R in.png -o o.png --preset png", values={"frames": 1}),
    Row(PICTURES, "BMP", picture("in.bmp"), "R in.bmp -o o.jpg --preset png", values={"frames": 1}),
    Row(
        PICTURES,
        "a picture with a colour profile",
        picture("in.png", icc_profile=b"\0" * 40 + b"acsp" + b"\0" * 84),
        "R in.png -o o.png --preset png",
        0,
        "profile",
    ),
    Row(PICTURES, "JPEG 2000", picture("in.jp2"), "R in.jp2 -o o.png --preset png", values={"frames": 1}),
    Row(PICTURES, "a picture in capitals", picture("IN.PNG"), "R IN.PNG -o O.PNG --preset png", values={"frames": 1}),
]
ROWS = [*CUTS, *INTERLACE, *HDRS, *TRANSPARENT, *SHAPES, *PICTURE_FILES]
