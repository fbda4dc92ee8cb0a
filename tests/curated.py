"""A curated data set of real faces, small: videos, previews, kept clips and the manifest's rows."""

from __future__ import annotations

import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any

from tests.assets import clip, run_ffmpeg
from training.curation.review.previews import find_preview
from vividface_core.mllm.judges.panel import Panel
from vividface_core.mllm.judges.sampling import Sampling
from vividface_core.mllm.judges.technical import TechnicalJudge
from vividface_core.mllm.rubric import RUBRIC
from vividface_core.mllm.scoring import judge_id

FACES = {
    "single_face": (294, 185, 300),
    "wolfgang": (432, 205, 310),
    "franck": (198, 150, 240),
    "cap12": (207, 168, 200),
    "face_noface": (440, 285, 440),
    "cap13": (204, 170, 180),
    "carphone": (88, 66, 95),
}
"""Of each clip the square around its face: centre x, centre y, side."""
SPOILS = {
    "clean": "null",
    "blurred": "gblur=sigma=4",
    "noisy": "noise=alls=25:allf=t:all_seed=1",
    "dark": "eq=brightness=-0.35",
}
THRESHOLD = 80.0
FRAMES = 13


def judge() -> Panel:
    """Two that look at different frames, so that they differ a little."""
    return Panel([TechnicalJudge(Sampling(fps=4)), TechnicalJudge(Sampling(fps=24, frames=8))])


_MADE: dict[tuple[Any, ...], tuple[Path, list[dict[str, Any]]]] = {}


def data_set(root: Path, faces: int = 5, starts: tuple[int, ...] = (0,)) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Folder of videos, the data set's folder, and its rows: each face clean and spoiled in three ways; the last face
    is too small, and every second clip that is noisy counts as a duplicate of the clean one. Made once, then copied."""
    if (faces, starts) not in _MADE:
        first = root.with_name(f"{root.name}-first")
        _MADE[faces, starts] = first, _make(first, faces, starts)
    first, rows = _MADE[faces, starts]
    shutil.copytree(first, root, dirs_exist_ok=True)
    return root / "videos", root / "set", copy.deepcopy(rows)


def _make(root: Path, faces: int, starts: tuple[int, ...]) -> list[dict[str, Any]]:
    videos, out, rows = root / "videos", root / "set", []
    (out / "clips").mkdir(parents=True)
    panel = judge()
    for number, name in enumerate(list(FACES)[:faces]):
        for start in starts:
            for spoil in SPOILS:
                rows.append(_row(videos, out, panel, (name, start, spoil), number == faces - 1))
    for clean, noisy in list(zip(rows[0::4], rows[2::4]))[::2]:
        if noisy["stage"] == "judge":
            noisy.update(
                state="dropped",
                stage="duplicate",
                duplicate_of=clean["key"],
                judge=None,
                judgement=None,
                causes=[f"the same as {clean['key']}, which is better"],
                final=None,
                tier=None,
            )
    for row in rows:
        if row["state"] != "kept":
            (out / "clips" / f"{row['key']}.mp4").unlink(missing_ok=True)
            row["clip"] = None
        find_preview(row, out, videos)
    return rows


def _row(videos: Path, out: Path, panel: Panel, what: tuple[str, int, str], small: bool) -> dict[str, Any]:
    name, start, spoil = what
    video = f"{name}/{name}-{start}-{spoil}.mp4"
    (videos / name).mkdir(parents=True, exist_ok=True)
    run_ffmpeg(
        "-i",
        clip(name),
        "-vf",
        f"trim=start_frame={start}:end_frame={start + FRAMES},setpts=PTS-STARTPTS,"
        f"crop=trunc(iw/2)*2:trunc(ih/2)*2,{SPOILS[spoil]}",
        "-an",
        "-frames:v",
        FRAMES,
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        16,
        "-pix_fmt",
        "yuv420p",
        videos / video,
    )
    key = f"{name}-{start}-{spoil}-{hashlib.sha256(video.encode()).hexdigest()[:8]}-000000-0"
    row: dict[str, Any] = {
        "key": key,
        "video": video,
        "content": hashlib.sha256((videos / video).read_bytes()).hexdigest(),
        "first": 0,
        "frames": FRAMES,
        "fps": "24/1",
        "track": 0,
        "crop": list(FACES[name]),
        "face_side": FACES[name][2] / 1.5,
        "detector_score": 0.99,
        "figures": {},
        "hash": "0" * 16,
        "state": "dropped",
        "stage": "technical",
        "causes": [],
        "duplicate_of": None,
        "judge": None,
        "judgement": None,
        "final": None,
        "tier": None,
        "overruled": None,
        "clip": None,
    }
    if small:
        row["causes"] = [f"face of {row['face_side']:.0f} pixels, under 96", "too dark: mean 31, under 40"]
        return row
    _cut(videos / video, row["crop"], out / "clips" / f"{key}.mp4")
    told = panel.judge(out / "clips" / f"{key}.mp4").to_json()
    told.pop("seconds")
    final = told["assessment"]["final"]
    kept = final > THRESHOLD
    row |= {
        "figures": told["members"][0]["facts"]["measures"],
        "judge": judge_id(panel.identity),
        "judgement": told,
        "final": final,
        "tier": RUBRIC.tier(final),
        "stage": "judge",
        "state": "kept" if kept else "dropped",
        "causes": [] if kept else [f"final score {final:.1f}, not above {THRESHOLD:g}"],
        "clip": f"clips/{key}.mp4",
    }
    return row


def _cut(video: Path, crop: tuple[float, float, float], target: Path) -> None:
    x, y, side = crop
    run_ffmpeg(
        "-i",
        video,
        "-vf",
        f"crop={side}:{side}:{x - side / 2}:{y - side / 2},scale=192:192",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        14,
        "-pix_fmt",
        "yuv420p",
        target,
    )
