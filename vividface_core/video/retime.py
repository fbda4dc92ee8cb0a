"""A video at another, constant frame rate: frames are repeated or left out, none is made."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from vividface_core.io.file_names import scratch_prefix
from vividface_core.video.frame import Frame
from vividface_core.video.mux import mux
from vividface_core.video.presets import part_suffix
from vividface_core.video.source import VideoFrames
from vividface_core.video.writer import VideoWriter

_PRESET = "ffv1"
NTSC = Fraction(1000, 1001)


def rate_of(fps: float) -> Fraction:
    """Frames a second as an exact number: 29.97 is 30000/1001, 23.976 is 24000/1001."""
    ntsc = round(fps) * NTSC
    return ntsc if abs(float(ntsc) - fps) < 0.005 and fps != round(fps) else Fraction(fps).limit_denominator(1000)


def write_at_rate(
    source: VideoFrames, output: Path, rate: Fraction, report: Callable[[int, int | None], None] = lambda *_: None
) -> Path:
    """Write ``source`` at ``rate`` frames a second as ffv1, every sample as it was, with its sound; streaming.

    Each frame of the output is the one that a player shows at its time. The playing time stays.

    Args:
        report: ``report(done, total)`` frames of the source; may raise to stop.

    Raises:
        UnreadableVideo, UnwritableVideo: as reader and writer.
    """
    base = Fraction(1, math.lcm(source.info.time_base.denominator, rate.numerator))
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=scratch_prefix(output)) as folder:
        part = Path(folder) / f"part{part_suffix(_PRESET)}"
        info = replace(source.info, fps=rate, time_base=base)
        with VideoWriter(part, info, _PRESET) as writer:
            for frame in _at_rate(source, rate, base, report):
                writer.write(frame)
        mux([part], info, output, _PRESET)
    return output


def _at_rate(
    source: VideoFrames, rate: Fraction, base: Fraction, report: Callable[[int, int | None], None]
) -> Iterator[Frame]:
    unit, step = source.info.time_base, 1 / (rate * base)
    held: Frame | None = None
    first, number = Fraction(0), 0
    # Times that a container rounds, as Matroska does to milliseconds, may be later than meant by that much.
    slack = unit if 8 * unit * source.fps < 1 else Fraction(0)

    def until(end: Fraction) -> Iterator[Frame]:
        nonlocal number
        while held is not None and number / rate < end - first - slack:
            yield replace(held, index=number, pts=round(first / base + number * step), duration=round(step))
            number += 1

    for frame in source.read():
        if held is None:
            first = frame.pts * unit
        yield from until(frame.pts * unit)
        held = frame
        report(frame.index + 1, source.count)
    if held is not None:
        yield from until(held.pts * unit + (held.duration * unit or 1 / source.fps))
