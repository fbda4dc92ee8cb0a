"""The released script beside ours, on the same random weights: ``python -m benchmarks.released``.

``--vividface CHECKOUT --diffsynth CHECKOUT`` are folders of the user's: VividFace's repository and, for the package
that it lacks, DiffSynth-Studio's (commits in :data:`benchmarks.released_script.COMMITS`). Their modules run as they
are; nothing of them is kept. Ours is ``vividface restore --as-released`` on the same pictures: the denoiser has the
true width and ``--layers`` blocks, the autoencoder is the true one.

Each clip of ``--clips`` is ``TxHxW``, restored at its own size (``--height -1 --width -1`` of the script,
``--keep-size`` here), or ``TxHxW:SIDE``, resized to a square as the script does by default (``--size SIDE
--model-size``). In fp32, differences are by stage; in bf16 both are compared with the released fp32 frames.
``--table FILE.md`` writes the table between that file's ``released`` markers.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.released_script import ReleasedScript, Restored
from tests.full_size import true_prompt, true_transformer, true_vae
from vividface_core.pipeline.restore import RestoreOptions, restore_video
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.wan.state_dict import original_vae_names, to_original_transformer_keys

CLIPS = ("1x64x64", "5x96x128", "9x128x96", "13x64x64", "6x70x90", "8x60x80:64", "5x120x160:128")


class Shape(NamedTuple):
    """Frames, height and width of a clip; and the square that it is resized to, ``None``: none."""

    frames: int
    height: int
    width: int
    side: int | None

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Out of ``5x96x128`` or ``5x96x128:512``."""
        found = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::(\d+))?", text)
        sizes = [int(number) for number in found.groups() if number] if found else []
        if not found or min(sizes) < 1 or any(side % 16 for side in sizes[3:]):
            raise argparse.ArgumentTypeError(f"{text!r}: write TxHxW or TxHxW:SIDE, SIDE a multiple of 16.")
        return cls(*sizes[:3], sizes[3] if found[4] else None)

    def __str__(self) -> str:
        return f"{self.frames}×{self.height}×{self.width}" + (f" → {self.side}²" if self.side else "")


@dataclass
class Ours:
    """What ``--as-released`` made of a clip; as :class:`~benchmarks.released_script.Restored`, pictures as arrays."""

    encoded: Tensor
    latent: Tensor
    frames: Tensor
    pictures: list[np.ndarray]


def write_pictures(shape: Shape, folder: Path) -> None:
    """Smooth colours that move, with grain: nothing that a codec or a face would ask for."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 4, 6, 6, generator=rng)
    smooth = F.interpolate(coarse, shape[:3], mode="trilinear", align_corners=True)[0]
    grainy = (smooth + 0.05 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1)
    for number, frame in enumerate((grainy * 255).round().byte().permute(1, 2, 3, 0).numpy()):
        Image.fromarray(frame).save(folder / f"{number:08d}.png")


def restore_ours(restorer: OneStepRestorer, folder: Path, shape: Shape, output: Path) -> Ours:
    """Restore a folder of pictures by the pipeline, and keep what the model was given and gave."""
    seen: dict[str, Tensor] = {}
    restore = restorer.restore

    def kept(clip: Tensor, **options: Any) -> Tensor:
        seen["clip"], seen["frames"] = clip, restore(clip, **options)
        return seen["frames"]

    size: dict[str, Any] = {"size": shape.side, "model_size": True} if shape.side else {"keep_size": True}
    options = RestoreOptions(preset="png", whole_frame=True, as_released=True, identity_guard="off", **size)
    restorer.restore = kept  # type: ignore[method-assign]  # of this object alone
    try:
        restore_video(folder, output, restorer, options)
    finally:
        del restorer.restore
    with torch.inference_mode():
        encoded = restorer._encode(seen["clip"], lambda share: None)
        latent = restorer._denoise(encoded, lambda share: None)
    frames = seen["frames"].transpose(0, 1) * 2 - 1
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(output.glob("*.png"))]
    return Ours(encoded, latent, frames, pictures)


class Models:
    """The script's pipeline and our restorer, of the same random weights."""

    def __init__(self, script: ReleasedScript, layers: int, dtype: torch.dtype) -> None:
        transformer, vae = true_transformer(torch.float32, layers=layers), true_vae(torch.float32)
        names = original_vae_names(vae.state_dict(), vae.config.num_res_blocks)
        state = {names[name]: tensor for name, tensor in vae.state_dict().items()}
        self.script, self.prompt, self.dtype = script, true_prompt(), dtype
        self.pipe = script.load(to_original_transformer_keys(transformer.state_dict()), state, dtype)
        # bf16 changes the types of the modules in place: these are not those that the pipeline holds.
        mine = true_vae(dtype), true_transformer(dtype, layers=layers)
        self.restorer = OneStepRestorer(*mine, self.prompt, execution=OneStepExecution("cpu", dtype))

    def run(self, shape: Shape, folder: Path) -> tuple[Restored, Ours]:
        """Both of them on a clip of that shape."""
        pictures, output = folder / "clips" / "clip", folder / f"ours-{self.dtype}"
        if not pictures.exists():
            pictures.mkdir(parents=True)
            write_pictures(shape, pictures)
        released = self.script.restore(self.pipe, pictures.parent, shape.side, self.prompt.padded())
        return released, restore_ours(self.restorer, pictures, shape, output)


def compare(shape: Shape, exact: tuple[Restored, Ours], half: tuple[Restored, Ours]) -> dict[str, Any]:
    """The figures of one clip; ``half``: those of the bf16 models."""
    (released, ours), (released_half, ours_half) = exact, half
    assert ours.frames.shape == released.frames.shape, (ours.frames.shape, released.frames.shape)
    theirs = np.stack([np.asarray(picture) for picture in released.pictures]).astype(np.int16)
    steps = np.stack(ours.pictures).astype(np.int16) - theirs
    return {
        "clip": str(shape),
        "encoded": _largest(ours.encoded, released.encoded),
        "latent": _largest(ours.latent, released.latent),
        "frames": _largest(ours.frames, released.frames),
        "same": float((steps == 0).mean()),
        "one more": float((steps == 1).mean()),
        "other": float(((steps != 0) & (steps != 1)).mean()),
        "ours bf16": _rms(ours_half.frames, released.frames),
        "released bf16": _rms(released_half.frames, released.frames),
    }


def _largest(ours: Tensor, released: Tensor) -> float:
    return float((ours.float() - released.float()).abs().max())


def _rms(frames: Tensor, exact: Tensor) -> float:
    return float((frames.float() - exact.float()).square().mean().sqrt())


def table(rows: list[dict[str, Any]], commits: dict[str, str], layers: int) -> str:
    """The rows as Markdown, and what they come from."""
    lines = [
        "| clip | latents encoded | latents restored | frames | 8 bits: same | +1 | other "
        "| bf16, ours | bf16, the script's |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        figures = " | ".join(f"{row[name]:.1e}" for name in ("encoded", "latent", "frames"))
        shares = " | ".join(f"{row[name]:.1%}" for name in ("same", "one more", "other"))
        halves = " | ".join(f"{row[name]:.2e}" for name in ("ours bf16", "released bf16"))
        lines.append(f"| {row['clip']} | {figures} | {shares} | {halves} |")
    told = ", ".join(f"{name} {commit}" for name, commit in commits.items())
    blocks = "1 block" if layers == 1 else f"{layers} blocks"
    return "\n".join([*lines, "", f"{told}; torch {torch.__version__}; {blocks} of the true width."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vividface", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--diffsynth", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--clips", type=Shape.parse, nargs="+", default=[*map(Shape.parse, CLIPS)], metavar="TxHxW")
    parser.add_argument("--layers", type=int, default=3, help="of the denoiser; the model has 30")
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    if args.table:
        from training.evaluation.report import check_markers

        check_markers(args.table, "released")
    script = ReleasedScript(args.vividface, args.diffsynth)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / str(number) for number in range(len(args.clips))]
        # One type after the other: four models at once would be twice the memory.
        found: list[list[tuple[Restored, Ours]]] = []
        for dtype in (torch.float32, torch.bfloat16):
            models = Models(script, args.layers, dtype)
            found.append([models.run(shape, folder) for shape, folder in zip(args.clips, folders)])
            del models
        rows = [compare(*of_clip) for of_clip in zip(args.clips, *found)]
    told = table(rows, script.commits, args.layers)
    print(told)
    if args.table:
        from training.evaluation.report import write_between

        write_between(args.table, "released", told)


if __name__ == "__main__":
    main()
