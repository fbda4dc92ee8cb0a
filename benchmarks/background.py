"""Faces restored behind an upscaler: ``python -m benchmarks.background WORK [--write docs/background.md]``.

Two held-out people side by side before a third clip, as a film of 1280×720; that is the truth. A fourth of its size
(320×180, faces about 45 and 55 pixels wide, H.264) is what there is. It is enlarged by Lanczos' filter (``--scale 4``)
and by Real-ESRGAN x4plus; behind either, the faces are restored from the small film and put into the large one
(``--background``). Figures of each face: LPIPS (AlexNet) and PSNR of the head's square, and the cosine of the face
embeddings, against the truth; means over the frames. And: how many samples outside the faces' squares differ from the
background's. ``WORK`` keeps the films; what lies there isn't made again. ``--write PAGE`` puts the table between the
page's ``background`` markers and a picture beside it, ``background/strip.jpg``.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.assets import clip, ffmpeg, run_ffmpeg
from training.assets import perceptual_weights
from training.evaluation.peers import RealEsrgan
from training.evaluation.report import write_between
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import load_detector
from vividface_core.faces.embed import FaceEmbedder, load_embedder
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import find_faces
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.pipeline.restore import restore_video
from vividface_core.restorers.base import Restorer
from vividface_core.video.frame import Frame
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer

FACTOR, WIDTH, HEIGHT = 4, 1280, 720
SQUARE = 256
"""Side at which heads are compared."""
LOSSLESS = ["-c:v", "ffv1", "-pix_fmt", "yuv420p"]


def make_truth(path: Path, frames: int) -> None:
    """Two people at their own size (the second 1.2 times as large, as her face is small) before a clip of bicycles."""
    people = (
        f"[0:v]trim=start_frame=300:end_frame={300 + frames},setpts=N/24/TB,fps=24,crop=460:360:180:0[l];"
        f"[1:v]trim=start_frame=5:end_frame={5 + frames},setpts=N/24/TB,fps=24,scale=768:432:flags=lanczos,"
        "crop=460:400[r];"
        f"[2:v]trim=end_frame={frames},setpts=N/24/TB,fps=24,scale={WIDTH}:{HEIGHT}:flags=lanczos,setsar=1[b];"
        "[b][l]overlay=120:180[x];[x][r]overlay=700:160[v]"
    )
    inputs = [one for name in ("wolfgang", "single_face", "bikes") for one in ("-i", clip(name))]
    run_ffmpeg(*inputs, "-filter_complex", people, "-map", "[v]", *LOSSLESS, "-frames:v", frames, path)


def make_small(truth: Path, path: Path) -> None:
    scale = f"scale={WIDTH // FACTOR}:{HEIGHT // FACTOR}:flags=bicubic"
    run_ffmpeg("-i", truth, "-vf", scale, "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", path)


def make_gan(small: Path, path: Path) -> None:
    """By Real-ESRGAN x4plus, frame by frame."""
    network = RealEsrgan("realesrgan-x4plus", 1.0)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "24", "-i", "-"]
    with subprocess.Popen([ffmpeg(), "-v", "error", "-y", *raw, *LOSSLESS, str(path)], stdin=subprocess.PIPE) as coder:
        assert coder.stdin is not None
        for number, frame in enumerate(VideoFrames(small).read()):
            large = network.large(frame.rgb())
            coder.stdin.write((large * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes())
            print(f"Real-ESRGAN: frame {number} done", flush=True)


@dataclass
class Figures:
    """Of one face in one film, a value a frame."""

    lpips: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    identity: list[float] = field(default_factory=list)

    def cells(self) -> str:
        return f"{np.mean(self.lpips):.3f} | {np.mean(self.identity):.3f} | {np.mean(self.psnr):.2f}"


class Measure:
    """Compares films with the truth, at the faces that are found there."""

    def __init__(self, truth: Path) -> None:
        self.truth = VideoFrames(truth)
        count = sum(1 for _ in self.truth.read())
        found = find_faces(self.truth, Shot(0, count), load_detector("mtcnn"), lambda *_: None)
        self.tracks = sorted(
            (track for track in found if track.last - track.first == count), key=lambda track: track.crops[0, 0]
        )
        self._embedder: FaceEmbedder = load_embedder()
        self._lpips = perceptual_weights.load("lpips-alex")

    @torch.inference_mode()
    def __call__(self, film: Path) -> list[Figures]:
        """Of each person, from the left."""
        figures = [Figures() for _ in self.tracks]
        for true, frame in zip(self.truth.read(), VideoFrames(film).read()):
            for track, row in zip(self.tracks, figures):
                self._add(row, track, frame.index, true.rgb(), frame.rgb())
        return figures

    def _add(self, row: Figures, track: FaceTrack, at: int, true: Tensor, shown: Tensor) -> None:
        one, other = (crop_clip(rgb, track.crops[at], SQUARE)[None] for rgb in (true, shown))
        row.lpips.append(float(self._lpips(one, other)))
        row.psnr.append(float(-10 * torch.log10((one - other).square().mean())))
        looks = [self._embedder.embed(rgb, track.landmarks[at][None])[0] for rgb in (true, shown)]
        row.identity.append(float(looks[0] @ looks[1]))


def changed_outside(output: Path, background: Path, tracks: list[FaceTrack]) -> tuple[int, int]:
    """How many samples as stored aren't the background's, of how many outside of ``tracks`` (of the small film)."""
    differing = total = 0
    for one, other in zip(VideoFrames(output).read(), VideoFrames(background).read()):
        for plane, (mine, theirs) in enumerate(zip(_planes(one), _planes(other))):
            step = 2 if plane else 1
            outside = np.ones(mine.shape, bool)
            for track in tracks:
                x, y, side = track.crops[one.index - track.first] * FACTOR / step
                edges = (y - side / 2, y + side / 2, x - side / 2, x + side / 2)
                top, bottom, left, right = (max(0, int(np.floor(edge))) for edge in edges)
                # A sample of colour stands for four pixels: one more at the end, to be whole.
                outside[top : bottom + 2, left : right + 2] = False
            differing, total = differing + int((mine != theirs)[outside].sum()), total + int(outside.sum())
    return differing, total


def _planes(frame: Frame) -> Iterator[np.ndarray]:
    """Luma and the two colour differences as stored."""
    for plane in frame.native.planes:
        yield np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


@dataclass
class Film:
    """An enlarged film, and the one with restored faces in it."""

    name: str
    background: Path
    restored: Path


def make_films(work: Path, small: Path, restorer: Restorer, gan: bool) -> list[Film]:
    """All films, where they aren't there yet."""
    lanczos, by_gan = work / "lanczos.mkv", work / "gan.mkv"
    if not lanczos.exists():
        restore_video(small, lanczos, restorer, RestoreOptions(preset="ffv1", scale=FACTOR, strength=0.0))
    scaled = work / "lanczos-restored.mkv"
    if not scaled.exists():
        restore_video(small, scaled, restorer, RestoreOptions(preset="ffv1", scale=FACTOR))
    films = [Film("Lanczos", lanczos, scaled)]
    if gan:
        if not by_gan.exists():
            make_gan(small, work / "gan-unfinished.mkv")
            (work / "gan-unfinished.mkv").rename(by_gan)
        behind = work / "gan-restored.mkv"
        if not behind.exists():
            restore_video(small, behind, restorer, RestoreOptions(preset="ffv1"), background=by_gan)
        films.append(Film("Real-ESRGAN x4plus", by_gan, behind))
    return films


def table(films: list[Film], measure: Measure, tracks: list[FaceTrack], model: str) -> str:
    people = [f"person {number + 1}" for number in range(len(measure.tracks))]
    heads = "".join(f" {who}: LPIPS ↓ | identity ↑ | PSNR ↑ |" for who in people)
    lines = [f"| film |{heads} samples outside that differ |", "|" + "---|" * (2 + 3 * len(people))]
    for film in films:
        differing, total = changed_outside(film.restored, film.background, tracks)
        for name, path, told in (
            (film.name, film.background, "–"),
            (f"{film.name}, faces by {model}", film.restored, f"{differing} of {total:,}"),
        ):
            cells = " | ".join(figures.cells() for figures in measure(path))
            lines.append(f"| {name} | {cells} | {told} |")
    return "\n".join(lines)


def picture(films: list[Film], measure: Measure, path: Path) -> None:
    """A row a person, in the middle of the film: each film without and with restored faces, and the truth."""
    rows = []
    for track in measure.tracks:
        at = len(track.boxes) // 2
        shown = [one for film in films for one in (film.background, film.restored)] + [measure.truth.path]
        views = [next(iter(VideoFrames(one).read(at, at + 1))).rgb() for one in shown]
        rows.append(torch.cat([crop_clip(view, track.crops[at], SQUARE) for view in views], 2))
    pixels = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("work", type=Path, help="folder of the films")
    add("--model", default="vividface-nano")
    add("--frames", type=int, default=9)
    add("--no-gan", action="store_true", help="Lanczos alone: Real-ESRGAN takes up to a minute a frame on a CPU")
    add("--write", type=Path, metavar="PAGE", help="write the table into this page, and the picture")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    truth, small = args.work / "truth.mkv", args.work / "small.mp4"
    if not small.exists():
        make_truth(truth, args.frames)
        make_small(truth, small)
    measure, restorer = Measure(truth), load_restorer(args.model)
    films = make_films(args.work, small, restorer, not args.no_gan)
    count = sum(1 for _ in VideoFrames(small).read())
    tracks = find_faces(VideoFrames(small), Shot(0, count), load_detector("auto"), lambda *_: None)
    widths = ", ".join(f"{np.median(t.boxes[:, 2] - t.boxes[:, 0]):.0f}" for t in tracks)
    print(f"faces in the small film: {len(tracks)}, {widths} pixels wide; in the truth: {len(measure.tracks)}")
    text = table(films, measure, tracks, args.model)
    print(text)
    if args.write:
        write_between(args.write, "background", text)
        picture(films, measure, args.write.parent / "background" / "strip.jpg")


if __name__ == "__main__":
    main()
