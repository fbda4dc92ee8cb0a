"""What each edition of vividface-nano brought: ``python -m training.editions --table docs/nano_training.md``.

Every edition's weights are taken out of the repository's history and restore the same held-out clips, one window of
each, with today's code and measures (:mod:`training.evaluate`). With ``--known``, those that an earlier run measured
stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.assets.revisions import unpack
from training.command import exit_status
from training.evaluate import FaceClip, evaluate, label
from training.evaluation.held_out import CLIPS
from training.evaluation.report import check_markers, mean_scores, write_between
from vividface_core.errors import InvalidOption
from vividface_core.io.output_guard import check_file

FOLDER = Path("vividface_core") / "assets" / "vividface-nano"
REPOSITORY = Path(__file__).resolve().parents[1]


class Edition(NamedTuple):
    """One that came with the repository."""

    revision: str
    """A commit that has it; empty: the working tree."""
    new: str


EDITIONS = (
    Edition("ed63fc9", "an autoencoder and a denoiser, trained together in pixels"),
    Edition("f609576", "the pixel stage of Eq. 8, with DISTS"),
    Edition("1ae12bb", "a decoder that sees the input; degradations from none to strong"),
    Edition("192f592", "a loss against flicker; mean of two models"),
    Edition("be24a87", "539 real people; a loss in decibels; blocks at the full size"),
    Edition("2ad4984", "a fine stage with norms and measures of the degradation, alone"),
    Edition("020c058", "all together by many small steps; windows as long as the clips learned from"),
    Edition("0a357e4", "longer; larger crops; a camera's noise in clean clips"),
    Edition("4209e58", "longer; weaker and coarser noise in clean clips"),
    Edition("9d85038", "a memory that follows the motion"),
)


def take(edition: Edition, folder: Path, repository: Path = REPOSITORY) -> Path:
    """The checkpoint of an edition, unpacked below ``folder`` where it isn't that of the working tree.

    Raises:
        InvalidOption: the history doesn't reach back to it.
    """
    if not edition.revision:
        return repository / FOLDER
    unpack(edition.revision, folder, repository, [FOLDER.as_posix()])
    return folder / FOLDER


def measure(
    editions: Sequence[Edition],
    clips: Sequence[FaceClip],
    frames: int,
    repository: Path = REPOSITORY,
    known: Mapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """One entry an edition: means over the clips of the scores of input and output, and ``clean``, the mean and the
    least PSNR (dB) of a clean input's output. Those of revisions in ``known`` are taken from there."""
    rows, known = [], known or {}
    with tempfile.TemporaryDirectory() as place:
        # All of them first: a missing one is told before the work.
        found = [
            None if edition.revision in known else take(edition, Path(place) / str(number), repository)
            for number, edition in enumerate(editions, start=1)
        ]
        for number, (edition, model) in enumerate(zip(editions, found), start=1):
            if model is None:
                rows.append({**known[edition.revision], "edition": number, **edition._asdict()})
                continue
            entries, _ = evaluate(str(model), frames, frames, False, clips)
            clean = [entry["clean"] for entry in entries]
            scores = {"input": mean_scores(entries, "input"), "output": mean_scores(entries, label(str(model)))}
            clean_scores = {"mean": sum(clean) / len(clean), "least": min(clean)}
            rows.append({"edition": number, **edition._asdict(), **scores, "clean": clean_scores})
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The entries in Markdown."""
    lines = [
        "| edition | what is new | PSNR, dB | SSIM | LPIPS, × | temporal, × | clean, dB (least) |",
        "|" + "---|" * 7,
    ]
    for row in rows:
        before, after, clean = row["input"], row["output"], row["clean"]
        lines.append(
            f"| {row['edition']} | {row['new']} | {after['psnr'] - before['psnr']:+.2f} | "
            f"{after['ssim'] - before['ssim']:+.4f} | {after['lpips'] / before['lpips']:.2f} | "
            f"{after['temporal'] / before['temporal']:.2f} | {clean['mean']:.1f} ({clean['least']:.1f}) |"
        )
    return "\n".join(lines)


def _known(path: Path, frames: int) -> dict[str, dict[str, Any]]:
    """The entries of an earlier run by revision, without that of a working tree.

    Raises:
        InvalidOption: it isn't what ``--json`` wrote, or they were measured on longer or shorter clips.
    """
    try:
        kept = json.loads(path.read_text())
        rows, before = {row["revision"]: row for row in kept["editions"] if row["revision"]}, kept["frames"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidOption(f"--known {path}: that isn't a file that --json wrote ({error!r}).") from error
    if before != frames:
        raise InvalidOption(f"--known {path} was measured with {before} frames a clip, not with {frames}.")
    return rows


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=9, help="of each clip; 9: one window of today's model")
    parser.add_argument("--table", type=Path, help="put it between the editions markers of this Markdown file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--known", type=Path, help="what --json wrote before: editions in it aren't measured again")
    args = parser.parse_args(argv)
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    if args.table:
        check_markers(args.table, "editions")
    if args.json:
        check_file(args.json, "--json")
    rows = measure(EDITIONS, CLIPS, args.frames, known=_known(args.known, args.frames) if args.known else None)
    print(table(rows))
    if args.table:
        write_between(args.table, "editions", table(rows))
    if args.json:
        args.json.write_text(json.dumps({"frames": args.frames, "editions": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
