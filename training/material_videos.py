"""The moving clips of vividface-nano's material as videos, for ``vividface curate`` to choose from.

``python -m training.material_videos data/nano films/ && vividface curate films/ -o dataset/ --frames 17 --size 256 …``

Each is named by its clip's key, without loss (FFV1). The manifest that curation writes is what ``data.manifest`` and
``training.evaluation.ablation curated --manifest`` take. Stills aren't curated, and stay.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from tqdm import tqdm

from training.command import exit_status
from training.data.random_clips import Material

RATE = Fraction(24)


def write_videos(material: Path, out: Path) -> int:
    """Write what is missing; returns how many moving clips there are.

    Raises:
        MissingWeights: the folder isn't prepared.
    """
    source, count = Material(material), 0
    out.mkdir(parents=True, exist_ok=True)
    for key in tqdm(source.keys, unit="clip", file=sys.stderr):
        if source.length(key) > 1:
            count += 1
            path = out / f"{key}.mkv"
            if not path.is_file():
                _write(path, source.clip(key).numpy())
    return count


def _write(path: Path, frames: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with av.open(str(partial), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    partial.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path, help="folder of training.nano.prepare")
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    return exit_status(lambda: print(f"{write_videos(args.material, args.out)} videos in {args.out}"))


if __name__ == "__main__":
    sys.exit(main())
