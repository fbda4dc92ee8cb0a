"""What is no media, or not what it is called."""

from __future__ import annotations

from benchmarks.odd_inputs.material import Make, all_of, case, clip, numbered, picture, pipe, raw, renamed
from benchmarks.odd_inputs.rows import Row

THREE = case("three-frames.mp4", "in.mp4")
NO_MEDIA = "No media, or not what it is called"
_OUT = {"frames": 3}


def _named(name: str) -> Make:
    return all_of(THREE, renamed("in.mp4", name))


_LIST = "ffconcat version 1.0\nfile in.mp4\n"
_M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nin.mp4\n#EXT-X-ENDLIST\n"
NOT_MEDIA = [
    Row(NO_MEDIA, "a text", raw("notes.txt", "some notes\n" * 400), "R notes.txt -o o.mp4", 1, "is a text"),
    Row(NO_MEDIA, "a text called .mp4", raw("n.mp4", "some notes\n" * 400), "R n.mp4 -o o.mp4", 1, "is a text"),
    Row(NO_MEDIA, "ANSI art", raw("a.ans", b"\x1b[31mred\x1b[0m\r\n" * 99), "R a.ans -o o.mp4", 1, "is a text"),
    Row(
        NO_MEDIA,
        "art of a code page (.nfo)",
        raw("a.nfo", bytes(range(0xB0, 0xE0)) * 20 + b"\r\nby nobody\r\n" * 40),
        "R a.nfo -o o.mp4",
        1,
        "a.nfo",
    ),
    Row(
        NO_MEDIA,
        "a text in UTF-16",
        raw("a.txt", ("words " * 500).encode("utf-16")),
        "degrade a.txt -o o.mp4",
        1,
        "is a text",
    ),
    Row(NO_MEDIA, "ffconcat", all_of(THREE, raw("l.ffconcat", _LIST)), "R l.ffconcat -o o.mp4", 1, "--allow-playlist"),
    Row(NO_MEDIA, "ffconcat called .mp4", all_of(THREE, raw("l.mp4", _LIST)), "degrade l.mp4 -o o.mp4", 1, "list of"),
    Row(
        NO_MEDIA,
        "ffconcat, allowed",
        all_of(THREE, raw("l.ffconcat", _LIST)),
        "R l.ffconcat -o o.mp4 --allow-playlist",
        values=_OUT,
    ),
    Row(NO_MEDIA, "M3U8", all_of(THREE, raw("l.m3u8", _M3U8)), "R l.m3u8 -o o.mp4", 1, "--allow-playlist"),
    Row(
        NO_MEDIA,
        "M3U8 with a BOM called .mkv",
        all_of(THREE, raw("l.mkv", "\ufeff" + _M3U8)),
        "metrics l.mkv --only niqe",
        1,
        "l.mkv",
    ),
    Row(
        NO_MEDIA,
        "a DASH manifest",
        raw("l.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash"></MPD>\n'),
        "R l.mpd -o o.mp4",
        1,
        "list of",
    ),
    Row(
        NO_MEDIA,
        "a session description",
        raw("l.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        "R l.sdp -o o.mp4",
        1,
        "l.sdp",
    ),
    Row(
        NO_MEDIA,
        "an SVG",
        raw("a.svg", '<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>'),
        "R a.svg -o o.png --preset png",
        1,
        "a.svg",
    ),
    Row(
        NO_MEDIA,
        "subtitles",
        raw("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nWords\n\n" * 9),
        "R a.srt -o o.mp4",
        1,
        "a.srt",
    ),
    Row(NO_MEDIA, "no byte", raw("a.mp4", b""), "R a.mp4 -o o.mp4", 1, "a.mp4"),
    Row(NO_MEDIA, "no byte, a picture's name", raw("a.png", b""), "R a.png -o o.png --preset png", 1, "a.png"),
    Row(NO_MEDIA, "zeros", raw("a.mkv", bytes(1 << 16)), "R a.mkv -o o.mkv --preset ffv1", 1, "a.mkv"),
    Row(
        NO_MEDIA,
        "noise",
        raw("a.ts", bytes((k * 7919 + k // 3) % 256 for k in range(1 << 16))),
        "R a.ts -o o.mp4",
        1,
        "a.ts",
    ),
    Row(NO_MEDIA, "a ZIP called .mp4", raw("a.mp4", b"PK\x03\x04" + bytes(4000)), "degrade a.mp4 -o o.mp4", 1, "a.mp4"),
    Row(
        NO_MEDIA,
        "a PDF called .png",
        raw("a.png", b"%PDF-1.7\n" + bytes(range(256)) * 20),
        "R a.png -o o.png --preset png",
        1,
        "a.png",
    ),
    Row(NO_MEDIA, "a FIFO", pipe("in.mp4"), "R in.mp4 -o o.mp4", 1, "no ordinary file"),
    Row(NO_MEDIA, "a FIFO, degraded", pipe("in.mp4"), "degrade in.mp4 -o o.mp4", 1, "no ordinary file"),
    Row(NO_MEDIA, "a FIFO, measured", pipe("in.mp4"), "metrics in.mp4 --only niqe", 1, "in.mp4"),
    Row(
        NO_MEDIA,
        "a FIFO among pictures",
        all_of(numbered("f", [1, 2]), pipe("f/shot_0003.png")),
        "R f -o o.mp4",
        1,
        "shot_0003.png",
    ),
    Row(NO_MEDIA, "a device", raw("n", ""), "R /dev/zero -o o.mp4", 1, "no ordinary file"),
    Row(NO_MEDIA, "an empty folder", raw("f/.hidden", ""), "R f -o o.mp4", 1, "holds no picture"),
    Row(NO_MEDIA, "a folder of texts", raw("f/a.txt", "x"), "R f -o o.mp4", 1, "holds no picture"),
    Row(NO_MEDIA, "sound alone", clip("a.m4a", "-vn", "-c:a", "aac", sound=True), "R a.m4a -o o.mp4", 1, "no video"),
    Row(
        NO_MEDIA,
        "a JPEG called .mp4",
        all_of(picture("a.jpg"), renamed("a.jpg", "a.mp4")),
        "R a.mp4 -o o.mp4",
        values={"frames": 1},
    ),
    Row(
        NO_MEDIA,
        "a Matroska file called .mp4",
        all_of(clip("a.mkv", "-c:v", "ffv1"), renamed("a.mkv", "a.mp4")),
        "R a.mp4 -o o.mkv --preset ffv1",
        same="frames size format",
    ),
    Row(
        NO_MEDIA,
        "an mp4 called .png",
        all_of(THREE, renamed("in.mp4", "a.png")),
        "R a.png -o o.mp4",
        values={"frames": 3},
    ),
    Row(NO_MEDIA, "an mp4 without a suffix", _named("film"), "R film -o o.mp4", values=_OUT),
]

ROWS = NOT_MEDIA
