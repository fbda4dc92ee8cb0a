"""What ffprobe says of an input and of its restoration, side by side."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.odd_inputs.material import DV, FFV1, X264, Make, case, clip
from benchmarks.odd_inputs.worker import Worker

_UNEVEN = ("-vf", "settb=1/1000,setpts='(N+gt(mod(N,5),2)*0.7)/24/TB'", "-fps_mode", "vfr", "-enc_time_base", "1/1000")
_DISC = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(hypot(X-48,Y-32),24)'"


@dataclass(frozen=True)
class Pair:
    """An input, and how it is restored.

    Attributes:
        words: of the output on.
    """

    title: str
    make: Make
    input: str
    words: str


_TAPE = clip(
    "tape.mpg",
    "-vf",
    "scroll=h=0.02,tinterlace=interleave_top,setfield=tff,setsar=16/15",
    *("-r", "25", "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme", "-c:a", "mp2"),
    sound=True,
    rate=50,
    size="720x576",
)
PAIRS = [
    Pair(
        "A phone's clip: turned, variable rate, place of the recording",
        clip(
            "phone.mov",
            *(*_UNEVEN, *X264, "-c:a", "aac", "-metadata", "location=+48.2082+016.3738/"),
            *("-metadata", "creation_time=2026-05-01T10:00:00Z", "-metadata", "make=Phone"),
            sound=True,
            seconds=0.5,
            turned=90,
        ),
        "phone.mov",
        "-o o.mp4",
    ),
    Pair("An interlaced tape, by default", _TAPE, "tape.mpg", "-o o.mp4"),
    Pair("The same tape, its fields kept", _TAPE, "tape.mpg", "-o o.mkv --preset ffv1 --deinterlace off"),
    Pair("HDR10", case("hdr10-static-metadata.mp4"), "hdr10-static-metadata.mp4", "-o o.mp4 --preset h265"),
    Pair(
        "A DV tape",
        clip(
            "tape.avi",
            *DV,
            sound=True,
            rate="30000/1001",
        ),
        "tape.avi",
        "-o o.mov",
    ),
    Pair(
        "Transparency in VP9",
        clip(
            "disc.webm",
            *("-vf", f"{_DISC},format=yuva420p", "-c:v", "libvpx-vp9", "-auto-alt-ref", "0", "-deadline", "realtime"),
        ),
        "disc.webm",
        "-o o.mov --preset prores",
    ),
    Pair(
        "Transparency in ProRes 4444",
        clip("disc.mov", "-vf", f"{_DISC},format=yuva444p10le", "-c:v", "prores_ks"),
        "disc.mov",
        "-o o.mov --preset prores",
    ),
    Pair(
        "A screen recording of variable rate",
        clip("screen.mkv", *_UNEVEN, *FFV1, "-pix_fmt", "gbrp", "-c:a", "libopus", sound=True, seconds=0.5),
        "screen.mkv",
        "-o o.mkv --preset ffv1",
    ),
]
_STREAM = (
    *("codec_name", "pix_fmt", "sample_aspect_ratio", "field_order", "avg_frame_rate", "nb_read_frames"),
    *("color_range", "color_space", "color_transfer", "color_primaries", "chroma_location"),
    *("sample_rate", "channels", "channel_layout", "duration"),
)
_TAGS = ("location", "creation_time", "make", "language", "alpha_mode", "com.apple.quicktime.make")
TIMES = 6
_NONE = ("unknown", "unspecified", "N/A", "0/0", "und")


def table(pairs: list[Pair], folder: Path, model: Path, ffprobe: str, worker: Worker) -> str:
    """Restore each input and compare: Markdown."""
    parts = []
    for number, pair in enumerate(pairs):
        place = folder / f"{number}"
        place.mkdir(parents=True)
        pair.make(place)
        words = f"restore {pair.input} {pair.words}"
        outcome = worker.run([*words.split(), "--whole-frame", "--model", str(model), "--quiet"], place)
        if outcome.status != 0:
            raise RuntimeError(f"{words}: {outcome.faults or outcome.err}")
        output = place / pair.words.split()[1]
        before, after = facts(place / pair.input, ffprobe), facts(output, ffprobe)
        parts.append(_section(pair, words, outcome.told, before, after))
    return "\n\n".join(parts)


def _section(pair: Pair, words: str, told: list[str], before: dict[str, str], after: dict[str, str]) -> str:
    rows = [f"| {key} | {before.get(key, '–')} | {after.get(key, '–')} |" for key in before | after]
    said = " ".join(told) if told else "Nothing was told."
    head = f"**{pair.title}**: `vividface {words}`\n\n*{said}*\n\n| ffprobe | {pair.input} | {pair.words.split()[1]} |"
    return "\n".join([head, "|---|---|---|", *rows])


def facts(path: Path, ffprobe: str) -> dict[str, str]:
    """What ffprobe tells of a file, by name."""
    streams = _ask(ffprobe, path, "-show_format", "-show_streams", "-count_frames")
    pictures = _ask(ffprobe, path, "-show_frames", "-select_streams", "v:0").get("frames", [])
    found = {"format": streams["format"]["format_name"]}
    for name, value in _tags(streams["format"]):
        found[name] = value
    for stream in streams["streams"]:
        kind = stream["codec_type"]
        if kind == "video":
            found["video size"] = f"{stream['width']}×{stream['height']}"
        for name in _STREAM:
            value = str(stream.get(name, ""))
            if value and value not in _NONE and (name != "sample_aspect_ratio" or value != "1:1"):
                found[f"{kind} {name}"] = value
        for name, value in _tags(stream):
            found[f"{kind} {name}"] = value
        for data in stream.get("side_data_list", ()):
            if "rotation" in data:
                found["rotation"] = str(data["rotation"])
    times = [float(frame["best_effort_timestamp_time"]) for frame in pictures[:TIMES]]
    found["milliseconds of the first pictures"] = ", ".join(f"{1000 * (time - times[0]):.0f}" for time in times)
    for frame in pictures[:1]:
        found["interlaced, top first"] = f"{frame['interlaced_frame']}, {frame['top_field_first']}"
        for data in frame.get("side_data_list", ()):
            found |= _light(data)
    return found


def _tags(of: dict[str, Any]) -> list[tuple[str, str]]:
    tags = {key.lower(): value for key, value in of.get("tags", {}).items()}
    return [(name, tags[name]) for name in _TAGS if tags.get(name, "und") not in _NONE]


def _light(data: dict[str, Any]) -> dict[str, str]:
    """HDR10's metadata in a line each."""
    if data["side_data_type"] == "Mastering display metadata":
        return {"mastering display": f"red {data['red_x']}, {data['red_y']}; up to {data['max_luminance']} cd/m²"}
    if data["side_data_type"] == "Content light level metadata":
        return {"light level": f"{data['max_content']}, {data['max_average']}"}
    return {}


def _ask(ffprobe: str, path: Path, *what: str) -> dict[str, Any]:
    command = [ffprobe, "-v", "error", "-of", "json", *what, str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
