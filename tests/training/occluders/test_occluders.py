"""Training of the finder of what stands before faces: its samples, and that it learns from them and goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.occluders.samples import STORED, Faces, sample
from training.occluders.shapes import Place, glasses, hand, microphone, other_thing, rod, strands
from training.occluders.train import Trainer, batch, export
from vividface_core.faces.embed import TEMPLATE
from vividface_core.faces.occluders import SIDE, load_occluder_finder

LANDMARKS = TEMPLATE * 1.2 + (STORED - 112 * 1.2) / 2


@pytest.fixture(scope="module")
def faces() -> Faces:
    generator = torch.Generator().manual_seed(2)
    smooth = torch.rand(3, 3, 9, 9, generator=generator)
    pictures = torch.nn.functional.interpolate(smooth, (STORED, STORED), mode="bicubic").clamp(0, 1)
    # Bright points where the landmarks are.
    for x, y in LANDMARKS.round().astype(int):
        pictures[:, :, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    textures, skins = (torch.rand(n, 3, side, side, generator=generator) for n, side in ((2, 160), (3, 24)))
    return Faces((pictures * 255).byte(), np.stack([LANDMARKS] * 3), textures, skins)


@pytest.mark.parametrize("kind", [hand, microphone, strands, glasses, rod, other_thing])
def test_every_kind_draws_something_that_covers(faces, kind):
    place = Place.at(LANDMARKS * SIDE / STORED, SIDE, faces.textures, faces.skins)
    shares = []
    for seed in range(12):
        color, alpha, hides = kind(place, np.random.default_rng(seed))
        assert color.shape == (3, SIDE, SIDE) and alpha.shape == hides.shape == (1, SIDE, SIDE)
        for part in (color, alpha, hides):
            assert torch.isfinite(part).all() and part.min() >= 0 and part.max() <= 1 + 1e-6
        # What hides isn't clearer than it looks: clear lenses hide nothing, dark ones all.
        assert ((hides > 0.5) <= (alpha > 0.3)).all()
        shares.append(float(hides.mean()))
    assert max(shares) > 0.01 and len(set(shares)) > 6


def test_places_are_the_faces_own(faces):
    place = Place.at(LANDMARKS, STORED, faces.textures, faces.skins)
    for (x, y), (u, v) in zip(LANDMARKS, ((-0.5, -0.5), (0.5, -0.5), (0, 0), (-0.4, 0.5), (0.4, 0.5))):
        row, column = int(y), int(x)
        assert abs(float(place.u[row, column]) - u) < 0.15 and abs(float(place.v[row, column]) - v) < 0.15
        back = place.pixels(np.array([float(place.u[row, column]), float(place.v[row, column])]))
        assert np.allclose(back, [column + 0.5, row + 0.5], atol=1e-3)


def test_samples_are_repeatable_and_weigh_the_head(faces):
    pairs = [[sample(faces, 0, rng) for _ in range(24)] for rng in (np.random.default_rng(5), np.random.default_rng(5))]
    for (picture, covered, weight), again in zip(*pairs):
        assert all(torch.equal(one, other) for one, other in zip((picture, covered, weight), again))
        assert picture.shape == (3, SIDE, SIDE) and covered.shape == weight.shape == (1, SIDE, SIDE)
        assert 0 <= picture.min() and picture.max() <= 1 and 0 <= covered.min() and covered.max() <= 1 + 1e-5
        assert weight[0, SIDE // 2, SIDE // 2] > 0.9 and weight[0, 0, 0] < 0.2
    clear = sum(covered.max().item() == 0 for _, covered, _ in pairs[0])
    assert 1 <= clear <= 14


def test_it_learns_is_stored_and_goes_on(faces, tmp_path):
    crops, covered, _ = batch(faces, np.arange(8) % 3, np.random.default_rng(1))
    trainer = Trainer(tmp_path, faces, faces, 14)
    first = trainer._one_step()
    while trainer.step < 14:
        last = trainer._one_step()
    trainer._keep()
    assert last < first
    again = Trainer(tmp_path, faces, faces, 20)
    assert again.step == 14
    for one, other in zip(trainer.net.parameters(), again.net.parameters()):
        assert torch.equal(one, other)
    export(trainer.net, tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").stat().st_size < 500_000
    found = load_occluder_finder(path=tmp_path / "net.safetensors").find(crops)
    with torch.no_grad():
        wanted = trainer.net.eval()(crops, trainer._recogniser(crops)).sigmoid()
    assert torch.allclose(found, wanted, atol=0.02)
