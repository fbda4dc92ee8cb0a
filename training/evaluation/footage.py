"""Sheets of real footage, to look at: ``python -m training.evaluation.footage clip.mpg film.mp4@120 --out sheets/``

For each file the frames from ``@START`` on (0 where none is given) go through the whole pipeline at its defaults. The
sheet shows three of them, one a row, cut around the largest face and enlarged three times: input on the left, output on
the right. There is no truth, so the table beside it tells only how much was changed (PSNR of the output against the
input, inside the cut) and how much more or less the face flickers than in the input (flow-warped difference, along the
input's own flow).
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.evaluation.harm import FaceMotion, psnr, to_bytes
from training.evaluation.report import write_between
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import FaceDetector, load_detector
from vividface_core.faces.parse import load_parser
from vividface_core.pipeline.restore import restore_frames
from vividface_core.restorers.base import Restorer
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer

ENLARGED = 3
SHOWN = 3
"""Frames of a sheet."""
MARGIN = 1.7
"""Side of the cut over the longer side of the face's box."""
LARGEST = 240
"""Side of the cut at most, in pixels; of a larger face the middle is shown."""
Box = tuple[int, int, int, int]


def read_clip(place: str, frames: int) -> Tensor:
    """``[T, 3, H, W]``, 0…1, T ≤ ``frames``, of ``FILE`` or ``FILE@START``.

    Raises:
        InvalidOption: no number behind the @.
        UnreadableVideo: no video, or no frame there.
    """
    file, at, start = place.rpartition("@")
    if not at:
        file, start = place, "0"
    if not start.isdecimal():
        raise InvalidOption(f"{place}: what follows the @ is the number of a frame.")
    return torch.stack([frame.rgb() for frame in islice(VideoFrames(file, int(start)).read(), frames)])


def face_cut(frame: Tensor, detector: FaceDetector) -> Box | None:
    """Top, bottom, left and right of a square around the largest face of ``[3, H, W]``; ``None`` without a face."""
    found = detector.detect(frame[None])[0]
    if not found:
        return None
    box = max((face.box for face in found), key=lambda box: float((box[2] - box[0]) * (box[3] - box[1])))
    left, top, right, bottom = map(float, box)
    height, width = frame.shape[-2:]
    side = int(min(MARGIN * max(right - left, bottom - top), LARGEST, height, width))
    x = int(np.clip((left + right - side) / 2, 0, width - side))
    y = int(np.clip((top + bottom - side) / 2, 0, height - side))
    return y, y + side, x, x + side


def measure(clip: Tensor, restorer: Restorer, detector: FaceDetector) -> tuple[dict[str, float], Image.Image] | None:
    """Figures and sheet of a clip; ``None`` where no face is found in its middle frame."""
    cut = face_cut(clip[len(clip) // 2], detector)
    if cut is None:
        return None
    restored, _ = restore_frames(clip, restorer)
    top, bottom, left, right = cut
    pair = [frames[..., top:bottom, left:right] for frames in (clip, restored)]
    motion = FaceMotion(pair[0], detector, load_parser("landmark-hull"))
    before, after = (motion.error(part) for part in pair)
    figures = {
        "frames": len(clip),
        "face": round((bottom - top) / MARGIN),
        "change": _change(*pair),
        "warped_input": before,
        "warped_output": after,
    }
    places = np.linspace(0, len(clip) - 1, min(SHOWN, len(clip))).round().astype(int)
    return figures, sheet([part[places] for part in pair])


def _change(before: Tensor, after: Tensor) -> float:
    """PSNR, mean over the frames that differ; infinite where none does."""
    values = [value for one, other in zip(before, after) if np.isfinite(value := psnr(other[None], one[None]))]
    return float(np.mean(values)) if values else float("inf")


def sheet(sides: list[Tensor]) -> Image.Image:
    """Clips ``[n, 3, h, w]`` beside each other, a frame a row, :data:`ENLARGED` times as large."""
    picture = np.concatenate([np.concatenate(list(to_bytes(side))) for side in sides], 1)
    image = Image.fromarray(picture)
    return image.resize((ENLARGED * image.width, ENLARGED * image.height), Image.Resampling.BICUBIC)


def table(entries: list[dict]) -> str:
    """In Markdown, one row a clip."""
    lines = ["| clip | frames | face, px | output against input, dB | flicker in the face, × |", "|" + "---|" * 5]
    for entry in entries:
        ratio = entry["warped_output"] / entry["warped_input"]
        lines.append(
            f"| {entry['clip']} | {entry['frames']} | {entry['face']} | {entry['change']:.1f} | "
            f"{entry['warped_input']:.2f} → {entry['warped_output']:.2f} ({ratio:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", metavar="FILE[@START]")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=34)
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    restorer, detector = load_restorer(args.model), load_detector("mtcnn")
    entries = []
    for place in args.clips:
        got = measure(read_clip(place, args.frames), restorer, detector)
        if got is None:
            print(f"{place}: no face in the middle of it")
            continue
        figures, picture = got
        name = Path(place).name
        picture.save(args.out / f"{name}.jpg", quality=92)
        entries.append({"clip": name, **figures})
    text = table(entries)
    print(text)
    if args.table:
        write_between(args.table, "footage", text)
    if args.json:
        args.json.write_text(json.dumps({"model": args.model, "clips": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
