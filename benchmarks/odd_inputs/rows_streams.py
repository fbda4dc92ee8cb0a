"""What lies beside the picture, and times."""

from __future__ import annotations

from benchmarks.odd_inputs.material import FFV1, X264, X265, all_of, case, clip, numbered, picture, raw, remade
from benchmarks.odd_inputs.rows import Row
from benchmarks.odd_inputs.sei import CAPTIONS, HDR10_PLUS, with_sei

BESIDE, TIMES = "Beside the picture", "Times"

_SRT = raw("s.srt", "1\n00:00:00,000 --> 00:00:00,200\nWords\n")
_ASS = raw(
    "s.ass",
    "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n[Events]\n"
    "Format: Layer, Start, End, Style, Text\nDialogue: 0,0:00:00.00,0:00:00.20,Default,{\\b1}Words\n",
)
_COVER = picture("c.jpg")
_TWO_COVERS = all_of(
    _COVER,
    picture("d.png"),
    clip("a.mp4", *X264, sound=True),
    remade(
        "a.mp4",
        "in.mp4",
        "-i",
        "{folder}/c.jpg",
        "-i",
        "{folder}/d.png",
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
    ),
)


_CAPTIONED = all_of(clip("in.h264", *X264), with_sei("in.h264", CAPTIONS))
_HDR10_PLUS = all_of(
    clip("in.hevc", "-vf", "format=yuv420p10le", *X265),
    with_sei("in.hevc", HDR10_PLUS, hevc=True),
)


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
        all_of(
            raw("a.ttf", b"\0\1\0\0" + bytes(400)),
            clip("a.mkv", *X264),
            remade("a.mkv", "in.mkv", "-c", "copy", "-attach", "{folder}/a.ttf", "-metadata:s:t", "mimetype=font/ttf"),
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
        _TWO_COVERS,
        "R in.mp4 -o o.mov",
        0,
        "2 attached pictures",
    ),
    Row(
        BESIDE,
        "two covers into mp4",
        _TWO_COVERS,
        "R in.mp4 -o o.mp4",
        same="pictures sound frames",
    ),
    Row(
        BESIDE,
        "two films, the second by default",
        all_of(
            clip("a.mkv", *FFV1, size="64x48"),
            remade(
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
            ),
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
            remade("a.mp4", "in.mkv", "-i", "{folder}/m.txt", "-map_chapters", "1", "-c", "copy"),
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
    Row(
        BESIDE,
        "a time code",
        clip("in.mov", *X264, "-timecode", "01:00:00:00"),
        "R in.mov -o o.mp4",
        0,
        "data stream 1",
    ),
    Row(BESIDE, "closed captions", _CAPTIONED, "R in.h264 -o o.mp4", 0, "closed captions"),
    Row(BESIDE, "HDR10+", _HDR10_PLUS, "R in.hevc -o o.mp4 --preset h265", 0, "HDR10+"),
]

TIME = [
    Row(
        TIMES,
        "a variable rate",
        clip(
            "in.mkv",
            "-vf",
            "settb=1/1000,setpts='(N+gt(mod(N,3),1)*0.6)/24/TB'",
            "-fps_mode",
            "vfr",
            "-enc_time_base",
            "1/1000",
            *X264,
        ),
        "R in.mkv -o o.mp4",
        same="frames times",
    ),
    Row(
        TIMES,
        "a variable rate into AVI",
        clip(
            "in.mp4",
            "-vf",
            "settb=1/1000,setpts='(N+gt(mod(N,3),1)*0.6)/24/TB'",
            "-fps_mode",
            "vfr",
            "-enc_time_base",
            "1/1000",
            *X264,
        ),
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
        1,
        "one length",
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
        all_of(raw("f/a.mp4", bytes(5000)), clip("f/b.mp4", *X264)),
        "score f --judge technical --quiet",
        1,
        "a.mp4",
    ),
]


ROWS = [*COMPANIONS, *TIME]
