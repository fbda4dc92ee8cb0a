"""Faces restored behind an upscaler: ``python -m benchmarks.background WORK [--write docs/background.md]``.

Two held-out people side by side before a third clip, as a film of 1280×720; that is the truth. A fourth of its size
(320×180, faces about 45 and 55 pixels wide, H.264) is what there is: once clear, and once blurred and noisy as the
VividFace paper degrades (:data:`FILMS`). It is enlarged by Lanczos' filter (``--scale 4``) and by Real-ESRGAN x4plus;
behind either, the faces are restored from the small film and put into the large one (``--background``). Figures of
each face: LPIPS (AlexNet) and PSNR of the head's square, and the cosine of the face embeddings, against the truth;
means over the frames. And: how many samples outside the faces' squares differ from the background's. ``WORK`` keeps
the films; what lies there isn't made again. ``--write PAGE`` puts the table between the page's ``background`` markers
and a picture beside it, ``background/strip.jpg``.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterable, Iterator
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
from vividface_core.degrade import downscale, gaussian_blur
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
FILMS = {"clear": (0.0, 0.0, 18), "poor": (6.0, 8.0, 23)}
"""Small films: σ of the blur in pixels of the truth, of the noise in 1/255, and libx264's constant rate factor."""
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


def make_small(truth: Path, path: Path, sigma: float, noise: float, crf: int) -> None:
    """Blurred, a fourth of the size, noisy, compressed."""
    random = torch.Generator().manual_seed(0)
    frames = []
    for frame in VideoFrames(truth).read():
        picture = gaussian_blur(frame.rgb()[None], sigma) if sigma else frame.rgb()[None]
        small = downscale(picture, FACTOR)
        frames.append((small + noise / 255 * torch.randn(small.shape, generator=random))[0])
    write(frames, path, ["-c:v", "libx264", "-crf", str(crf), "-pix_fmt", "yuv420p"])


def write(frames: Iterable[Tensor], path: Path, coding: list[str]) -> None:
    """Frames ``[3, H, W]``, 0…1, as a film."""
    coder = None
    for frame in frames:
        if coder is None:
            size = f"{frame.shape[2]}x{frame.shape[1]}"
            raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "24", "-i", "-"]
            coder = subprocess.Popen([ffmpeg(), "-v", "error", "-y", *raw, *coding, str(path)], stdin=subprocess.PIPE)
        pixels = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
        coder.stdin.write(pixels.numpy().tobytes())
    coder.stdin.close()
    if coder.wait():
        raise RuntimeError(f"{path} couldn't be written")


def make_gan(small: Path, path: Path) -> None:
    """By Real-ESRGAN x4plus, frame by frame."""
    network = RealEsrgan("realesrgan-x4plus", 1.0)
    write((network.large(frame.rgb()) for frame in VideoFrames(small).read()), path, LOSSLESS)


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
    """A small film enlarged, and the one with restored faces in it."""

    name: str
    small: Path
    background: Path
    restored: Path


def make_films(work: Path, kind: str, restorer: Restorer, gan: bool) -> list[Film]:
    """All films of one of :data:`FILMS`, where they aren't there yet."""
    small, lanczos, by_gan = (work / f"{kind}{end}" for end in (".mp4", "-lanczos.mkv", "-gan.mkv"))
    if not small.exists():
        make_small(work / "truth.mkv", small, *FILMS[kind])
    if not lanczos.exists():
        restore_video(small, lanczos, restorer, RestoreOptions(preset="ffv1", scale=FACTOR, strength=0.0))
    scaled, behind = (work / f"{kind}-{name}-restored.mkv" for name in ("lanczos", "gan"))
    if not scaled.exists():
        restore_video(small, scaled, restorer, RestoreOptions(preset="ffv1", scale=FACTOR))
    films = [Film(f"{kind}, Lanczos", small, lanczos, scaled)]
    if gan:
        if not by_gan.exists():
            unfinished = work / "unfinished.mkv"
            make_gan(small, unfinished)
            unfinished.rename(by_gan)
        if not behind.exists():
            restore_video(small, behind, restorer, RestoreOptions(preset="ffv1"), background=by_gan)
        films.append(Film(f"{kind}, Real-ESRGAN x4plus", small, by_gan, behind))
    return films


def small_faces(small: Path) -> list[FaceTrack]:
    """The faces as the pipeline finds them."""
    count = sum(1 for _ in VideoFrames(small).read())
    return find_faces(VideoFrames(small), Shot(0, count), load_detector("auto"), lambda *_: None)


def table(films: list[Film], measure: Measure, model: str) -> str:
    people = [f"person {number + 1}" for number in range(len(measure.tracks))]
    heads = "".join(f" {who}: LPIPS ↓ | identity ↑ | PSNR ↑ |" for who in people)
    lines = [f"| film |{heads} samples outside that differ |", "|" + "---|" * (2 + 3 * len(people))]
    for film in films:
        differing, total = changed_outside(film.restored, film.background, small_faces(film.small))
        for name, path, told in (
            (film.name, film.background, "–"),
            (f"{film.name}, faces by {model}", film.restored, f"{differing} of {total:,}"),
        ):
            cells = " | ".join(figures.cells() for figures in measure(path))
            lines.append(f"| {name} | {cells} | {told} |")
    return "\n".join(lines)


def picture(films: list[Film], measure: Measure, path: Path) -> None:
    """A row a person and small film, in the middle: each enlarged without and with restored faces, and the truth."""
    rows = []
    widest = 1 + max(2 * sum(film.name.startswith(kind) for film in films) for kind in FILMS)
    for kind, track in ((kind, track) for kind in FILMS for track in measure.tracks):
        at = len(track.boxes) // 2
        here = [film for film in films if film.name.startswith(kind)]
        shown = [one for film in here for one in (film.background, film.restored)] + [measure.truth.path]
        views = [next(iter(VideoFrames(one).read(at, at + 1))).rgb() for one in shown]
        heads = [crop_clip(view, track.crops[at], SQUARE) for view in views]
        # A film that only one upscaler has enlarged leaves its places white; the truth stands last.
        white = [torch.ones(3, SQUARE, SQUARE)] * (widest - len(heads))
        rows.append(torch.cat([*heads[:-1], *white, heads[-1]], 2))
    pixels = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("work", type=Path, help="folder of the films")
    add("--model", default="vividface-nano")
    add("--frames", type=int, default=5)
    add(
        "--gan",
        nargs="*",
        choices=list(FILMS),
        default=list(FILMS),
        help="the small films that Real-ESRGAN enlarges too; it takes up to a minute a frame on a CPU",
    )
    add("--write", type=Path, metavar="PAGE", help="write the table into this page, and the picture")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    truth = args.work / "truth.mkv"
    if not truth.exists():
        make_truth(truth, args.frames)
    measure, restorer = Measure(truth), load_restorer(args.model)
    films = [film for kind in FILMS for film in make_films(args.work, kind, restorer, kind in args.gan)]
    for kind in FILMS:
        widths = sorted(float(np.median(t.boxes[:, 2] - t.boxes[:, 0])) for t in small_faces(args.work / f"{kind}.mp4"))
        print(f"{kind}: faces of {', '.join(f'{width:.0f}' for width in widths)} pixels")
    text = table(films, measure, args.model)
    print(text)
    if args.write:
        write_between(args.write, "background", text)
        picture(films, measure, args.write.parent / "background" / "strip.jpg")


if __name__ == "__main__":
    main()
