"""Which sample comes when doesn't depend on how the work is shared out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.batches import MicroBatches, Samples, Shuffled, make_loader
from vividface_core.errors import InvalidOption


class Numbers:
    def sample(self, number, rng):
        return {"number": torch.tensor(number), "drawn": torch.tensor(rng.random())}


def seen(batch, micro, processes, start, steps, workers=0):
    """``{step: sorted (number, drawn, uniform)}`` over all processes."""
    found: dict[int, list] = {}
    for process in range(processes):
        order = MicroBatches(batch, micro, process, processes, start, steps)
        loader = make_loader(Samples(Numbers(), seed=5), order, workers)
        for place, group in enumerate(loader):
            step = start + place // order.accumulation
            rows = zip(group["number"].tolist(), group["drawn"].tolist(), group["uniform"].tolist())
            found.setdefault(step, []).extend(rows)
    return {step: sorted(rows) for step, rows in found.items()}


def test_any_division_of_a_batch_holds_the_same_samples():
    whole = seen(8, 8, 1, 0, 5)
    assert whole == seen(8, 2, 1, 0, 5) == seen(8, 2, 2, 0, 5) == seen(8, 1, 4, 0, 5, workers=2)
    assert [row[0] for row in whole[3]] == list(range(24, 32))


def test_a_resumed_order_is_the_rest_of_the_whole_one():
    whole = seen(4, 2, 2, 0, 6)
    assert seen(4, 2, 2, 4, 6) == {4: whole[4], 5: whole[5]}


def test_batches_that_do_not_divide_are_refused():
    for batch, micro, processes in ((4, 3, 1), (4, 1, 3), (2, 2, 2)):
        with pytest.raises(InvalidOption, match="micro-batches"):
            MicroBatches(batch, micro, 0, processes, 0, 1)


def test_every_epoch_shows_every_clip_once_in_a_new_order():
    order = Shuffled(50, seed=1)
    first, second = ([order[n] for n in range(start, start + 50)] for start in (0, 50))
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    assert order[3] == first[3], "going back finds the same order again"
    assert [Shuffled(50, seed=2)[n] for n in range(50)] != first


def test_chance_is_uniform():
    draws = np.array([Samples(Numbers(), 0)[n]["uniform"].numpy() for n in range(2000)])
    assert abs(draws.mean() - 0.5) < 0.02 and abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.05
