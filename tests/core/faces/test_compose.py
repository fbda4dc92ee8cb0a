from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from skimage import color as reference

from tests.assets import clip
from vividface_core.errors import InvalidOption
from vividface_core.faces.color import lab_to_rgb, low_frequencies, match, rgb_to_lab
from vividface_core.faces.compose import compose, feather
from vividface_core.faces.crop import crop_clip

CROP = (300.3, 210.7, 181.5)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    with av.open(str(clip("wolfgang"))) as container:
        frame = next(container.decode(video=0))
    rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
    return rgb[:, :, :600].contiguous()


@pytest.fixture
def disc() -> torch.Tensor:
    place = torch.linspace(-1, 1, 256)
    return (place[:, None] ** 2 + place**2 < 0.5).float()[None]


def test_lab_agrees_with_skimage(picture):
    colours = [picture[:, ::7, ::7].flatten(1), torch.rand(3, 500), torch.eye(3), torch.zeros(3, 1)]
    small = torch.cat(colours, 1)[:, None]
    ours = rgb_to_lab(small).permute(1, 2, 0).numpy()
    theirs = reference.rgb2lab(small.permute(1, 2, 0).double().numpy())
    assert np.abs(ours - theirs).max() < 2e-3
    back = lab_to_rgb(torch.from_numpy(theirs).permute(2, 0, 1))
    assert np.abs(back.permute(1, 2, 0).numpy() - reference.lab2rgb(theirs)).max() < 1e-5


def test_wavelet_takes_low_frequencies_from_the_source(picture):
    source = picture[:, 100:356, 200:456]
    result = 0.25 + 0.5 * source.flip(-1) * torch.tensor([1.0, 0.7, 0.8]).view(3, 1, 1)
    matched = match(result, 0.25 + 0.5 * source, None, "wavelet")
    low = [low_frequencies(one) for one in (matched, 0.25 + 0.5 * source, result)]
    assert (low[0] - low[1]).abs().mean() < 0.15 * (low[2] - low[1]).abs().mean()
    detail = matched - low_frequencies(0.25 + 0.5 * source)
    inside = (matched > 0) & (matched < 1)
    assert torch.allclose(detail[inside], (result - low[2])[inside], atol=1e-5)


def test_low_frequencies_keep_flat_areas_and_tiny_pictures():
    assert torch.allclose(low_frequencies(torch.full((3, 40, 50), 0.3)), torch.tensor(0.3))
    assert low_frequencies(torch.rand(3, 5, 9)).shape == (3, 5, 9)


@pytest.mark.parametrize("method", ["wavelet", "lab", "adain"])
def test_a_colour_cast_is_removed(picture, disc, method):
    source = 0.2 + 0.5 * picture[:, 100:356, 200:456]
    cast = (source * torch.tensor([1.2, 0.9, 0.7]).view(3, 1, 1) + 0.02).clamp(0, 1)
    seen = disc.expand(3, -1, -1) > 0
    assert (match(cast, source, disc, method) - source)[seen].abs().mean() < 0.3 * (cast - source)[seen].abs().mean()


def test_adain_matches_the_statistics_inside_the_mask_only(disc):
    torch.manual_seed(0)
    source, result = 0.4 + 0.1 * torch.rand(3, 256, 256), 0.3 + 0.3 * torch.rand(3, 256, 256)
    source = torch.where(disc > 0, source, torch.ones(()))
    matched = match(result, source, disc, "adain")[:, disc[0] > 0]
    wanted = source[:, disc[0] > 0]
    assert torch.allclose(matched.mean(1), wanted.mean(1), atol=1e-4)
    assert torch.allclose(matched.std(1), wanted.std(1), atol=1e-4)


def test_none_returns_the_result_and_an_unknown_method_is_refused(picture):
    assert match(picture, picture * 0.5, None, "none") is picture
    with pytest.raises(InvalidOption, match="sepia.*wavelet"):
        match(picture, picture, None, "sepia")


def test_only_pixels_of_the_mask_change(picture, disc):
    before = picture.clone()
    out, changed = compose(picture, torch.rand(3, 256, 256), disc, CROP, color="none")
    assert torch.equal(picture, before)
    assert torch.equal(out[:, ~changed], picture[:, ~changed])
    assert changed.dtype == torch.bool and changed.shape == (360, 600)
    rows, columns = torch.nonzero(changed, as_tuple=True)
    assert rows.min() > CROP[1] - CROP[2] / 2 and rows.max() < CROP[1] + CROP[2] / 2
    assert columns.min() > CROP[0] - CROP[2] / 2 and columns.max() < CROP[0] + CROP[2] / 2
    assert (out != picture).any(0)[changed].float().mean() > 0.99
    assert 0.5 * np.pi * 0.5 / 4 < changed.sum() / CROP[2] ** 2 < 0.8


def test_a_full_mask_leaves_no_seam_at_the_crops_border(picture):
    out, changed = compose(picture, 1 - crop_clip(picture, CROP, 128), torch.ones(1, 128, 128), CROP, color="none")
    top = int(np.ceil(CROP[1] - CROP[2] / 2))
    column = int(CROP[0])
    assert (out - picture)[:, top : top + 2, column].abs().max() < 0.02
    assert torch.allclose(out[:, int(CROP[1]), column], 1 - picture[:, int(CROP[1]), column], atol=0.05)
    border = feather(torch.ones(1, 64, 64))
    assert border[0, 0].max() == 0 and border[0, :, -1].max() == 0 and border[0, 32, 32] == pytest.approx(1)


def test_strength_goes_from_the_source_to_the_result(picture, disc):
    restored = torch.rand(3, 256, 256)
    nothing, changed = compose(picture, restored, disc, CROP, strength=0)
    assert torch.equal(nothing, picture) and not changed.any()
    full, _ = compose(picture, restored, disc, CROP, color="none")
    half, _ = compose(picture, restored, disc, CROP, color="none", strength=0.5)
    centre = (slice(None), slice(180, 240), slice(270, 330))
    assert torch.allclose(half[centre], (full[centre] + picture[centre]) / 2, atol=1e-5)


def test_an_unchanged_crop_gives_back_the_picture(picture, disc):
    for color in ("wavelet", "none"):
        out, _ = compose(picture, crop_clip(picture, CROP, 512), torch.ones(1, 512, 512), CROP, color=color)
        assert (out - picture).square().mean() < 1e-5


def test_faces_at_the_pictures_border_and_outside(picture, disc):
    out, changed = compose(picture, torch.rand(3, 256, 256), disc, (0.0, 0.0, 120.0), color="none")
    assert changed[0, 0] and not changed[60:].any() and torch.isfinite(out).all()
    out, changed = compose(picture, torch.rand(3, 256, 256), disc, (-300.0, 50.0, 120.0))
    assert torch.equal(out, picture) and not changed.any()


@pytest.mark.parametrize("color", ["none", "wavelet", "lab", "adain"])
@pytest.mark.parametrize("side", [90.5, 181.5, 400.0])
def test_a_restorer_that_changes_nothing_changes_nothing(picture, disc, color, side):
    crop = (300.3, 210.7, side)
    out, changed = compose(picture, crop_clip(picture, crop, 256), disc, crop, color=color)
    assert changed.any()
    assert (out - picture).abs().max() < 1 / 1000
