"""Training of the finder of covered faces: its samples, and that it learns from them."""

import numpy as np
import torch

from training.curation.occlusion import CELLS, OcclusionDetector, OcclusionNet, inner_face
from training.curation.train_occlusion import examples, fit
from training.data.occluders import add_occluder
from vividface_core.faces.embed import load_embedder


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    faces = torch.rand(3, 3, 20, 20, generator=generator)
    faces = torch.nn.functional.interpolate(faces, (160, 160), mode="bilinear")
    return faces, torch.rand(4, 3, 160, 160, generator=generator)


def test_samples_are_repeatable_and_about_a_third_is_uncovered():
    faces, textures = pictures()
    pairs = [
        [add_occluder(faces[0], textures, faces, rng) for _ in range(60)]
        for rng in (np.random.default_rng(8), np.random.default_rng(8))
    ]
    for (picture, mask), (again, mask_again) in zip(*pairs):
        assert torch.equal(picture, again) and torch.equal(mask, mask_again)
        assert picture.shape == (3, 112, 112) and 0 <= picture.min() and picture.max() <= 1
        assert mask.shape == (1, 112, 112) and 0 <= mask.min() and mask.max() <= 1 + 1e-5
    uncovered = sum(mask.max().item() == 0 for _, mask in pairs[0])
    assert 10 <= uncovered <= 28


def test_the_network_learns_what_is_covered():
    torch.manual_seed(0)
    faces, textures = pictures()
    finder = OcclusionDetector(OcclusionNet(), load_embedder())
    features, targets = examples(faces, textures, finder, 48)
    before = torch.nn.functional.binary_cross_entropy_with_logits(finder.net(features.float()), targets.float()).item()
    fit(finder.net, features, targets, 12)
    after = torch.nn.functional.binary_cross_entropy_with_logits(finder.net(features.float()), targets.float()).item()
    assert after < 0.8 * before
    assert inner_face().shape == (CELLS, CELLS) and 50 < inner_face().sum() < 80
