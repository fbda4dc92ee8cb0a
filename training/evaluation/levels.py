"""Does it help, and does it harm? One restorer at fixed degradations, from none to strong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.assets import perceptual_weights
from training.evaluation.harm import FaceMotion, chroma_error, eight_bits, face_psnr, false_colour, frame_psnr
from training.evaluation.restoring import Method
from vividface_core.degrade import Degradation
from vividface_core.degrade.footage import grey_of
from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.parse import load_parser

Level = tuple[float, float, float, int] | None
LEVELS: dict[str, Level] = {
    "none": None,
    "light": (0.6, 1.3, 2.0, 20),
    "web": (0.3, 1.5, 0.0, 33),
    "noise": (0.0, 1.0, 9.0, 18),
    "medium": (2.0, 2.5, 5.0, 22),
    "strong": (5.0, 3.5, 8.0, 24),
}
"""σ, scale, noise and crf of each."""
Clip = tuple[str, int, Tensor]
"""A clip's name, its seed and its frames."""


def degraded(level: Level, truth: Tensor, seed: int) -> Tensor:
    """A clip at a level; of no degradation the clip itself, in 8 bits as every input is."""
    if level is None:
        return eight_bits(truth)
    sigma, scale, noise, crf = level
    return Degradation(sigma, scale, noise, crf, seed)(truth)


@torch.inference_mode()
def measure(restore: Method, clips: Sequence[Clip], detector: FaceDetector) -> list[dict[str, Any]]:
    """One entry a level and clip, with each figure of the input and of what ``restore`` makes of it.

    ``psnr`` (dB; of an input without degradation ``None``), ``psnr_first`` and ``psnr_last`` (of the first and the last
    quarter of the frames), ``psnr_face`` (inside the face), ``lpips``, ``warped`` (flow-warped error inside the face,
    1/255), ``chroma`` (mean absolute error of Cb and Cr, of 255); ``warped_truth``; ``neutral``: the largest distance
    from neutral of the output's chroma where the same input is grey.
    """
    lpips, parser = perceptual_weights.load("lpips-alex"), load_parser("landmark-hull")
    entries = []
    for name, seed, truth in clips:
        motion = FaceMotion(truth, detector, parser)
        for level, values in LEVELS.items():
            low = degraded(values, truth, seed)
            began = time.perf_counter()
            out = restore(low)
            seconds = (time.perf_counter() - began) / len(low)
            entry: dict[str, Any] = {"level": level, "clip": name, "seconds": seconds}
            quarter = max(1, len(truth) // 4)
            for side, clip in (("input", low), ("output", out)):
                exact, each = level == "none" and side == "input", frame_psnr(clip, truth)
                entry[side] = {
                    "psnr": None if exact else float(each.mean()),
                    "psnr_first": None if exact else float(each[:quarter].mean()),
                    "psnr_last": None if exact else float(each[-quarter:].mean()),
                    "psnr_face": None if exact else face_psnr(clip, truth, motion.face),
                    "lpips": float(lpips(eight_bits(clip), eight_bits(truth)).mean()),
                    "warped": motion.error(clip),
                    "chroma": chroma_error(clip, truth),
                }
            entry["warped_truth"] = motion.error(truth)
            entry["neutral"] = false_colour(restore(grey_of(low)))
            entries.append(entry)
        print(f"{name}: " + ", ".join(_gain(entry) for entry in entries[-len(LEVELS) :]), flush=True)
    return entries


def _gain(entry: dict[str, Any]) -> str:
    before, after = entry["input"]["psnr"], entry["output"]["psnr"]
    return f"{entry['level']} " + (f"{after:.2f} dB" if before is None else f"{after - before:+.2f} dB")


def _last(entry: dict[str, Any], side: str) -> float:
    """How much better the last frames are than the first."""
    last, first = (entry[side][name] or 0.0 for name in ("psnr_last", "psnr_first"))
    return 0.0 if last == first else last - first


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By level: means of all figures of both sides, the gain's mean, its worst clip, and how often it is a loss; for
    ``none`` the output's PSNR in the gain's place. ``gain_face``: that of the pixels inside the face. ``late``: the
    gain in the last quarter of the frames less that of the first, which tells whether a model holds through a clip.
    ``warped_ratio`` is output over input, of the means and at worst; ``truth_ratio`` the same of the truth, which is
    what a perfect restorer would have."""
    result = {}
    for level in LEVELS:
        rows = [entry for entry in entries if entry["level"] == level]
        means = {
            side: {
                key: float(np.mean([row[side][key] for row in rows]))
                for key in rows[0][side]
                if rows[0][side][key] is not None
            }
            for side in ("input", "output")
        }
        gains = [row["output"]["psnr"] - (row["input"]["psnr"] or 0) for row in rows]
        worst = int(np.argmin(gains))
        late = [_last(row, "output") - _last(row, "input") for row in rows]
        ratios = [row["output"]["warped"] / row["input"]["warped"] for row in rows]
        truths = [row["warped_truth"] / row["input"]["warped"] for row in rows]
        result[level] = {
            **means,
            "gain": float(np.mean(gains)),
            "worst": gains[worst],
            "worst_clip": rows[worst]["clip"],
            "gain_face": float(
                np.mean([row["output"]["psnr_face"] - (row["input"]["psnr_face"] or 0) for row in rows])
            ),
            "late": float(np.mean(late)),
            "losses": sum(gain < 0 for gain in gains),
            "warped_truth": float(np.mean([row["warped_truth"] for row in rows])),
            "warped_ratio": means["output"]["warped"] / means["input"]["warped"],
            "warped_worst": max(ratios),
            "truth_ratio": float(np.mean([row["warped_truth"] for row in rows])) / means["input"]["warped"],
            "truth_worst": max(truths),
            "neutral": max(row["neutral"] for row in rows),
        }
    return result


def table(entries: Sequence[dict[str, Any]]) -> str:
    """The summary in Markdown."""
    lines = [
        "| degradation (σ / r / δ / crf) | PSNR | gain | in the face | worst clip | last frames | LPIPS | "
        "warped error in the face (truth) | × | worst × | truth × (worst) | chroma error | grey stays within |",
        "|" + "---|" * 13,
    ]
    for level, row in summary(entries).items():
        values = LEVELS[level]
        drawn = level if values is None else f"{level}: " + " / ".join(f"{value:g}" for value in values)
        before, after = row["input"], row["output"]
        clean = values is None
        lines.append(
            f"| {drawn} | {'∞' if clean else format(before['psnr'], '.2f')} → {after['psnr']:.2f} | "
            f"{'' if clean else format(row['gain'], '+.2f')} | "
            f"{format(row['gain_face'], '.2f' if clean else '+.2f')} | "
            f"{format(row['worst'], '.2f' if clean else '+.2f')} ({row['worst_clip']}) | {row['late']:+.2f} | "
            f"{before['lpips']:.3f} → {after['lpips']:.3f} | "
            f"{before['warped']:.2f} → {after['warped']:.2f} ({row['warped_truth']:.2f}) | {row['warped_ratio']:.2f} | "
            f"{row['warped_worst']:.2f} | {row['truth_ratio']:.2f} ({row['truth_worst']:.2f}) | "
            f"{before['chroma']:.2f} → {after['chroma']:.2f} | "
            f"128 ± {row['neutral']:.1f} |"
        )
    return "\n".join(lines)
