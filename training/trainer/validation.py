"""Validation during training: fixed clips, their figures, and pictures of them."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from training.config import Config
from training.data.batches import Samples
from training.stages.base import Stage
from training.trainer.sharding import is_sharded

SEED = 20_000
MOST_PICTURES = 8


class Validation:
    """Runs a stage's net on clips that are never trained on; the same ones each time.

    Figures, means over clips: ``psnr`` and ``psnr_input`` in dB; ``face_error`` and ``error``, mean squared errors of
    the face and of the whole frame (0…1 values); ``temporal``, mean absolute error of the frame differences; and those
    of the stage.
    """

    def __init__(self, config: Config, stage: Stage, accelerator: Accelerator) -> None:
        self._config, self._stage, self._accelerator = config, stage, accelerator
        self._samples: Samples | None = None

    def __call__(self, step: int) -> dict[str, float]:
        """Measure, and save ``validation/<step>.jpg`` (input, output, truth side by side)."""
        if self._samples is None:
            self._samples = Samples(self._stage.source(validation=True), SEED)
        self._stage.counts()  # what others have shown isn't counted
        rows: list[Tensor] = []
        pictures: list[tuple[int, Tensor]] = []
        count, rank, world = self._config.run.validation_clips, *self._place()
        for number in range(rank, count, world):
            batch = {k: v[None].to(self._accelerator.device) for k, v in self._samples[number].items()}
            with self._accelerator.autocast():
                shown = self._stage.show(batch)
            rows.append(measure(shown))
            if number < MOST_PICTURES:
                pictures.append((number, _side_by_side(shown)))
        totals = torch.stack([*rows, torch.zeros(len(FIGURES))]).sum(0).to(self._accelerator.device)
        # Where every process has seen every clip the sum counts each of them as often.
        seen = count * self._accelerator.num_processes / world
        totals = self._accelerator.reduce(totals, "sum") / seen
        if world > 1:
            pictures = sorted(gather_object(pictures), key=lambda numbered: numbered[0])
        if self._accelerator.is_main_process:
            self._picture([picture for _, picture in pictures], step)
        counts = {
            name: self._accelerator.reduce(values.to(self._accelerator.device), "sum")
            for name, values in self._stage.counts().items()
        }
        return {**dict(zip(FIGURES, totals.tolist())), **self._stage.figures(counts)}

    def _place(self) -> tuple[int, int]:
        """Sharded nets run on all processes together; copies may share the clips out."""
        if is_sharded(self._accelerator):
            return 0, 1
        return self._accelerator.process_index, self._accelerator.num_processes

    def _picture(self, rows: list[Tensor], step: int) -> None:
        sheet = (torch.cat(rows, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        path = Path(self._config.run.output) / "validation" / f"{step:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(path, quality=90)
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_images("validation", sheet[None].transpose(0, 3, 1, 2), step)
            elif tracker.name == "wandb":
                tracker.log_images({"validation": [sheet]}, step=step)


FIGURES = ("psnr", "psnr_input", "error", "face_error", "temporal", "temporal_input")


def measure(shown: dict[str, Tensor]) -> Tensor:
    """The :data:`FIGURES` of one clip."""
    output, given, truth = (((shown[key].float().cpu() + 1) / 2).clamp(0, 1) for key in ("output", "input", "truth"))
    mask = shown["mask"].float().cpu().expand_as(truth)
    error, before = (output - truth).square(), (given - truth).square()
    face = (error * mask).sum() / mask.sum().clamp_min(1)
    motion = [
        (clip.diff(dim=2) - truth.diff(dim=2)).abs().mean() if clip.shape[2] > 1 else torch.zeros(())
        for clip in (output, given)
    ]
    decibel = [-10 * torch.log10(e.mean((1, 3, 4)).clamp_min(1e-10)).mean() for e in (error, before)]
    return torch.stack([*decibel, error.mean(), face, *motion])


def _side_by_side(shown: dict[str, Tensor]) -> Tensor:
    """``[3, H, 3·W]``: the middle frame of input, output and truth, 0…1."""
    middle = shown["truth"].shape[2] // 2
    pictures = [shown[key][0, :, middle].float().cpu() for key in ("input", "output", "truth")]
    return ((torch.cat(pictures, -1) + 1) / 2).clamp(0, 1)
