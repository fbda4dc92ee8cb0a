"""The papers' tables on people that no training of this project has seen.

``python -m training.evaluation.benchmark [--out docs/benchmark] [--work runs/benchmark]``

Writes the held-out face crops as pictures, runs ``vividface bench folder`` on them, and keeps the tables, the figures
and the embedded model's report in ``--out``. A second run goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from training.command import exit_status
from training.evaluation.held_out import CLIPS, HeldOut, face_clip
from training.evaluation.report import write_between
from vividface_core.cli.main import main as vividface
from vividface_core.errors import VividFaceError
from vividface_core.faces.detect import FaceDetector, load_detector

MODEL = "vividface-nano"
SIDE, FRAMES = 256, 17
"""The embedded model's native size; one window of FVD's sixteen frames."""


def write_truths(clips: list[HeldOut], folder: Path, detector: FaceDetector) -> None:
    """Each clip's face crop as a folder of numbered pictures; those that are there stay."""
    for clip in tqdm(clips, desc="Held-out clips", unit="clip", file=sys.stderr):
        target = folder / clip.name.replace("@", "-").replace("#", "-still-")
        if target.is_dir():
            continue
        scratch = target.with_name(f".{target.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for number, frame in enumerate(face_clip(clip, FRAMES, SIDE, detector)):
            picture = (frame * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(picture).save(scratch / f"{number:04d}.png")
        scratch.rename(target)


def run(args: argparse.Namespace) -> None:
    """Write the clips, run the benchmark, keep what is to be read."""
    truths, results = args.work / "truth", args.work / "results"
    write_truths(CLIPS, truths, load_detector("mtcnn"))
    command = ["bench", "folder", str(truths), "-o", str(results), "--model", MODEL, "--timed-frames", "81"]
    if vividface([*command, *args.more]):
        raise VividFaceError("The benchmark failed; see above. The same command goes on where it stopped.")
    args.out.mkdir(parents=True, exist_ok=True)
    for source in (results / "results.json", results / "reports" / f"{MODEL}.html"):
        (args.out / source.name).write_text(_read(source), encoding="utf-8")
    write_between(args.out / "README.md", "tables", _read(results / "tables.md").strip())


def _read(path: Path) -> str:
    """Without the home folder's name, which is nobody's business."""
    return path.read_text(encoding="utf-8").replace(str(Path.home()), "~")


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error. What follows ``--`` goes to ``vividface bench``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmark"))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("more", nargs="*", help="more options of 'vividface bench', after --")
    args = parser.parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
