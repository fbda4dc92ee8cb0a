"""Colour, sizes, formats and faces."""

from __future__ import annotations

from benchmarks.odd_inputs.material import FFV1, X264, all_of, case, clip, joined, picture, remade
from benchmarks.odd_inputs.rows import Row

COLOUR, SIZES, FACES = "Colour", "Sizes and formats", "Faces"


def _tagged(number: int, *options: str):
    return clip("in.mp4", *(options or X264), "-bsf:v", f"h264_metadata=matrix_coefficients={number}")


COLOURS = [
    Row(COLOUR, "matrix ycgco", case("matrix-ycgco.mp4", "in.mp4"), "R in.mp4 -o o.mp4", 1, "colour matrix is ycgco"),
    Row(COLOUR, "matrix ycgco, degraded", case("matrix-ycgco.mp4", "in.mp4"), "degrade in.mp4 -o o.mp4", 1, "ycgco"),
    Row(COLOUR, "matrix ycgco, measured", case("matrix-ycgco.mp4", "in.mp4"), "metrics in.mp4 --only niqe", 1, "ycgco"),
    Row(
        COLOUR, "matrix ycgco, judged", case("matrix-ycgco.mp4", "in.mp4"), "score in.mp4 --judge technical", 1, "ycgco"
    ),
    Row(COLOUR, "matrix ictcp", _tagged(14), "R in.mp4 -o o.mp4", 1, "ictcp"),
    Row(COLOUR, "matrix bt2020c", _tagged(10), "R in.mp4 -o o.mp4", same="frames matrix"),
    Row(COLOUR, "matrix of a reserved number", _tagged(3), "R in.mp4 -o o.mp4", same="frames"),
    Row(
        COLOUR,
        "H.264 in RGB",
        clip("in.mkv", "-c:v", "libx264rgb"),
        "R in.mkv -o o.mkv --preset ffv1",
        same="frames format",
    ),
    Row(
        COLOUR,
        "full range",
        clip("in.mp4", "-vf", "scale=out_range=pc,format=yuvj420p", "-c:v", "libx264"),
        "R in.mp4 -o o.mp4",
        same="frames",
    ),
    Row(
        COLOUR,
        "full range into ProRes",
        clip("in.mp4", "-vf", "scale=out_range=pc,format=yuvj420p", "-c:v", "libx264"),
        "R in.mp4 -o o.mov --preset prores",
        0,
        "range",
    ),
    Row(
        COLOUR,
        "black and white, neutral chroma",
        case("black-and-white.mp4", "in.mp4"),
        "R in.mp4 -o o.mkv --preset ffv1",
        values={"chroma": (128, 128)},
    ),
    Row(COLOUR, "grey alone", clip("in.mkv", "-pix_fmt", "gray", *FFV1), "R in.mkv -o o.mp4", 0, ""),
    Row(
        COLOUR,
        "grey of 10 bits",
        clip("in.mkv", "-pix_fmt", "gray10le", *FFV1),
        "R in.mkv -o o.mkv --preset ffv1",
        same="frames format",
    ),
]

FORMATS = [
    Row(
        SIZES,
        "odd width and height",
        clip("in.mkv", "-vf", "format=yuv444p,crop=95:63", *FFV1),
        "R in.mkv -o o.mp4",
        0,
        "",
    ),
    Row(
        SIZES,
        "odd size with halved chroma",
        clip("in.mkv", "-vf", "format=yuv420p,crop=95:63:exact=1", *FFV1),
        "R in.mkv -o o.mp4",
        0,
        "is odd",
    ),
    Row(
        SIZES,
        "2 by 2 pixels",
        clip("in.mkv", "-vf", "scale=2:2", *FFV1),
        "R in.mkv -o o.mkv --preset ffv1",
        same="frames size",
    ),
    Row(SIZES, "1 pixel", picture("in.png", size=(1, 1)), "R in.png -o o.png --preset png", same="frames size"),
    Row(
        SIZES,
        "12 bits 4:2:2 into H.264",
        clip("in.mkv", "-pix_fmt", "yuv422p12le", *FFV1),
        "R in.mkv -o o.mkv",
        0,
        "bit",
    ),
    Row(
        SIZES,
        "16 bits RGB into ProRes",
        clip("in.mkv", "-pix_fmt", "gbrp16le", *FFV1),
        "R in.mkv -o o.mov --preset prores",
        0,
        "bit",
    ),
    Row(
        SIZES,
        "floating point (EXR)",
        clip("in.exr", "-frames:v", "1", "-pix_fmt", "gbrpf32le"),
        "R in.exr -o o.png --preset png",
        0,
        "floating-point",
        values={"frames": 1},
    ),
    Row(
        SIZES,
        "packed 4:2:2 (raw AVI)",
        clip("in.avi", "-pix_fmt", "yuyv422", "-c:v", "rawvideo"),
        "R in.avi -o o.mkv --preset ffv1",
        same="frames",
    ),
    Row(
        SIZES,
        "4:1:1",
        clip("in.mkv", "-pix_fmt", "yuv411p", *FFV1),
        "R in.mkv -o o.mkv --preset ffv1",
        same="frames format",
    ),
    Row(
        SIZES,
        "a size that changes",
        all_of(
            clip("a.ts", *X264),
            clip("b.ts", *X264, size="64x64"),
            joined("in.ts", "a.ts", "b.ts"),
        ),
        "R in.ts -o o.mp4",
        1,
        "changes its size",
    ),
    Row(SIZES, "AV1", clip("in.mkv", "-c:v", "libsvtav1", "-preset", "10"), "R in.mkv -o o.mp4", same="frames"),
    Row(SIZES, "Cinepak", clip("in.avi", "-c:v", "cinepak"), "R in.avi -o o.mp4", same="frames"),
    Row(SIZES, "an opaque GIF", clip("in.gif"), "R in.gif -o o.mp4", 0, values={"frames": 6}),
]

FACE = "restore in.mp4 -o o.mp4 --model {model} --quiet"
FACE_ROWS = [
    Row(
        FACES,
        "three frames with a face",
        case("three-frames.mp4", "in.mp4"),
        FACE,
        0,
        "restored face",
        values={"frames": 3},
    ),
    Row(
        FACES,
        "a face on its head",
        all_of(case("three-frames.mp4", "a.mp4"), remade("a.mp4", "in.mp4", "-vf", "hflip,vflip", *X264)),
        FACE,
        0,
        "turned by 180",
        values={"frames": 3},
    ),
    Row(
        FACES,
        "a face in the dark",
        all_of(
            case("three-frames.mp4", "a.mp4"),
            remade("a.mp4", "in.mp4", "-vf", "lutyuv=y=16+(val-16)*0.06", *X264, "-crf", "4"),
        ),
        FACE,
        0,
        "brightened",
        values={"frames": 3},
    ),
    Row(
        FACES,
        "no face",
        clip("in.mp4", *X264, "-frames:v", "2", size="160x120"),
        FACE,
        0,
        "No face was found",
        values={"frames": 2},
    ),
]

ROWS = [*COLOURS, *FORMATS, *FACE_ROWS]
