"""Data echoing: a drawn clip gives several crops, some steps apart, whoever asks for them and in which order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from training.config import Data
from training.data.batches import MicroBatches, Samples
from training.data.echo import SPACING, Echoed, random_clips

TIMES = 4


class Numbered:
    """Clips whose pixels tell number, frame, row and column; every tenth pixel of the mask's first row is a face."""

    def __init__(self) -> None:
        self.drawn: Counter[int] = Counter()

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        self.drawn[number] += 1
        places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (7, 32, 32)), indexing="ij")).float()
        mask = torch.zeros(1, 7, 32, 32, dtype=torch.uint8)
        mask[:, :, 0, ::10] = 1
        clean = torch.cat([torch.full((1, 7, 32, 32), float(number)), places])
        return {"clean": clean, "degraded": clean + rng.random(), "pixel_mask": mask}


def config(**values) -> Data:
    echo = {"times": TIMES, "frames": 7, "size": 32}
    return Data(**{"kind": "clips", "path": "x", "frames": 3, "size": 8, "echo": echo, **values})


def test_each_clip_is_drawn_once_and_used_so_many_times_some_batches_apart():
    source = Numbered()
    samples = Samples(Echoed(source, config(), seed=0), 0)
    used = [int(samples[number]["clean"][0, 0, 0, 0]) for number in range(400)]
    whole = [clip for clip, count in Counter(used).items() if count == TIMES]
    assert len(whole) > 60 and max(Counter(used).values()) == TIMES and set(source.drawn.values()) == {1}
    for clip in whole:
        places = np.flatnonzero(np.array(used) == clip)
        assert (np.diff(places) >= SPACING * TIMES - TIMES).all(), "uses of one clip are batches apart"


def test_samples_are_crops_of_what_was_drawn_in_time_and_in_place():
    samples = Samples(Echoed(Numbered(), config(), seed=0), 0)
    corners, mirrored = set(), 0
    for number in range(60):
        sample = samples[number]
        assert sample["clean"].shape == (4, 3, 8, 8) and sample["pixel_mask"].shape == (1, 3, 8, 8)
        _, frame, row, column = sample["clean"]
        assert (frame.diff(dim=0) == 1).all() and (row.diff(dim=1) == 1).all()
        step = column.diff(dim=2)
        assert (step == 1).all() or (step == -1).all()
        mirrored += int(step[0, 0, 0] == -1)
        corners.add((int(frame.min()), int(row.min()), int(column.min())))
        difference = sample["degraded"] - sample["clean"]
        assert torch.allclose(difference, difference.mean(), atol=1e-4), "both are cut at the same place"
        assert sample["pixel_mask"].any()
    assert len(corners) > 30 and 15 < mirrored < 45


def test_a_sample_depends_on_its_number_alone():
    one, other = (Samples(Echoed(Numbered(), config(), seed=3), 3) for _ in range(2))
    forwards = [one[number] for number in range(100)]
    for number in (99, 0, 57, 13):
        assert all(torch.equal(other[number][key], forwards[number][key]) for key in forwards[number])
    another = Samples(Echoed(Numbered(), config(), seed=4), 4)
    assert any(not torch.equal(another[n]["degraded"], forwards[n]["degraded"]) for n in range(5))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_that_take_batches_in_turn_draw_no_clip_twice(workers):
    order = list(MicroBatches(TIMES, TIMES, 0, 1, 0, 80))
    sources = [Numbered() for _ in range(workers)]
    readers = [Samples(Echoed(source, config(), seed=0), 0) for source in sources]
    for number, batch in enumerate(order):
        for place in batch:
            readers[number % workers][place]
    assert max(sum((source.drawn for source in sources), Counter()).values()) == 1


def test_few_clips_are_kept():
    echoed = Echoed(Numbered(), config(), seed=0)
    for number in range(500):
        echoed.sample(number, np.random.default_rng(number))
    assert len(echoed._kept) <= TIMES * (SPACING + 1)


def test_real_clips_are_echoed_and_validation_is_not(material):
    echo = {"times": 2, "frames": 9, "size": 64}
    values = Data(kind="clips", path=material, frames=5, size=32, echo=echo)
    source = random_clips(values, validation=False, seed=0)
    samples = [source.sample(number, np.random.default_rng(number)) for number in range(4)]
    assert isinstance(source, Echoed)
    assert all(sample["clean"].shape == sample["degraded"].shape == (3, 5, 32, 32) for sample in samples)
    clean = random_clips(values, validation=False, seed=0, degrade=False).sample(0, np.random.default_rng(0))
    assert list(clean) == ["clean"]
    assert not isinstance(random_clips(values, validation=True, seed=0), Echoed)


@pytest.mark.parametrize(
    "wrong, word", [({"frames": 9}, "hold no sample"), ({"size": 64}, "hold no sample"), ({"kind": "shards"}, "shards")]
)
def test_what_cannot_be_echoed_is_refused(wrong, word):
    with pytest.raises(ValidationError, match=word):
        config(**wrong)
