"""Rows are run: how each ended, what it told, whether a file was lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from benchmarks.odd_inputs.material import ROOT
from benchmarks.odd_inputs.rows import Row
from benchmarks.odd_inputs.worker import LIMIT, Outcome, Worker
from vividface_core.errors import VividFaceError
from vividface_core.video.frame import Frame
from vividface_core.video.info import VideoInfo
from vividface_core.video.pixel_formats import layout, planes
from vividface_core.video.reader import VideoReader, probe


@dataclass(frozen=True)
class Finding:
    """What became of a row.

    Attributes:
        wrong: what isn't as it should be; empty: all is well.
        lost: names of files that are gone or changed.
        carried: facts of the output.
    """

    row: Row
    outcome: Outcome
    wrong: str
    lost: tuple[str, ...]
    carried: str

    def save(self, path: Path) -> None:
        """Keep all but the row."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"outcome": asdict(self.outcome), "wrong": self.wrong, "lost": self.lost, "carried": self.carried}
        path.write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, row: Row, path: Path) -> Finding:
        """What :meth:`save` kept of a row."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(row, Outcome(**kept["outcome"]), kept["wrong"], tuple(kept["lost"]), kept["carried"])


def run_row(row: Row, folder: Path, model: Path, worker: Worker) -> Finding:
    """Make the input in an empty folder, run the command there, look at what it left."""
    folder.mkdir(parents=True)
    row.make(folder)
    before = contents(folder)
    arguments = row.arguments(model)
    outside = bool(row.environment) or row.pipe
    outcome = _program(row, arguments, folder) if outside else worker.run(arguments, folder)
    after = contents(folder)
    lost = tuple(name for name, digest in before.items() if after.get(name) != digest)
    left = [name for name in after if name not in before and ("partial" in name or ".vividface/" in name)]
    output = folder / made if (made := row.made()) else None
    wrong, carried = _judge(row, outcome, folder, output)
    if lost:
        wrong = wrong or f"lost: {', '.join(lost)}"
    if left:
        wrong = wrong or f"left behind: {', '.join(left)}"
    return Finding(row, outcome, wrong, lost, carried)


def contents(folder: Path) -> dict[str, str]:
    """A hash for each file below a folder, links by what they name."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            key = os.fsencode(path.relative_to(folder)).decode("utf-8", "replace")
            if path.is_symlink():
                found[key] = os.readlink(path)
            elif path.is_file():
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[key] = "special"
    return found


def _program(row: Row, arguments: list[str], folder: Path) -> Outcome:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "vividface_core.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **row.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out = process.stdout.readline() if row.pipe else b""
        if row.pipe:
            process.stdout.close()
            process.stdout = None
        rest, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Outcome(None, "", "", LIMIT, f"hangs (over {LIMIT:.0f} s)")
    text = [data.decode("utf-8", "replace") for data in (out + (rest or b""), err)]
    return Outcome(process.returncode, *text, time.monotonic() - began)


def _judge(row: Row, outcome: Outcome, folder: Path, output: Path | None) -> tuple[str, str]:
    """What is wrong, and the facts of the output."""
    if outcome.faults:
        return outcome.faults, ""
    said = outcome.err + outcome.out
    if outcome.status != row.status:
        return f"exit status {outcome.status} instead of {row.status}", ""
    missing = [words for words in row.told.split("|") if words not in said]
    if missing:
        return f"not told: {missing[0]}", ""
    restores = row.words.startswith("R ")
    if not row.told and restores and outcome.told:
        return f"told needlessly: {outcome.told[0]}", ""
    if row.status == 0 and row.made() and not (output and output.exists()):
        return "no output", ""
    if row.status == 0 and output is not None and output.suffix != ".json":
        try:
            return _compare(row, folder, output)
        except VividFaceError as error:
            return f"the output can't be read: {error}", ""
    return "", ""


def _compare(row: Row, folder: Path, output: Path) -> tuple[str, str]:
    made = facts_of(output)
    wrong = ""
    if row.same:
        source = facts_of(folder / row.arguments(folder)[1])
        off = [name for name in row.same.split() if source[name] != made[name]]
        wrong = f"{off[0]}: {source[off[0]]} became {made[off[0]]}" if off else ""
    for name, value in row.values.items():
        if made[name] != value:
            wrong = wrong or f"{name} is {made[name]} instead of {value}"
    return wrong, _told(made)


def facts_of(path: Path) -> dict[str, object]:
    """What the table compares of a file."""
    info = probe(path)
    with VideoReader(path) as reader:
        frames = list(reader)
    return {
        "frames": len(frames),
        "size": f"{info.width}x{info.height}",
        "fps": info.fps,
        "times": [round(float((frame.pts - frames[0].pts) * info.time_base), 3) for frame in frames],
        "turned": (info.rotation, info.mirrored),
        "depth": info.bit_depth,
        "format": info.pix_fmt,
        "alpha": info.has_alpha,
        "aspect": info.sample_aspect_ratio,
        "matrix": info.color.matrix,
        "transfer": info.color.transfer,
        "fields": info.fields,
        "hdr": info.hdr,
        "sound": [s.codec for s in info.streams if s.kind == "audio"],
        "languages": [s.language for s in info.streams if s.kind in ("audio", "subtitle")],
        "subtitles": [s.codec for s in info.streams if s.kind == "subtitle"],
        "pictures": [s.codec for s in info.streams if s.kind in ("picture", "attachment")],
        "chroma": _chroma(frames),
        "info": info,
        **_of_container(path if info.kind == "video" else None),
    }


def _of_container(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    with av.open(str(path)) as container:
        places = [value for name, value in container.metadata.items() if "location" in name]
        return {"chapters": len(container.chapters()), "place": places[0] if places else None}


def _chroma(frames: list[Frame]) -> tuple[int, int] | None:
    """Least and largest value of the colour planes; ``None``: there are none."""
    if not frames or layout(frames[0].native.format.name).family != "yuv":
        return None
    values = [plane for frame in frames for plane in planes(frame.native)[1:3]]
    return min(int(plane.min()) for plane in values), max(int(plane.max()) for plane in values)


def _told(facts: dict[str, object]) -> str:
    info: VideoInfo = facts["info"]
    pieces = [f"{facts['frames']} × {info.width}×{info.height} {info.codec} {info.pix_fmt}"]
    pieces += [f"{float(info.fps):.3f}".rstrip("0").rstrip(".") + " fps"] if info.kind == "video" else []
    pieces += [f"turned {info.rotation}°"] * bool(info.rotation) + ["mirrored"] * info.mirrored
    pieces += [f"pixels {info.sample_aspect_ratio}"] * bool(info.sample_aspect_ratio)
    pieces += [f"fields {info.fields}"] * bool(info.fields) + ["HDR10 metadata"] * bool(info.hdr)
    pieces += [f"{info.color.transfer}"] * (info.color.transfer in ("smpte2084", "arib-std-b67"))
    pieces += [str(stream.codec) for stream in info.streams]
    return ", ".join(pieces)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
