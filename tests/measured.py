"""Clips to measure, without a conversion of colours on the way, and another program's reading of them."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from tests.assets import clip, ffmpeg, run_ffmpeg


def lossless(path: Path, start: int = 0, frames: int = 20, size: str = "176:144") -> Path:
    """Part of a real video of a man who speaks in a car, as RGB."""
    run_ffmpeg(
        "-i",
        clip("carphone"),
        "-vf",
        f"trim=start_frame={start}:end_frame={start + frames},setpts=N/25/TB,scale={size},format=gbrp",
        "-r",
        25,
        "-an",
        "-c:v",
        "ffv1",
        path,
    )
    return path


def coded(path: Path, source: Path, crf: int) -> Path:
    """The same through H.264, still as RGB."""
    run_ffmpeg("-i", source, "-c:v", "libx264rgb", "-preset", "veryfast", "-crf", crf, path)
    return path


def pixels(path: Path, width: int = 176, height: int = 144) -> np.ndarray:
    """``[T, H, W, 3]`` uint8 as ffmpeg decodes it."""
    command = [ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


class Page(HTMLParser):
    """An HTML file's elements as ``(tag, attributes)``, its text, and the text by tag where it is of one piece."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a kind; ``kind`` stands for ``class``."""
        wanted = {key.replace("kind", "class").replace("_", "-"): value for key, value in attributes.items()}
        return [own for name, own in self.elements if name == tag and wanted.items() <= own.items()]
