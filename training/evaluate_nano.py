"""Measure a restorer on held-out people.

``python -m training.evaluate_nano --table docs/nano.md --pictures docs/nano``

Each clip's face is cropped as the pipeline crops it, at the restorer's native size; that crop is the truth. It is
degraded with the VividFace paper's ranges (fixed seeds), which includes the bicubic return to the input's size, and
restored. PSNR and SSIM (Gaussian window, σ 1.5) are means over RGB frames rounded to 8 bits, by scikit-image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from training.held_out import CLIPS, HeldOut, face_clip
from vividface_core.degrade import Degradation, DegradationRanges
from vividface_core.faces.detect import load_detector
from vividface_core.weights import load_restorer

HEADER = """| clip | person | σ | r | δ | crf | PSNR in | PSNR out | SSIM in | SSIM out |
|---|---|---|---|---|---|---|---|---|---|"""


def quality(clip: Tensor, truth: Tensor) -> tuple[float, float]:
    """Mean PSNR (dB) and SSIM of ``[T, 3, H, W]`` clips, 0…1."""
    pairs = list(zip(*(_pictures(c) for c in (truth, clip))))
    psnr = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
    ssim = [
        structural_similarity(a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False)
        for a, b in pairs
    ]
    return float(np.mean(psnr)), float(np.mean(ssim))


def _pictures(clip: Tensor) -> np.ndarray:
    return (clip.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def evaluate(restorer, frames: int, pictures: Path | None, clips: list[HeldOut]) -> list[dict]:
    """One row a clip; ``pictures`` receives ``input | output | truth`` of each clip's middle frame, and ``strip.jpg``
    with one clip of each person in columns."""
    detector, rows, columns = load_detector("mtcnn"), [], {}
    for seed, clip in enumerate(clips, start=1000):
        truth = face_clip(clip, frames, restorer.native_size, detector)
        degradation = DegradationRanges().draw(seed)
        degraded = degradation(truth)
        restored = restorer.restore(degraded)
        before, after = quality(degraded, truth), quality(restored, truth)
        rows.append({"clip": clip, "degradation": degradation, "before": before, "after": after})
        print(f"{clip.name}: {before[0]:.2f} → {after[0]:.2f} dB, SSIM {before[1]:.4f} → {after[1]:.4f}", flush=True)
        if pictures:
            views = [_pictures(c[frames // 2][None])[0] for c in (degraded, restored, truth)]
            columns.setdefault(clip.person, np.concatenate(views, axis=0))
            _save(np.concatenate(views, axis=1), pictures / f"{clip.name.replace('@', '-')}.jpg")
    if pictures:
        _save(np.concatenate(list(columns.values()), axis=1), pictures / "strip.jpg")
    return rows


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=92)


def table(rows: list[dict]) -> str:
    """The rows and their means as a Markdown table."""
    lines = [HEADER]
    for row in rows:
        d: Degradation = row["degradation"]
        lines.append(
            f"| {row['clip'].name} | {row['clip'].person} | {d.sigma:.1f} | {d.scale:.1f} | {d.noise:.1f} | {d.crf} "
            f"| {row['before'][0]:.2f} | {row['after'][0]:.2f} | {row['before'][1]:.4f} | {row['after'][1]:.4f} |"
        )
    before, after = (np.mean([row[key] for row in rows], axis=0) for key in ("before", "after"))
    lines.append(
        f"| **mean** | | | | | | **{before[0]:.2f}** | **{after[0]:.2f}** | **{before[1]:.4f}** | **{after[1]:.4f}** |"
    )
    better = sum(row["after"][0] > row["before"][0] for row in rows)
    lines.append(
        f"\nMean gain {after[0] - before[0]:+.2f} dB PSNR, {after[1] - before[1]:+.4f} SSIM; "
        f"better PSNR on {better} of {len(rows)} clips."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    text = table(evaluate(load_restorer(args.model), args.frames, args.pictures, CLIPS))
    print(text)
    if args.table:
        start, end = "<!-- table -->", "<!-- /table -->"
        page = args.table.read_text()
        head, tail = page.split(start)[0], page.split(end)[1]
        args.table.write_text(f"{head}{start}\n{text}\n{end}{tail}")


if __name__ == "__main__":
    main()
