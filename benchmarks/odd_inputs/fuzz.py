"""Files with flipped bytes: every run ends with a result or with one sentence."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.odd_inputs.material import X264, ffmpeg
from benchmarks.odd_inputs.worker import Outcome, Worker

FILES = 200
LIMIT = 60.0
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
        header: only the first 2 kB are damaged, where the structure is told.
    """

    suffix: str
    seed: int
    share: float
    header: bool

    def of(self, data: bytes) -> bytes:
        """The file's bytes with some of them replaced."""
        draw, damaged = random.Random(f"{self.suffix} {self.seed}"), bytearray(data)
        end = min(len(data), 2048) if self.header else len(data)
        for _ in range(max(1, round(self.share * end))):
            damaged[draw.randrange(end)] = draw.randrange(256)
        return bytes(damaged)

    def __str__(self) -> str:
        return f"{self.suffix} seed {self.seed} ({self.share:.2%} of {'the header' if self.header else 'all'})"


def damages(count: int = FILES) -> Iterator[Damage]:
    """So many files: containers in turn; every other time in the header only, in rising amounts."""
    for number in range(count):
        suffix, seed = list(CONTAINERS)[number % len(CONTAINERS)], number // len(CONTAINERS)
        yield Damage(suffix, seed, (0.0005, 0.002, 0.01, 0.04)[seed // 2 % 4], bool(seed % 2))


def sources(folder: Path) -> dict[str, bytes]:
    """The whole files, by suffix."""
    made = {}
    for suffix, options in CONTAINERS.items():
        path = folder / f"whole{suffix}"
        tone = ("-f", "lavfi", "-i", "sine=r=48000:d=0.25")
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=0.25", *tone, *options, path)
        made[suffix] = path.read_bytes()
    return made


def run_one(damage: Damage, whole: bytes, folder: Path, model: Path, worker: Worker) -> tuple[Outcome, str]:
    """Restore one damaged file. Returns how it ended, and what is wrong with that; empty: nothing."""
    path = folder / f"{damage.seed}{damage.suffix}"
    path.write_bytes(damage.of(whole))
    preset, suffix = OUTPUTS[damage.seed % len(OUTPUTS)].split()
    output = folder / f"out-{damage.seed}-{damage.suffix[1:]}{suffix}"
    words = f"restore {path} -o {output} --preset {preset} --whole-frame --model {model} --quiet".split()
    outcome = worker.run(words, folder)
    return outcome, _wrong(outcome, output)


def _wrong(outcome: Outcome, output: Path) -> str:
    if outcome.faults:
        return outcome.faults
    if outcome.status == 0:
        return "" if output.exists() else "no result, though it says so"
    if output.exists():
        return "a result, though it failed"
    return "" if outcome.status == 1 and len(outcome.err.strip().splitlines()) >= 1 and outcome.told else "no sentence"
