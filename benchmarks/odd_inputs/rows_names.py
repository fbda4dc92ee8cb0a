"""Odd names, and the manners of the command line."""

from __future__ import annotations

from benchmarks.odd_inputs.material import (
    Make,
    all_of,
    case,
    numbered,
    picture,
    raw,
    renamed,
    with_comments,
    workflow,
)
from benchmarks.odd_inputs.rows import Row

THREE = case("three-frames.mp4", "in.mp4")
NAMES, MANNERS = "Names", "Manners"


def _named(name: str) -> Make:
    return all_of(THREE, renamed("in.mp4", name))


_OUT = {"frames": 3}
NAMING = [
    Row(NAMES, "a colon in a relative name", _named("20:15:03.mp4"), "R 20:15:03.mp4 -o o.mp4", values=_OUT),
    Row(NAMES, "a colon and a blank in the output", THREE, "R in.mp4 -o a:␣b.mp4", values=_OUT),
    Row(NAMES, "a protocol's name", _named("file:a.mp4"), "R file:a.mp4 -o o.mp4", values=_OUT),
    Row(NAMES, "concat:", _named("concat:a|b.mp4"), "R concat:a|b.mp4 -o o.mp4", values=_OUT),
    Row(NAMES, "a percent sign", _named("take%03d.mp4"), "R take%03d.mp4 -o 100%d.mp4", values=_OUT),
    Row(
        NAMES,
        "a percent sign in pictures",
        all_of(raw("%d/n.txt", ""), numbered("%d", [1, 2])),
        "R %d -o o.mp4",
        values={"frames": 2},
    ),
    Row(NAMES, "a bracket, a star, a quote", _named("a[1]*'\".mp4"), "R a[1]*'\".mp4 -o o*[1].mp4", values=_OUT),
    Row(NAMES, "a dash at the begin", _named("-a.mp4"), "R ./-a.mp4 -o ./-o.mp4", values=_OUT),
    Row(NAMES, "a line break", _named("a\nb.mp4"), "R a␊b.mp4 -o o␊2.mp4", values=_OUT),
    Row(NAMES, "255 bytes", _named("ä" * 125 + "x.mp4"), f"R {'ä' * 125}x.mp4 -o {'ö' * 125}y.mp4", values=_OUT),
    Row(NAMES, "255 bytes, degraded", THREE, f"degrade in.mp4 -o {'ö' * 125}y.mp4 --quiet", values=_OUT),
    Row(
        NAMES,
        "a report of 255 bytes",
        THREE,
        f"metrics in.mp4 --reference in.mp4 --only psnr --json {'ö' * 125}.json",
        output=f"{'ö' * 125}.json",
    ),
    Row(
        NAMES, "a report of 300 bytes", THREE, f"score in.mp4 --judge technical --json {'ö' * 150}.json", 1, "too long"
    ),
    Row(NAMES, "256 bytes", THREE, f"R in.mp4 -o {'ö' * 126}.mp4", 1, "too long"),
    Row(NAMES, "upper case", _named("IN.MP4"), "R IN.MP4 -o OUT.MKV --preset ffv1", values=_OUT),
    Row(
        NAMES,
        "composed and decomposed umlauts",
        all_of(_named("a\u0308.mp4"), raw("\u00e4.mp4", "mine")),
        "R a\u0308.mp4 -o o\u0308.mp4",
        values=_OUT,
    ),
    Row(NAMES, "an emoji and a blank at the end", _named("🎬 .mp4"), "R 🎬␣.mp4 -o 🎞␣.mp4", values=_OUT),
    Row(NAMES, "a name that is no Unicode", _named("\udcff.mp4"), "R \udcff.mp4 -o o.mp4", values=_OUT),
    Row(
        NAMES,
        "Cyrillic on a console of code page 1252",
        THREE,
        "R in.mp4 -o выход.mkv",
        environment={"PYTHONIOENCODING": "cp1252"},
        values=_OUT,
    ),
    Row(
        NAMES,
        "Chinese on an ASCII console, degraded",
        THREE,
        "degrade in.mp4 -o 输出.mp4",
        environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        values=_OUT,
    ),
    Row(
        NAMES,
        "a notice on a console of code page 437",
        case("windows-media.wmv", "in.wmv"),
        "R in.wmv -o ŝ.mkv",
        0,
        "converted to flac",
        environment={"PYTHONIOENCODING": "cp437"},
    ),
]

_FACE = "restore in.mp4 -o o.mp4 --model nobody"
COMMAND_LINE = [
    Row(MANNERS, "a wish of faces that is none", THREE, f"{_FACE} --faces prettiest", 1, "prettiest"),
    Row(
        MANNERS,
        "a reference picture without a face",
        all_of(THREE, picture("grey.png")),
        f"{_FACE} --faces ref:grey.png",
        1,
        "shows no face",
    ),
    Row(MANNERS, "whole frames and faces", THREE, f"{_FACE} --whole-frame --faces largest", 1, "leave out one"),
    Row(MANNERS, "a suffix that doesn't fit", THREE, "R in.mp4 -o o.webm", 1, "o.webm"),
    Row(MANNERS, "a video as one picture", THREE, "R in.mp4 -o o.png --preset png", 1, "one picture"),
    Row(MANNERS, "a folder that isn't there", THREE, "R in.mp4 -o no/o.mp4", 1, "does not exist"),
    Row(MANNERS, "nothing to resume", THREE, "R in.mp4 -o o.mp4 --resume", 0, "nothing to resume"),
    Row(MANNERS, "a reader that leaves", THREE, "degrade --list-presets", pipe=True),
    Row(
        MANNERS,
        "a workflow with a BOM",
        all_of(workflow("f.json", encoding="utf-8-sig"), THREE),
        "run f.json -i . -o done --server http://127.0.0.1:9 --patience 0",
        1,
        "127.0.0.1:9",
    ),
    Row(
        MANNERS,
        "a workflow in UTF-16",
        all_of(workflow("f.json", encoding="utf-16"), THREE),
        "run f.json -i . -o done --server http://127.0.0.1:9 --patience 0",
        1,
        "127.0.0.1:9",
    ),
    Row(
        MANNERS,
        "a workflow with comments",
        all_of(workflow("f.json", with_comments), THREE),
        "run f.json -i . -o done --server http://127.0.0.1:9",
        1,
        "f.json",
    ),
    Row(
        MANNERS,
        "a workflow cut short",
        all_of(workflow("f.json", lambda text: text[:200]), THREE),
        "run f.json -i . -o done",
        1,
        "f.json",
    ),
    Row(
        MANNERS,
        "a workflow as the page saves it",
        all_of(raw("f.json", '{"nodes": [], "links": []}'), THREE),
        "run f.json -i . -o done",
        1,
        "API",
    ),
    Row(
        MANNERS,
        "a web page for a workflow",
        all_of(raw("f.json", "<!DOCTYPE html>"), THREE),
        "run f.json -i . -o done",
        1,
        "f.json",
    ),
    Row(
        MANNERS,
        "a folder without videos",
        all_of(workflow("f.json"), raw("clips/a.txt", "")),
        "run f.json -i clips -o done",
        1,
        "clips",
    ),
    Row(MANNERS, "a judge that there isn't", THREE, "score in.mp4 --judge nobody", 1, "nobody"),
    Row(MANNERS, "a metric that there isn't", THREE, "metrics in.mp4 --only beauty", 1, "beauty"),
    Row(MANNERS, "a setting that there isn't", THREE, "degrade in.mp4 -o o.mp4 --set beauty=1", 1, "beauty"),
]

ROWS = [*NAMING, *COMMAND_LINE]
