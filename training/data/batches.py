"""Which sample comes when: a function of the seed and of the sample's place alone.

A run counts samples from 0 on. What sample ``i`` is and every random draw about it depend on the seed and on ``i``,
never on the number of processes, on accumulation or on where a run was interrupted. So one process with accumulation
and several processes see the same batches, and a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vividface_core.errors import InvalidOption


class Source(Protocol):
    """Makes samples: tensors by name, of the same names and shapes for every sample."""

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Sample ``number`` of the endless sequence; ``rng`` is its own source of chance."""


class Shuffled:
    """Places 0 … ``length`` − 1, in a new order each epoch."""

    def __init__(self, length: int, seed: int) -> None:
        self._length, self._seed = length, seed
        self._epoch, self._order = -1, np.empty(0, int)

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, self._length)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._length)
        return int(self._order[place])


class Samples(Dataset):
    """A source as a dataset. Each sample also carries ``uniform`` ``[4]``, uniform draws in 0…1 for the losses."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source, self._seed = source, seed

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        sample = self._source.sample(number, np.random.default_rng((self._seed, 0, number)))
        uniform = np.random.default_rng((self._seed, 1, number)).random(4)
        return {**sample, "uniform": torch.from_numpy(uniform)}


class MicroBatches(Sampler):
    """The places of this process's micro-batches, from step ``start`` to ``steps``."""

    def __init__(self, batch: int, micro_batch: int, process: int, processes: int, start: int, steps: int) -> None:
        share = batch // processes
        if share * processes != batch or share % micro_batch:
            raise InvalidOption(
                f"optimizer.global_batch_size {batch} doesn't divide into "
                f"micro-batches of {micro_batch} on {processes} processes."
            )
        self.accumulation = share // micro_batch
        self._batch, self._micro, self._first, self._share = batch, micro_batch, process * share, share
        self._start, self._steps = start, steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._start, self._steps):
            first = step * self._batch + self._first
            for at in range(first, first + self._share, self._micro):
                yield list(range(at, at + self._micro))

    def __len__(self) -> int:
        return (self._steps - self._start) * self.accumulation


def make_loader(samples: Samples, order: MicroBatches, workers: int) -> DataLoader:
    """Batches on the CPU, prepared ahead by ``workers`` processes."""
    return DataLoader(
        samples,
        batch_sampler=order,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=bool(workers),
        worker_init_fn=_begin_worker,
        pin_memory=torch.cuda.is_available(),
    )


def _begin_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and a scheduler's SIGTERM reach all processes. The trainer still needs batches for the step under way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
