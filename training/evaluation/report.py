"""Tables and pictures of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import write_report
from vividface_core.io.text import read_text

Entries = list[dict[str, Any]]


def table(entries: Entries, model: str, settings: dict[str, str]) -> str:
    """Every clip's figures and their means; with peers the means of each method only, and the settings tuned."""
    methods = list(entries[0]["scores"])
    return _by_method(entries, methods, settings) if len(methods) > 2 else _by_clip(entries, model)


def _by_clip(entries: Entries, model: str) -> str:
    lines = [
        "| clip | person | σ | r | δ | crf | PSNR | SSIM | LPIPS | temporal | identity | clean |",
        "|" + "---|" * 12,
    ]
    for entry in entries:
        d, scores = entry["degradation"], entry["scores"]
        drawn = f"{d['sigma']:.1f} | {d['scale']:.1f} | {d['noise']:.1f} | {d['crf']}"
        figures = " | ".join(_pair(scores["input"][key], scores[model][key], digits) for key, digits in COLUMNS)
        lines.append(f"| {entry['clip']} | {entry['person']} | {drawn} | {figures} | {entry['clean']:.2f} |")
    before, after = mean_scores(entries, "input"), mean_scores(entries, model)
    figures = " | ".join(f"**{_pair(before[key], after[key], digits)}**" for key, digits in COLUMNS)
    lines.append(f"| **mean** | | | | | | {figures} | **{np.mean([entry['clean'] for entry in entries]):.2f}** |")
    better = sum(entry["scores"][model]["psnr"] > entry["scores"]["input"]["psnr"] for entry in entries)
    lines.append(
        f"\nInput → output. Mean gain {after['psnr'] - before['psnr']:+.2f} dB PSNR, "
        f"{after['ssim'] - before['ssim']:+.4f} SSIM; LPIPS {after['lpips'] / before['lpips']:.2f} times and temporal "
        f"error {after['temporal'] / before['temporal']:.2f} times the input's; better PSNR on {better} of "
        f"{len(entries)} clips; lowest PSNR of a clean input {min(entry['clean'] for entry in entries):.2f} dB."
    )
    return "\n".join(lines)


COLUMNS = (("psnr", 2), ("ssim", 3), ("lpips", 3), ("temporal", 2), ("identity", 3))


def _pair(before: float, after: float, digits: int) -> str:
    return f"{before:.{digits}f} → {after:.{digits}f}"


def _by_method(entries: Entries, methods: list[str], settings: dict[str, str]) -> str:
    lines = ["| | PSNR ↑ | SSIM ↑ | LPIPS ↓ | temporal ↓ | identity ↑ | flow | s a frame |", "|" + "---|" * 8]
    for method in methods:
        means = mean_scores(entries, method)
        lines.append(
            f"| {method} | "
            + " | ".join(f"{means[key]:.{digits}f}" for key, digits in (*COLUMNS, ("flow", 2)))
            + f" | {means['seconds']:.3f} |"
        )
    lines += [f"\n{name}: the best of its settings on these clips, `{chosen}`." for name, chosen in settings.items()]
    return "\n".join(lines)


def mean_scores(entries: Entries, method: str) -> dict[str, float]:
    """Means over the clips."""
    rows = [entry["scores"][method] for entry in entries]
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


def file_stem(clip: str) -> str:
    """A clip's name as a file's."""
    return clip.replace("@", "-").replace("#", "-still-")


def save_pictures(entries: Entries, folder: Path) -> None:
    """``input | output | truth`` of each clip's middle frame, and ``strip.jpg`` with one clip of each person."""
    columns: dict[str, np.ndarray] = {}
    for entry in entries:
        views = [_picture(clip[len(clip) // 2]) for clip in entry["views"]]
        columns.setdefault(entry["person"], np.concatenate(views, axis=0))
        _save(np.concatenate(views, axis=1), folder / f"{file_stem(entry['clip'])}.jpg")
    _save(np.concatenate(list(columns.values()), axis=1), folder / "strip.jpg")


def _picture(frame: Tensor) -> np.ndarray:
    return (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=92)


def check_markers(page: Path, name: str) -> None:
    """
    Raises:
        InvalidOption: the page is missing, or lacks one of the markers between which :func:`write_between` writes.
    """
    content = read_text(page) if page.is_file() else ""
    start, end = content.find(f"<!-- {name} -->"), content.find(f"<!-- /{name} -->")
    if not 0 <= start < end:
        raise InvalidOption(
            f"{page} has no <!-- {name} --> with a <!-- /{name} --> after it; write them where it goes."
        )


def write_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` of a Markdown file.

    Raises:
        InvalidOption: there are no such markers; the page stays as it is.
    """
    check_markers(page, name)
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = read_text(page)
    head, _, rest = content.partition(start)
    tail = rest.partition(end)[2]
    write_report(page, f"{head}{start}\n{text}\n{end}{tail}")
