"""LPIPS and DISTS against the authors' own packages, on the same features and on real pictures."""

from __future__ import annotations

import importlib.util
import pickle
import sys

import pytest
import torch
from skimage import data
from torch import nn

from training.assets import perceptual_weights
from training.assets.fetch import fetch
from vividface_core.degrade import gaussian_blur
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.metrics.networks.perceptual import Dists, Lpips, fill


@pytest.fixture(scope="module")
def pictures():
    """A real portrait and three worse versions of it, ``[3, 3, 128, 128]`` each."""
    face = torch.from_numpy(data.astronaut()[20:148, 160:288]).permute(2, 0, 1).float()[None] / 255
    noisy = (face + 0.05 * torch.randn(face.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    return face.expand(3, -1, -1, -1), torch.cat([gaussian_blur(face, 1.0), gaussian_blur(face, 4.0), noisy])


def import_from(folder, name):
    """A package that lies unpacked in ``folder``, under its own name."""
    path = folder / name / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def copy_features(net: nn.Module, reference: nn.Module):
    """Our convolutions into the reference's, in order."""
    ours = [layer for layer in net.features.modules() if isinstance(layer, nn.Conv2d)]
    theirs = [layer for layer in reference.modules() if isinstance(layer, nn.Conv2d)][: len(ours)]
    for mine, other in zip(ours, theirs, strict=True):
        other.load_state_dict(mine.state_dict())


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_lpips_equals_its_authors(network, pictures):
    net = perceptual_weights.load(f"lpips-{network}")
    package = import_from(fetch("lpips"), "lpips")
    reference = package.LPIPS(net=network, pnet_rand=True, verbose=False).eval()
    copy_features(net, reference.net)
    # Its heads come with the package: they must be the ones that ours were converted with.
    wanted = reference(*pictures, normalize=True).flatten()
    assert torch.allclose(net(*pictures), wanted, atol=1e-6)
    assert wanted[0] < wanted[1]


def test_dists_equals_its_authors(pictures, monkeypatch):
    from torchvision import models

    plain = models.vgg16
    monkeypatch.setattr(models, "vgg16", lambda pretrained=True: plain(weights=None))
    package = import_from(fetch("DISTS_pytorch"), "DISTS_pytorch")
    reference = package.DISTS(load_weights=False).eval()
    net = perceptual_weights.load("dists")
    copy_features(net, reference)
    weights = torch.load(fetch("DISTS_pytorch") / "DISTS_pytorch" / "weights.pt", weights_only=True)
    reference.alpha.data, reference.beta.data = weights["alpha"], weights["beta"]
    wanted = reference(*pictures)
    assert torch.allclose(net(*pictures), wanted.flatten(), atol=1e-5)
    assert wanted.flatten()[0] < wanted.flatten()[1]


@pytest.mark.parametrize("name", ["lpips-alex", "dists"])
def test_equal_pictures_have_no_distance_and_finite_gradients(name, pictures):
    net, same = perceptual_weights.load(name), pictures[0].clone().requires_grad_()
    distance = net(same, pictures[0])
    distance.sum().backward()
    assert distance.abs().max() < 1e-5 and torch.isfinite(same.grad).all()
    black = torch.zeros(1, 3, 64, 64, requires_grad=True)
    net(black, torch.zeros(1, 3, 64, 64)).sum().backward()
    assert torch.isfinite(black.grad).all()


@pytest.mark.parametrize("name", ["lpips-vgg", "dists"])
def test_gradients_equal_finite_differences(name):
    net = perceptual_weights.load(name).double()
    rng = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, 1, 3, 32, 32, dtype=torch.double, generator=rng).unbind(0)
    first.requires_grad_()
    net(first, second).sum().backward()
    for place in ((0, 0, 3, 4), (0, 1, 17, 30), (0, 2, 31, 0)):
        values = []
        for sign in (1, -1):
            moved = first.detach().clone()
            moved[place] += sign * 1e-5
            values.append(float(net(moved, second)))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(first.grad[place]), rel=1e-3, abs=1e-9)


def test_pickles_that_ask_for_code_are_refused(tmp_path):
    evil = pickle.dumps(print)
    (tmp_path / "evil").write_bytes(evil)
    with (tmp_path / "evil").open("rb") as file, pytest.raises(UnsupportedCheckpoint, match="only arrays"):
        perceptual_weights._ArraysOnly(file).load()


def test_foreign_weights_are_refused():
    with pytest.raises(UnsupportedCheckpoint, match="other weights than Dists"):
        fill(Dists(), Lpips("vgg").state_dict(), "some file")
