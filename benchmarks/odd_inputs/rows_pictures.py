"""Transparency, turned and mirrored pictures, pixels that aren't square, files and folders of pictures."""

from __future__ import annotations

from benchmarks.odd_inputs.material import (
    X264,
    Make,
    all_of,
    animation,
    case,
    clip,
    numbered,
    picture,
    raw,
    turned_picture,
)
from benchmarks.odd_inputs.rows import Row

ALPHA, SHAPE, PICTURES = "Transparency", "Turned, mirrored, shape of pixels", "Pictures"

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


def _matrix(mirrored: bool, degrees: int) -> Make:
    return clip("in.mp4", *X264, turned=degrees, mirrored=mirrored)


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
        clip("in.mp4", "-vf", "setsar=16/15", *X264, size="90x72"),
        "R in.mp4 -o o.mkv",
        same="aspect",
    ),
    Row(
        SHAPE,
        "pixels 8:9 into AVI",
        clip("in.mp4", "-vf", "setsar=8/9", *X264, size="90x72"),
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
        "several pictures",
    ),
    Row(
        PICTURES,
        "animated PNG in a folder of pictures",
        all_of(picture("f/1.png"), animation("f/2.png", "PNG")),
        "R f -o o.mp4",
        1,
        "several pictures",
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
ROWS = [*TRANSPARENT, *SHAPES, *PICTURE_FILES]
