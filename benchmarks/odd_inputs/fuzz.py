"""Files with flipped bytes: every run ends with a result or with one sentence."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.odd_inputs.material import X264, ffmpeg
from benchmarks.odd_inputs.worker import Outcome, Worker

FILES = 200
LIMIT = 60.0
HEADER = 2048
CONTAINERS = {
    ".mp4": (*X264, "-c:a", "aac"),
    ".mov": ("-c:v", "prores_ks", "-c:a", "pcm_s16le"),
    ".mkv": ("-c:v", "ffv1", "-c:a", "flac"),
    ".webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus"),
    ".avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
    ".ts": (*X264, "-c:a", "mp2"),
    ".wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    ".flv": ("-c:v", "flv1", "-c:a", "mp3", "-ar", "44100"),
}
"""The eight kinds of files, each with a codec that is usual in it."""
OUTPUTS = ("h264 .mp4", "ffv1 .mkv", "prores .mov", "ffv1 .avi", "h265 .mkv")
"""Presets and suffixes, in turn."""


@dataclass(frozen=True)
class Damage:
    """One damaged file.

    Attributes:
        seed: of the places and values; the same seed gives the same file.
        bytes: how many are replaced.
        header: only the first 2 kB are damaged, where the structure is told.
    """

    suffix: str
    seed: int
    bytes: int
    header: bool

    def of(self, data: bytes) -> bytes:
        """The file's bytes with some of them replaced."""
        draw, damaged = random.Random(f"{self.suffix} {self.seed}"), bytearray(data)
        end = min(len(data), HEADER) if self.header else len(data)
        for _ in range(self.bytes):
            damaged[draw.randrange(end)] = draw.randrange(256)
        return bytes(damaged)

    def __str__(self) -> str:
        return f"{self.suffix}, seed {self.seed}, {self.bytes} bytes{' of the header' * self.header}"


def damages(count: int = FILES) -> Iterator[Damage]:
    """So many files: containers in turn; every other time in the header only; one byte to sixty-four."""
    for number in range(count):
        suffix, seed = list(CONTAINERS)[number % len(CONTAINERS)], number // len(CONTAINERS)
        yield Damage(suffix, seed, (1, 3, 10, 64)[seed // 2 % 4], bool(seed % 2))


def sources(folder: Path, suffixes: Iterable[str] = CONTAINERS) -> dict[str, bytes]:
    """The whole files, by suffix."""
    made = {}
    for suffix in suffixes:
        path = folder / f"whole{suffix}"
        tone = ("-f", "lavfi", "-i", "sine=r=48000:d=0.25")
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=0.25", *tone, *CONTAINERS[suffix], path)
        made[suffix] = path.read_bytes()
    return made


@dataclass(frozen=True)
class Ending:
    """How a run with a damaged file ended.

    Attributes:
        wrong: what must not be; empty: it ended with a result or with a sentence.
    """

    damage: Damage
    outcome: Outcome
    wrong: str


def run_one(damage: Damage, whole: bytes, folder: Path, model: Path, worker: Worker) -> Ending:
    """Restore one damaged file."""
    path = folder / f"{damage.seed}{damage.suffix}"
    path.write_bytes(damage.of(whole))
    before = path.read_bytes()
    preset, suffix = OUTPUTS[damage.seed % len(OUTPUTS)].split()
    output = folder / f"out-{damage.seed}-{damage.suffix[1:]}{suffix}"
    words = f"restore {path} -o {output} --preset {preset} --whole-frame --model {model} --quiet".split()
    outcome = worker.run(words, folder)
    wrong = _wrong(outcome, output)
    return Ending(damage, outcome, wrong or ("the input was changed" if path.read_bytes() != before else ""))


def _wrong(outcome: Outcome, output: Path) -> str:
    if outcome.faults:
        return outcome.faults
    if outcome.status == 0:
        return "" if output.exists() else "no result, though it says so"
    if output.exists():
        return "a result, though it failed"
    return "" if outcome.status == 1 and outcome.told else "no sentence"


def table(endings: list[Ending]) -> str:
    """Counts by container: Markdown."""
    lines = [
        "| container | files | restored | of these with a notice | refused in a sentence | wrong |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for suffix in CONTAINERS:
        those = [ending for ending in endings if ending.damage.suffix == suffix]
        done = [ending for ending in those if ending.outcome.status == 0 and not ending.wrong]
        noted = sum(bool(ending.outcome.told) for ending in done)
        wrong = sum(bool(ending.wrong) for ending in those)
        lines.append(
            f"| {suffix} | {len(those)} | {len(done)} | {noted} | {len(those) - len(done) - wrong} | {wrong} |"
        )
    slowest = max((ending.outcome.seconds for ending in endings), default=0.0)
    wrong = [ending for ending in endings if ending.wrong]
    lines += ["", f"{len(endings)} files, {len(wrong)} wrong; none took longer than {slowest:.0f} s."]
    lines += [f"- {ending.damage}: {ending.wrong}" for ending in wrong]
    return "\n".join(lines)
