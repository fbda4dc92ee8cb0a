"""What lies beside the picture, times, colour, sizes: carried, told, or refused."""

from __future__ import annotations

from fractions import Fraction

from benchmarks.odd_inputs.material import FFV1, X264, X265, all_of, case, clip, numbered, picture, raw, remade
from benchmarks.odd_inputs.rows import Row

BESIDE, TIMES, COLOUR, SIZES, FACES = "Beside the picture", "Times", "Colour", "Sizes and formats", "Faces"

_SRT = raw("s.srt", "1\n00:00:00,000 --> 00:00:00,200\nWords\n")
_ASS = raw(
    "s.ass",
    "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n[Events]\n"
    "Format: Layer, Start, End, Style, Text\nDialogue: 0,0:00:00.00,0:00:00.20,Default,{\\b1}Words\n",
)
_COVER = picture("c.jpg")


def _with(name: str, make, *inputs: object, options: tuple = ()):
    return all_of(make, clip(name, *options, inputs=inputs, sound=True))


COMPANIONS = [
    Row(
        BESIDE,
        "Windows Media into mp4",
        case("windows-media.wmv", "in.wmv"),
        "R in.wmv -o o.mp4",
        0,
        "converted to aac",
        values={"frames": 24, "sound": ["aac"]},
    ),
    Row(
        BESIDE,
        "Windows Media into Matroska",
        case("windows-media.wmv", "in.wmv"),
        "R in.wmv -o o.mkv",
        0,
        "converted to flac",
        values={"frames": 24, "sound": ["flac"]},
    ),
    Row(
        BESIDE,
        "Windows Media, degraded",
        case("windows-media.wmv", "in.wmv"),
        "degrade in.wmv -o o.mp4 --quiet",
        values={"frames": 24, "sound": ["aac"]},
    ),
    Row(
        BESIDE,
        "subtitles into mp4",
        _with("in.mkv", _SRT, "-i", "{folder}/s.srt", options=(*X264, "-c:s", "srt")),
        "R in.mkv -o o.mp4",
        0,
        "mov_text",
        values={"subtitles": ["mov_text"]},
    ),
    Row(
        BESIDE,
        "styled subtitles into Matroska",
        _with("in.mkv", _ASS, "-i", "{folder}/s.ass", options=(*X264, "-c:s", "ass")),
        "R in.mkv -o o.mkv",
        same="subtitles sound frames",
    ),
    Row(
        BESIDE,
        "subtitles into AVI",
        _with("in.mkv", _SRT, "-i", "{folder}/s.srt", options=(*FFV1, "-c:a", "mp3", "-c:s", "srt")),
        "R in.mkv -o o.avi --preset ffv1",
        0,
        "subtitle stream 2",
    ),
    Row(
        BESIDE,
        "a font attached",
        _with(
            "in.mkv",
            raw("a.ttf", b"\0\1\0\0" + bytes(400)),
            options=(*X264, "-attach", "{here}", "-metadata:s:t", "mimetype=font/ttf"),
        )
        if False
        else all_of(
            raw("a.ttf", b"\0\1\0\0" + bytes(400)),
            clip("a.mkv", *X264),
            lambda folder: remade(
                "a.mkv", "in.mkv", "-c", "copy", "-attach", folder / "a.ttf", "-metadata:s:t", "mimetype=font/ttf"
            )(folder),
        ),
        "R in.mkv -o o.mp4",
        0,
        "attachment",
    ),
    Row(
        BESIDE,
        "two sounds with languages",
        all_of(
            clip("a.mkv", *X264, sound=True),
            remade(
                "a.mkv",
                "in.mkv",
                "-map",
                "0:v",
                "-map",
                "0:a",
                "-map",
                "0:a",
                "-c:v",
                "copy",
                "-c:a",
                "ac3",
                "-metadata:s:a:0",
                "language=deu",
                "-metadata:s:a:1",
                "language=jpn",
            ),
        ),
        "R in.mkv -o o.mp4",
        same="languages sound",
    ),
    Row(
        BESIDE,
        "sound of eight channels",
        all_of(
            clip("a.mkv", *X264, sound=True), remade("a.mkv", "in.mkv", "-c:v", "copy", "-c:a", "pcm_s24le", "-ac", "8")
        ),
        "R in.mkv -o o.mp4",
        0,
        "converted to aac",
        values={"sound": ["aac"]},
    ),
    Row(
        BESIDE,
        "two covers",
        all_of(
            _COVER,
            picture("d.png"),
            clip("a.mp4", *X264, sound=True),
            lambda folder: remade(
                "a.mp4",
                "in.mp4",
                "-i",
                folder / "c.jpg",
                "-i",
                folder / "d.png",
                "-map",
                "0",
                "-map",
                "1",
                "-map",
                "2",
                "-c",
                "copy",
                "-disposition:v:1",
                "attached_pic",
                "-disposition:v:2",
                "attached_pic",
            )(folder),
        ),
        "R in.mp4 -o o.mov",
        0,
        "2 attached pictures",
    ),
    Row(
        BESIDE,
        "two covers into mp4",
        all_of(
            _COVER,
            picture("d.png"),
            clip("a.mp4", *X264, sound=True),
            lambda folder: remade(
                "a.mp4",
                "in.mp4",
                "-i",
                folder / "c.jpg",
                "-i",
                folder / "d.png",
                "-map",
                "0",
                "-map",
                "1",
                "-map",
                "2",
                "-c",
                "copy",
                "-disposition:v:1",
                "attached_pic",
                "-disposition:v:2",
                "attached_pic",
            )(folder),
        ),
        "R in.mp4 -o o.mp4",
        same="pictures sound frames",
    ),
    Row(
        BESIDE,
        "two films, the second by default",
        all_of(
            clip("a.mkv", *FFV1, size="64x48"),
            lambda folder: remade(
                "a.mkv",
                "in.mkv",
                "-f",
                "lavfi",
                "-i",
                "testsrc=s=96x64:r=24:d=0.25",
                "-map",
                "0",
                "-map",
                "1",
                *FFV1,
                "-disposition:v:0",
                "0",
                "-disposition:v:1",
                "default",
            )(folder),
        ),
        "R in.mkv -o o.mkv --preset ffv1",
        0,
        "video stream 0",
        values={"size": "96x64"},
    ),
    Row(
        BESIDE,
        "chapters",
        all_of(
            raw("m.txt", ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=100\ntitle=One\n"),
            clip("a.mp4", *X264),
            lambda folder: remade("a.mp4", "in.mkv", "-i", folder / "m.txt", "-map_chapters", "1", "-c", "copy")(
                folder
            ),
        ),
        "R in.mkv -o o.mp4",
        values={"chapters": 1},
    ),
    Row(
        BESIDE,
        "the place where it was recorded",
        clip(
            "in.mov",
            *X264,
            "-movflags",
            "use_metadata_tags",
            "-metadata",
            "com.apple.quicktime.location.ISO6709=+48.2+016.3/",
        ),
        "R in.mov -o o.mp4",
        values={"place": "+48.2+016.3/"},
    ),
    Row(BESIDE, "a time code", clip("in.mov", *X264, "-timecode", "01:00:00:00"), "R in.mov -o o.mp4", 0, ""),
    Row(BESIDE, "closed captions", clip("in.ts", "-c:v", "mpeg2video"), "R in.ts -o o.mp4", 0, "clock"),
]

HLS = ()
TIME = [
    Row(
        TIMES,
        "a variable rate",
        clip("in.mkv", "-vf", "setpts='(N+gt(mod(N,3),1)*0.6)/24/TB'", "-fps_mode", "vfr", *X264),
        "R in.mkv -o o.mp4",
        same="frames times",
    ),
    Row(
        TIMES,
        "a variable rate into AVI",
        clip("in.mp4", "-vf", "setpts='(N+gt(mod(N,3),1)*0.6)/24/TB'", "-fps_mode", "vfr", *X264),
        "R in.mp4 -o o.avi --preset ffv1",
        0,
        "rate varies",
    ),
    Row(
        TIMES,
        "a clock that begins at ten hours",
        clip("in.ts", *X264, "-output_ts_offset", "36000", sound=True),
        "R in.ts -o o.mp4",
        0,
        "clock began",
    ),
    Row(
        TIMES,
        "a begin before zero",
        clip("in.mkv", *X264, "-bf", "2", "-output_ts_offset", "-0.1", "-avoid_negative_ts", "disabled"),
        "R in.mkv -o o.mkv",
        same="frames times",
    ),
    Row(
        TIMES,
        "120 frames a second",
        clip("in.mp4", *X264, rate=120, seconds=0.1),
        "R in.mp4 -o o.mov",
        same="frames times fps",
    ),
    Row(
        TIMES,
        "a frame every ten seconds",
        clip("in.mp4", *X264, rate="1/10", seconds=30),
        "R in.mp4 -o o.mp4",
        same="frames times",
    ),
    Row(TIMES, "a stream without a container", clip("in.h264", *X264), "R in.h264 -o o.mp4", values={"frames": 6}),
    Row(TIMES, "one frame", clip("in.mp4", *X264, seconds=0.04), "R in.mp4 -o o.mp4", same="frames"),
    Row(
        TIMES,
        "pictures degraded into a video",
        numbered("f", [1, 2, 3]),
        "degrade f -o o.mp4 --quiet",
        values={"frames": 3},
    ),
    Row(
        TIMES,
        "measured against another length",
        all_of(clip("a.mp4", *X264), clip("b.mp4", *X264, seconds=0.5)),
        "metrics a.mp4 --reference b.mp4 --only psnr",
        0,
        "frames",
    ),
    Row(
        TIMES,
        "measured against another size",
        all_of(clip("a.mp4", *X264), clip("b.mp4", *X264, size="64x64")),
        "metrics a.mp4 --reference b.mp4 --only psnr",
        1,
        "64x64",
    ),
    Row(TIMES, "a damaged file measured", raw("a.mp4", bytes(5000)), "metrics a.mp4 --only niqe", 1, "a.mp4"),
    Row(
        TIMES,
        "a damaged file judged",
        all_of(raw("f/a.mp4", bytes(5000)), lambda folder: clip("f/b.mp4", *X264)(folder)),
        "score f --judge technical --quiet",
        1,
        "a.mp4",
    ),
]


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
        clip("in.mkv", "-vf", "crop=95:63", "-pix_fmt", "yuv444p", *FFV1),
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
        "",
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
            lambda folder: (folder / "in.ts").write_bytes(
                (folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes()
            ),
        ),
        "R in.ts -o o.mp4",
        1,
        "changes its size",
    ),
    Row(SIZES, "AV1", clip("in.mkv", "-c:v", "libsvtav1", "-preset", "10"), "R in.mkv -o o.mp4", same="frames"),
    Row(SIZES, "H.266", clip("in.mp4", "-c:v", "libvvenc"), "R in.mp4 -o o.mp4", same="frames")
    if False
    else Row(SIZES, "Cinepak", clip("in.avi", "-c:v", "cinepak"), "R in.avi -o o.mp4", same="frames"),
    Row(SIZES, "a GIF", clip("in.gif"), "R in.gif -o o.mp4", values={"frames": 6}),
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

ROWS = [*COMPANIONS, *TIME, *COLOURS, *FORMATS, *FACE_ROWS]
