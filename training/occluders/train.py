"""Train the finder of what stands before faces: ``python -m training.occluders.train data/nano RUN``.

Faces come out of the material of :mod:`training.nano.prepare` and :mod:`training.nano.find_faces`; what stands before
them is drawn (:mod:`training.occluders.shapes`). ``RUN`` keeps the faces and, every hundred steps, the state: the same
command goes on there. ``--minutes`` ends a session early; once all steps are done, or with ``--export``, the weights
are written. ``--start FILE`` goes on from other weights. Every so many-th group of people isn't trained on and tells
how it goes.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.random_clips import Material
from training.occluders.samples import Faces, gather, sample
from vividface_core.faces.occluders import WEIGHTS, OccluderNet, Recogniser, load_weights
from vividface_core.io.tensors import write_tensors

BATCH, RATE, KEEP_EVERY, TESTS = 16, 2e-3, 100, 192
OVERLAP = 0.3
"""What the overlap counts beside the cross-entropy."""
SOME = 8
"""From so many covered pixels on, a sample's overlap counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path)
    add("run", type=Path)
    add("--steps", type=int, default=900, help="batches of 16 samples")
    add("--minutes", type=float, default=float("inf"), help="end this session after so long; the next one goes on")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--start", type=Path, help="weights that a new run goes on from, as --output's")
    add("--export", action="store_true", help="write the weights as they are now, and train no further")
    add("--output", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args.run, *_faces(args.data, args.run), args.steps, args.start)
    if not args.export:
        trainer.go_on(time.monotonic() + 60 * args.minutes)
    if args.export or trainer.step == args.steps:
        print(trainer.test(), flush=True)
        export(trainer.net, args.output)


def export(net: OccluderNet, path: Path) -> None:
    """Write the weights, rounded to half precision."""
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    write_tensors(path, {key: value.half().contiguous() for key, value in state.items()})


def _faces(data: Path, run: Path) -> tuple[Faces, Faces]:
    stored = run / "faces.pt"
    if not stored.is_file():
        parts = gather(Material(data))
        torch.save([vars(part) | {"landmarks": torch.from_numpy(part.landmarks)} for part in parts], stored)
    train, test = (Faces(**part | {"landmarks": part["landmarks"].numpy()}) for part in torch.load(stored))
    print(f"{len(train.pictures)} faces to train on, {len(test.pictures)} of others to test on", flush=True)
    return train, test


class Trainer:
    """AdamW; cross-entropy over the pixels, those of the head above all, and the overlap with each thing."""

    def __init__(self, run: Path, train: Faces, test: Faces, steps: int, start: Path | None = None) -> None:
        torch.manual_seed(0)
        self._run, self._train, self._test, self._steps = run, train, test, steps
        self.net, self._recogniser, self.step = OccluderNet(), Recogniser(), 0
        self._optimizer = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=0.01)
        if (run / "state.pt").is_file():
            self._load(torch.load(run / "state.pt"))
        elif start:
            load_weights(self.net, start)

    def _load(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _keep(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(state, self._run / "new.pt")
        (self._run / "new.pt").replace(self._run / "state.pt")

    def go_on(self, until: float) -> None:
        """Train to the last step, or to a moment of ``time.monotonic``."""
        losses = []
        while self.step < self._steps and time.monotonic() < until:
            losses.append(self._one_step())
            if self.step % KEEP_EVERY == 0 or self.step == self._steps:
                print(f"step {self.step}: loss {np.mean(losses[-KEEP_EVERY:]):.4f}", flush=True)
                self._keep()
        self._keep()

    def _one_step(self) -> float:
        rng = np.random.default_rng((1, self.step))
        numbers = rng.integers(len(self._train.pictures), size=BATCH)
        crops, covered, weight = batch(self._train, numbers, rng)
        self.net.train()
        logits = self.net(crops, self._recogniser(crops))
        loss = cover_loss(logits, covered, weight)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * self._pace()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _pace(self) -> float:
        """Share of the rate: up over the first tenth of the steps, then down to nothing along a cosine."""
        share = (self.step + 1) / self._steps
        return share / 0.1 if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))

    @torch.no_grad()
    def test(self) -> str:
        """How much of what is covered is found, and how much else, within the heads of the people kept apart."""
        self.net.eval()
        rng = np.random.default_rng(7)
        numbers = np.arange(TESTS) % len(self._test.pictures)
        found = covered_all = false = clear_all = 0.0
        for part in np.array_split(numbers, TESTS // BATCH):
            crops, covered, weight = batch(self._test, part, rng)
            guess, head = self.net(crops, self._recogniser(crops)).sigmoid(), weight > 0.5
            inside, clear = head & (covered > 0.9), head & (covered < 0.02)
            found, covered_all = found + float(guess[inside].sum()), covered_all + float(inside.sum())
            false, clear_all = false + float(guess[clear].sum()), clear_all + float(clear.sum())
        return f"covered: {found / covered_all:.3f} found; clear: {false / clear_all:.4f} taken for covered"


def cover_loss(logits: Tensor, covered: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy, and one minus the Dice overlap of each sample that anything covers: thin things are few
    pixels, but count there as much as wide ones.

    Args:
        logits, covered, weight: ``[N, 1, S, S]``; ``covered`` and ``weight`` are 0…1.
    """
    pixels = F.binary_cross_entropy_with_logits(logits, covered, reduction="none")
    guess = logits.sigmoid() * weight
    there = covered * weight
    both, either = (guess * covered).sum((1, 2, 3)), (guess + there).sum((1, 2, 3))
    some = (there.sum((1, 2, 3)) > SOME).float()
    dice = 1 - (2 * both + 1) / (either + 1)
    return (pixels * weight).sum() / weight.sum() + OVERLAP * (dice * some).sum() / some.sum().clamp(min=1)


def batch(faces: Faces, numbers: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of :func:`~training.occluders.samples.sample`, stacked."""
    crops, covered, weight = (torch.stack(part) for part in zip(*(sample(faces, int(n), rng) for n in numbers)))
    # So the convolutions are twice as fast on a CPU.
    return crops.contiguous(memory_format=torch.channels_last), covered, weight


if __name__ == "__main__":
    main()
