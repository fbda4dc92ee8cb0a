"""Clips for the gallery of the documentation: ``python -m training.gallery --page docs/gallery.md``.

Held-out faces, degraded with the VividFace paper's ranges and restored as :mod:`training.evaluate` does it: input on
the left half, output on the right one, at half speed. The page's script draws both over each other with a divider
between them. Written are the clips in the folder beside the page that has its name, and the list between the page's
markers.
"""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch import Tensor

from training.command import exit_status
from training.evaluate import FaceClip, label, material
from training.evaluation.held_out import CLIPS
from training.evaluation.report import check_markers, file_stem, write_between
from training.evaluation.restoring import as_used
from vividface_core.faces.detect import load_detector
from vividface_core.io.atomic import beside
from vividface_core.weights import load_restorer

RATE = Fraction(25, 2)
"""Half the speed of most of the clips: a face's flicker is seen better."""
QUALITY = "18"
"""x264's crf: what is to be seen are the restorer's faults, not the codec's."""


def write_clip(path: Path, frames: Tensor) -> None:
    """An MP4 that every browser plays, of ``[T, 3, H, W]``, RGB, 0…1, even sides; whole or not at all."""
    partial = beside(path, before=".", after=".partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=RATE, options={"crf": QUALITY, "preset": "slow"})
            stream.height, stream.width = frames.shape[2:]
            stream.pix_fmt = "yuv420p"
            for picture in (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def entry(folder: str, file: str, caption: str) -> str:
    """A clip of the page, as HTML that plays without the script, too."""
    return (
        f'<figure class="before-after">\n<video src="{folder}/{file}" autoplay loop muted playsinline></video>\n'
        f"<figcaption>{html.escape(caption)}</figcaption>\n</figure>"
    )


def make(page: Path, model: str, frames: int, clips: Sequence[FaceClip] = CLIPS) -> list[str]:
    """Write the clips of a page; returns its entries."""
    torch.manual_seed(0)
    restorer, detector = load_restorer(model), load_detector("mtcnn")
    restore = as_used(restorer)
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for clip, degradation, low, _ in material(clips, frames, restorer.native_size, detector):
        name = f"{file_stem(clip.name)}.mp4"
        write_clip(folder / name, torch.cat([low, restore(low)], 3))
        drawn = degradation.as_dict()
        entries.append(
            entry(
                folder.name,
                name,
                f"{clip.name}, {label(model)}: blur σ {drawn['sigma']:.1f}, {drawn['scale']:.1f} times fewer pixels a "
                f"side, noise {drawn['noise']:.1f}, H.264 at crf {drawn['crf']}",
            )
        )
    return entries


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True, help="Markdown with <!-- gallery --> and <!-- /gallery -->")
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=17)
    args = parser.parse_args(argv)

    def work() -> None:
        check_markers(args.page, "gallery")
        write_between(args.page, "gallery", "\n".join(make(args.page, args.model, args.frames)))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
