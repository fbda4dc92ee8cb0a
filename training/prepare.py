"""From raw videos to training samples: ``python -m training.prepare VIDEO_OR_FOLDER … --out data/mine``, or from the
clips that ``vividface curate`` kept: ``python -m training.prepare --manifest dataset/manifest.jsonl --out data/mine``.

Face clips are cut (:mod:`training.curation.clips`), parsed, degraded ``--variants`` times with fixed seeds and
encoded. A sample holds the clean latent ``high``, the degraded latents ``low.0`` …, the face mask on the latent grid
``mask``, and, with ``--pixels``, the clean clip and its mask for the pixel stage; with ``--inputs`` also the degraded
clips ``input.0`` …, which a conditional decoder and a tiny encoder see. A run that was interrupted goes on where it
was; another recipe is refused. ``contact_sheet.jpg`` shows what was kept and what was left out, and why.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from training.command import exit_status
from training.curation.clips import ClipRules, FaceClip, find_clips, read_clip, whole_clips
from training.data.manifest import kept_clips
from training.data.shards import INDEX, ShardWriter
from vividface_core.degrade import DegradationRanges
from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import load_detector
from vividface_core.faces.masks import latent_mask
from vividface_core.faces.parse import FaceParser, load_parser
from vividface_core.io.file_names import VIDEO_SUFFIXES
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.restorers.registry import LATENTS
from vividface_core.runtime.devices import pick_device, pick_dtype
from vividface_core.video.reader import VideoReader
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import encode, spatial_ratio, temporal_ratio
from vividface_core.weights import load_restorer, system_of, where

SUFFIXES = VIDEO_SUFFIXES | {".webp"}
THUMBNAIL = 128
SHEET = "contact_sheet.jpg"
"""What was kept and what was left out, in a picture beside the samples."""


def find_videos(places: list[Path]) -> list[Path]:
    """All videos named or inside the named folders, sorted.

    Raises:
        InvalidOption: a place doesn't exist, or there is no video at all.
    """
    found: set[Path] = set()
    for place in places:
        if not place.exists():
            raise InvalidOption(f"{place} doesn't exist; name videos or folders of videos.")
        found |= {p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES} if place.is_dir() else {place}
    if not found:
        raise InvalidOption(f"No video lies in {', '.join(map(str, places))} ({', '.join(sorted(SUFFIXES))}).")
    return sorted(found)


class SampleMaker:
    """Turns a clip into the tensors of a sample.

    Args:
        vae: the autoencoder that makes the latents.
        parser: tells the face in the clean clip.
        variants: degraded versions of each clip.
        pixels: whether the clean clip and its mask are kept as well.
        seed: of the degradations, with the clip's file name, place and person.
        inputs: whether the degraded clips are kept as well.
    """

    def __init__(
        self,
        vae: WanModule,
        parser: FaceParser,
        ranges: DegradationRanges,
        variants: int,
        pixels: bool,
        seed: int,
        inputs: bool = False,
    ) -> None:
        self._vae, self._parser, self._ranges = vae, parser, ranges
        self._variants, self._pixels, self._seed, self._inputs = variants, pixels, seed, inputs

    @torch.inference_mode()
    def __call__(self, clip: FaceClip, frames: Tensor) -> dict[str, Tensor]:
        """Tensors by name; latents ``[C, T', h, w]`` fp16 and normalised, clips ``[3, T, H, W]`` and masks
        ``[1, T, H, W]`` uint8."""
        mask = (self._parser.parse(frames, clip.landmarks) > 0.5).to(torch.uint8).transpose(0, 1)
        config = self._vae.config
        cells = latent_mask(mask[None], spatial_ratio(config), temporal_ratio(config))[0]
        sample = {"high": self._encode(frames), "mask": cells}
        for number in range(self._variants):
            degraded = self._ranges.sample(self._seed_of(clip, number))(frames)
            sample[f"low.{number}"] = self._encode(degraded)
            if self._inputs:
                sample[f"input.{number}"] = _bytes(degraded)
        if self._pixels:
            sample["pixels"] = _bytes(frames)
            sample["pixel_mask"] = mask
        return sample

    def _encode(self, frames: Tensor) -> Tensor:
        return encode(self._vae, frames.transpose(0, 1)[None] * 2 - 1)[0].half()

    def _seed_of(self, clip: FaceClip, number: int) -> int:
        # Not by the key, which holds the folder too: elsewhere the same videos must give the same samples.
        words = [self._seed, number, clip.first, clip.track, *clip.video.name.encode()]
        return int(np.random.SeedSequence(words).generate_state(1)[0])


def _bytes(frames: Tensor) -> Tensor:
    """``[T, 3, H, W]``, 0…1, as ``[3, T, H, W]`` uint8."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).transpose(0, 1)


class ContactSheet:
    """One picture of the first frames of kept clips and of those that were left out, with the reasons."""

    def __init__(self, columns: int = 8, rows: int = 8) -> None:
        self._columns, self._most = columns, columns * rows // 2
        self._pictures: dict[bool, list[Image.Image]] = {True: [], False: []}

    def add(self, clip: FaceClip) -> None:
        """Note a clip while there is room for its kind."""
        pictures = self._pictures[not clip.dropped]
        if len(pictures) >= self._most:
            return
        with VideoReader(clip.video, start_frame=clip.first, end_frame=clip.first + 1) as reader:
            rgb = crop_clip(next(iter(reader)).rgb(), clip.crop, THUMBNAIL)
        picture = Image.fromarray((rgb * 255).round().byte().permute(1, 2, 0).numpy())
        if clip.dropped:
            ImageDraw.Draw(picture).text(
                (3, THUMBNAIL - 14), clip.dropped, fill="white", stroke_width=2, stroke_fill="black"
            )
        pictures.append(picture)

    @property
    def empty(self) -> bool:
        """Whether nothing was noted, as in a run that found everything done."""
        return not any(self._pictures.values())

    def save(self, path: Path) -> None:
        """Kept clips above, the others below a red line."""
        kept, dropped = (self._grid(self._pictures[kind]) for kind in (True, False))
        sheet = Image.new("RGB", (self._columns * THUMBNAIL, kept.height + dropped.height + 4), "red")
        sheet.paste(kept, (0, 0))
        sheet.paste(dropped, (0, kept.height + 4))
        sheet.save(path, quality=88)

    def _grid(self, pictures: list[Image.Image]) -> Image.Image:
        rows = max(1, -(-len(pictures) // self._columns))
        grid = Image.new("RGB", (self._columns * THUMBNAIL, rows * THUMBNAIL), "white")
        for place, picture in enumerate(pictures):
            grid.paste(picture, (place % self._columns * THUMBNAIL, place // self._columns * THUMBNAIL))
        return grid


def prepare(
    videos: list[Path],
    writer: ShardWriter,
    rules: ClipRules,
    make: SampleMaker,
    sheet: ContactSheet,
    detector_name: str = "auto",
    device: torch.device | str = "cpu",
    whole: bool = False,
) -> Counter:
    """Add every clip of ``videos`` that isn't there yet. Returns how many were kept, known, and dropped for what.

    Args:
        whole: the videos are face clips already, and aren't cropped again.
    """
    detector = load_detector(detector_name, device=device)
    counts: Counter[str] = Counter()
    find = whole_clips if whole else find_clips
    for video in tqdm(videos, desc="Preparing", unit="video", file=sys.stderr):
        source = str(video.resolve())
        if writer.is_finished(source):
            counts["videos finished before"] += 1
            continue
        try:
            for clip in find(video, rules, detector, lambda *_: None):
                counts[_take(clip, writer, rules, make, sheet)] += 1
            writer.finish(source)
        except VividFaceError as error:
            counts["unreadable videos"] += 1
            tqdm.write(f"vividface: {error}", file=sys.stderr)
    return counts


def _take(clip: FaceClip, writer: ShardWriter, rules: ClipRules, make: SampleMaker, sheet: ContactSheet) -> str:
    if clip.key in writer:
        return "there already"
    sheet.add(clip)
    if clip.dropped:
        writer.drop(clip.key, clip.dropped)
        return f"dropped: {clip.dropped.split()[0]}"
    note = {"video": str(clip.video), "first": clip.first, "crop": [round(value, 2) for value in clip.crop]}
    writer.add(clip.key, make(clip, read_clip(clip, rules)), note)
    return "kept"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("videos", type=Path, nargs="*", help="videos, or folders of videos")
    add("--manifest", type=Path, help="in place of videos: take the clips that vividface curate kept, as they are")
    add("--out", type=Path, required=True)
    add("--model", default="vividface-nano", help="whose autoencoder makes the latents")
    add("--frames", type=int, default=81)
    add("--size", type=int, default=512)
    add("--margin", type=float, default=ClipRules.margin, help="side of the crop over the united face boxes")
    add("--smallest", type=float, default=ClipRules.smallest, help="leave smaller faces out (pixels)")
    add("--score", type=float, default=ClipRules.score, help="leave faces out that the detector doubts")
    add("--stride", type=int, help="frames between two clips; default: no overlap")
    add("--variants", type=int, default=1, help="degraded versions of each clip")
    add("--pixels", action="store_true", help="keep the clean clip and its mask, for the pixel stage")
    add("--inputs", action="store_true", help="with --pixels: keep the degraded clips too, for the decoder stage")
    add("--detector", default="auto")
    add("--parser", default="auto", help="auto, bisenet, parsenet or landmark-hull")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--dtype", default="fp32", help="of the autoencoder")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    args = parse_arguments(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Prepare, save the contact sheet, print the statistics."""
    # Clips of a manifest were chosen by better means: none is left out again for its size or the detector's doubts.
    least = (0.0, 0.0) if args.manifest else (args.smallest, args.score)
    system = system_of(where(args.model))
    if LATENTS not in system.capabilities:
        raise InvalidOption(
            f"Models of {system.id} have no latents to prepare. Its stages train on the frames of --pixels: leave "
            "--model out."
        )
    smallest, score = least
    rules = ClipRules(args.frames, args.size, args.margin, smallest, score, args.stride, system)
    if bool(args.videos) == bool(args.manifest):
        raise InvalidOption("Name videos, or a manifest with --manifest; one of the two.")
    if args.inputs and not args.pixels:
        raise InvalidOption("--inputs keeps the degraded clips beside the clean ones; give --pixels as well.")
    videos = kept_clips(args.manifest) if args.manifest else find_videos(args.videos)
    _check(args, videos)
    device = pick_device(args.device)
    parser, ranges = load_parser(args.parser, device=device), DegradationRanges()
    recipe = {
        "model": args.model,
        "clips": asdict(rules),
        "degradation": asdict(ranges),
        "variants": args.variants,
        "pixels": args.pixels,
        "mask": parser.name,
        "detector": args.detector,
        "seed": args.seed,
        # Said only where it holds: data prepared before there was a choice keeps its recipe.
        **({"inputs": True} if args.inputs else {}),
        **({"whole_clips": True} if args.manifest else {}),
    }
    with ShardWriter(args.out, recipe) as writer:
        restorer: Any = load_restorer(args.model, device=device, dtype=pick_dtype(args.dtype))
        make = SampleMaker(restorer.vae, parser, ranges, args.variants, args.pixels, args.seed, args.inputs)
        sheet = ContactSheet()
        counts = prepare(videos, writer, rules, make, sheet, args.detector, device, bool(args.manifest))
    if not sheet.empty:
        sheet.save(args.out / SHEET)
    for what, count in sorted(counts.items()):
        print(f"{count:6d} {what}")


def _check(args: argparse.Namespace, videos: list[Path]) -> None:
    """Before the work: samples go into a folder of their own, over nothing that is read.

    Raises:
        InvalidOption: says what would be lost.
    """
    targets = [Target(args.out / name, f"{args.out}'s {name}") for name in (INDEX, SHEET)]
    sources = [Source(video, "a video") for video in videos]
    check_paths(targets, sources + ([Source(args.manifest, "--manifest")] if args.manifest else []))
    if not (args.out / INDEX).is_file() and (args.out / SHEET).exists():
        raise InvalidOption(
            f"{args.out} holds a {SHEET} and no samples, so it isn't of this command. Name another one."
        )


if __name__ == "__main__":
    sys.exit(main())
