"""What the tests of odd files share: a quick restorer in the real pipeline, and ffmpeg's own word on a result."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.assets import ffmpeg, run_ffmpeg
from tests.core.video.test_sources import Darker
from vividface_core.pipeline.restore import RestoreOptions, Result, restore_video

CASES = Path(__file__).parents[2] / "cases"
X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p".split()


def restore(source: Path, output: Path, preset: str = "h264", **options: object) -> Result:
    """The real pipeline; every pixel is changed, by a restorer that takes no time."""
    kept = {"whole_frame": True, "color": "none", "identity_guard": "off", **options}
    return restore_video(source, output, Darker(), RestoreOptions(preset=preset, **kept))


def make(
    path: Path, *options: object, size: str = "96x64", rate: int = 24, seconds: float = 0.5, sound: bool = False
) -> Path:
    """A moving test picture, with a tone of 440 Hz if wanted."""
    tone = ["-f", "lavfi", "-i", f"sine=r=48000:d={seconds}"] if sound else []
    run_ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}", *tone, *options, path)
    return path


def told(path: Path) -> str:
    """What the ffmpeg program says of a file, its first line left out."""
    said = subprocess.run([ffmpeg(), "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr
    return said[re.search("Input #0", said).start() :]


def errors_of(path: Path) -> str:
    """What the ffmpeg program complains of while it decodes everything in a file."""
    command = [ffmpeg(), "-v", "error", "-i", str(path), "-map", "0:v", "-map", "0:a?", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True).stderr
