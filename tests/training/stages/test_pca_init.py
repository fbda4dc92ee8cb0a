"""A principal start is what it says: the net computes the best linear code, found by an independent PCA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data as pictures

from training.stages.autoencoder import Autoencoder, latent_statistics
from training.stages.modules import new_vae
from training.stages.one_step import decoder_gains
from training.stages.pca_init import init_from_pca, principal_components
from vividface_core.errors import InvalidOption
from vividface_core.wan.vae import decode, encode

LAYOUT = dict(
    base_dim=40,
    decoder_base_dim=40,
    z_dim=24,
    dim_mult=[1],
    num_res_blocks=1,
    temperal_downsample=[],
    is_residual=False,
    in_channels=48,
    out_channels=48,
    patch_size=4,
    scale_factor_temporal=1,
    scale_factor_spatial=4,
)


@pytest.fixture(scope="module")
def clips():
    """Three frames each of four parts of a photograph, −1…1."""
    photo = torch.from_numpy(pictures.astronaut()).permute(2, 0, 1).float() / 127.5 - 1
    corners = [(0, 0), (100, 150), (200, 60), (300, 300)]
    return [torch.stack([photo[:, y + t : y + t + 96, x : x + 96] for t in range(3)], 1)[None] for y, x in corners]


@pytest.fixture(scope="module")
def started(clips):
    vae = new_vae(LAYOUT).eval()
    init_from_pca(vae, clips)
    return vae


def pca_error(clips, kept: int) -> float:
    """Mean squared error of the best linear code of 4×4 patches, by NumPy's singular values."""
    rows = np.concatenate(
        [clip[0].numpy().reshape(3, 3, 24, 4, 24, 4).transpose(1, 2, 4, 0, 3, 5).reshape(-1, 48) for clip in clips]
    )
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    return float(values[kept:].sum() / rows.size)


def test_the_error_is_that_of_the_principal_components(started, clips):
    net = Autoencoder(started)
    with torch.no_grad():
        got = float(torch.stack([(net(clip)[0] - clip).square().mean() for clip in clips]).mean())
    assert got < 1.5 * pca_error(clips, 24) + 2e-5
    assert got > 0.95 * pca_error(clips, 24)


def test_latents_are_measured_and_written_as_they_are(started, clips):
    net = Autoencoder(started)
    mean, std = latent_statistics(net, clips)
    values = torch.cat([net.moments(clip)[0] for clip in clips]).detach().double().transpose(0, 1).flatten(1)
    assert torch.allclose(mean.double(), values.mean(1), atol=1e-4)
    assert torch.allclose(std.double(), values.std(1, correction=0), rtol=1e-3)
    started.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    with torch.no_grad():
        latents = encode(started, torch.cat(clips))
        assert abs(float(latents.mean())) < 0.02 and abs(float(latents.std()) - 1) < 0.03
        assert (decode(started, latents) - torch.cat(clips)).abs().mean() < 0.05


@pytest.mark.parametrize("change", [{"dim_mult": [1, 1], "temperal_downsample": [False]}, {"base_dim": 20}])
def test_layouts_that_have_no_linear_path_are_refused(change, clips):
    layout = {**LAYOUT, **change}
    if "base_dim" in change:
        layout["decoder_base_dim"] = change["base_dim"]
    with pytest.raises(InvalidOption):
        init_from_pca(new_vae(layout), clips)


def test_decoder_gains_are_the_variances_of_the_components(clips):
    """The start's latents are components over their deviation, so an error in one shows by its variance."""
    vae = new_vae(LAYOUT).eval()
    init_from_pca(vae, clips)
    variances = principal_components(clips, 4)[1][:24]
    gains = decoder_gains(vae)
    assert torch.allclose(gains / gains[1], variances / variances[1], rtol=0.15, atol=0.02)
    assert float(gains.mean()) == pytest.approx(1, abs=1e-4)
