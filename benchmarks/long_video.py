"""Does memory stay flat over a long video? ``python -m benchmarks.long_video [--frames 250 1000] [--size 512]``.

For each length a real video (repeated as needed) is restored whole-frame in overlapping windows by the command, in a
process of its own, whose peak memory counts. ``--json FILE`` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import torch


def film(source: Path, target: Path, frames: int, size: int) -> None:
    """``frames`` frames of ``size``×``size``: the middle square of ``source``, there and back as often as needed."""
    import av

    from vividface_core.video.source import VideoFrames

    pictures = []
    for frame in VideoFrames(source).read():
        rgb, (height, width) = frame.rgb(), frame.rgb().shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = rgb[None, :, top : top + side, left : left + side]
        resized = torch.nn.functional.interpolate(square, (size, size), mode="bicubic", antialias=True)[0]
        pictures.append((resized.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
        if len(pictures) == 48:
            break
    path = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width = stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "ultrafast"}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures[path[number % len(path)]], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def measure(video: Path, output: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds and peak memory (GiB) of one run of the command."""
    command = [
        "restore",
        video,
        "-o",
        output,
        "--model",
        args.model,
        "--whole-frame",
        "--size",
        args.size,
        "--window",
        args.window,
        "--overlap",
        args.overlap,
        "--device",
        args.device,
        "--quiet",
    ]
    began = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-m", "vividface_core.cli.main", *map(str, command)],
        check=True,
        text=True,
        capture_output=True,
    ).stdout
    return {"seconds": time.monotonic() - began, "peak_gib": float(said.split("peak memory ")[1].split()[0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, help="any real video")
    parser.add_argument("--frames", type=int, nargs="+", default=(250, 1000))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--window", type=int, default=17)
    parser.add_argument("--overlap", type=int, default=4)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in args.frames:
            source = Path(folder) / f"{frames}.mp4"
            film(args.video, source, frames, args.size)
            rows.append({"frames": frames, **measure(source, Path(folder) / f"{frames}-out.mp4", args)})
            print(
                f"{frames:6d} frames of {args.size}×{args.size}: {rows[-1]['peak_gib']:.2f} GiB, "
                f"{rows[-1]['seconds']:.0f} s",
                flush=True,
            )
    if args.json:
        settings = {key: getattr(args, key) for key in ("size", "window", "overlap", "model", "device")}
        args.json.write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
