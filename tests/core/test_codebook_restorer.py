"""The codebook restorer against the network called directly, and what every restorer promises."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.core.bfvr_stc.drawn import narrow_autoencoder, narrow_codeformer
from tests.memory import numbers_of
from vividface_core.bfvr_stc.checkpoint import save
from vividface_core.errors import InvalidOption, InvalidOutput, UnsupportedCheckpoint
from vividface_core.pipeline.planning import best_window, choose_window
from vividface_core.restorers.codebook import SCRATCH, CodebookRestorer, load_codebook_restorer
from vividface_core.restorers.oom_fallback import OomFallbackRestorer


def make(residual: str = "frames", **options) -> CodebookRestorer:
    return CodebookRestorer(narrow_codeformer(residual), **{"native_size": 64, "native_frames": 8, **options})


@torch.no_grad()
def direct(clip: torch.Tensor, residual: str = "frames") -> torch.Tensor:
    return narrow_codeformer(residual)(clip.transpose(0, 1)[None]).out[0].transpose(0, 1)


@pytest.mark.parametrize("residual", ["frames", "released"])
def test_native_clips_are_what_the_network_makes(residual):
    clip = torch.rand(6, 3, 64, 64)
    got = make(residual).restore(clip)
    assert got.shape == clip.shape and got.dtype == torch.float32 and not got.is_inference()
    assert (got - direct(clip, residual)).abs().max() < 1e-5


@pytest.mark.parametrize("frames, height, width", [(1, 64, 64), (5, 64, 64), (4, 30, 50), (3, 17, 8)])
def test_odd_clips_are_continued_and_cut(frames, height, width):
    clip = torch.rand(frames, 3, height, width)
    rows = torch.arange(height + -height % 8).clamp(max=height - 1)
    columns = torch.arange(width + -width % 8).clamp(max=width - 1)
    times = torch.arange(frames + frames % 2).clamp(max=frames - 1)
    wanted = direct(clip[times][:, :, rows][..., columns])[:frames, :, :height, :width]
    got = make().restore(clip)
    assert got.shape == clip.shape and (got - wanted).abs().max() < 1e-5


def test_strength_and_mask():
    restorer, clip = make(), torch.rand(4, 3, 64, 64)
    full = restorer.restore(clip)
    assert torch.equal(restorer.restore(clip, strength=0), clip)
    assert (restorer.restore(clip, strength=0.25) - clip.lerp(full, 0.25)).abs().max() < 1e-6
    mask = torch.zeros(4, 1, 64, 64)
    mask[:, :, :32] = 1
    got = restorer.restore(clip, mask=mask, strength=0.5)
    assert torch.equal(got[:, :, 32:], clip[:, :, 32:])
    assert (got[:, :, :32] - clip.lerp(full, 0.5)[:, :, :32]).abs().max() < 1e-6


def test_colours_are_not_stretched():
    clip = 0.4 + 0.1 * torch.rand(4, 3, 64, 64)
    assert (make().restore(clip) - direct(clip)).abs().max() < 1e-5
    assert 0 < direct(clip).min() and direct(clip).max() < 1


def test_bad_requests_are_refused():
    restorer, clip = make(), torch.rand(4, 3, 64, 64)
    for call in (
        lambda: restorer.restore(clip[:, :1]),
        lambda: restorer.restore(clip[:0]),
        lambda: restorer.restore(clip, strength=2),
        lambda: restorer.restore(clip, mask=clip),
    ):
        with pytest.raises(InvalidOption):
            call()


def test_progress_rises_to_one_and_can_stop():
    seen = []
    make().restore(torch.rand(4, 3, 64, 64), progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1) and len(seen) > 20

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().restore(torch.rand(4, 3, 64, 64), progress=stop)


@pytest.mark.parametrize(
    "stage, parameter",
    [
        ("encoder", lambda net: net.encoder.blocks[-1].bias),
        ("lookup", lambda net: net.quantize.embedding_s.weight),
        ("generator", lambda net: net.generator.blocks[-1].bias),
    ],
)
def test_nan_names_its_stage(stage, parameter):
    restorer = make()
    parameter(restorer.net).data[:] = float("nan")
    with pytest.raises(InvalidOutput, match=stage):
        restorer.restore(torch.rand(4, 3, 64, 64))


def test_all_weights_are_reached_by_name():
    restorer = make()
    held = {id(parameter) for module in restorer.modules.values() for parameter in module.parameters()}
    assert held == {id(parameter) for parameter in restorer.net.parameters()}
    assert restorer.weight_bytes == sum(4 * parameter.numel() for parameter in restorer.net.parameters())
    # Moved alone, a module is still the network's own.
    restorer.modules["lookup"].to(torch.float64)
    assert restorer.net.position_emb_s.dtype == restorer.net.quantize.SA.q.weight.dtype == torch.float64


def test_half_precision():
    clip = torch.rand(4, 3, 64, 64)
    restorer = make().to(dtype=torch.bfloat16)
    got = restorer.restore(clip)
    assert restorer.dtype == torch.bfloat16 and got.dtype == torch.float32 and torch.isfinite(got).all()


def test_an_interpolated_table_is_told_once(caplog):
    restorer = make()
    with caplog.at_level(logging.WARNING):
        restorer.restore(torch.rand(2, 3, 64, 64))
        assert not caplog.records
        for _ in range(2):
            restorer.restore(torch.rand(2, 3, 32, 42))
    assert [record.getMessage() for record in caplog.records] == [
        "The model knows places in pictures of 64×64; for 48×32 its table of positions is interpolated."
    ]


def test_windows_of_any_length():
    restorer = make()
    assert [best_window(restorer, longest) for longest in (1, 2, 5, 8, 100)] == [2, 2, 6, 8, 8]
    limit = restorer.memory_for(5, 64, 64)
    # Five frames take the room of six.
    assert choose_window(restorer, (64, 64), 100, limit) == 6
    # Long clips pass in windows with a cross-fade.
    careful = OomFallbackRestorer(restorer, lambda notice: None)
    careful.longest = 8
    clip = torch.rand(14, 3, 64, 64)
    got = careful.restore(clip)
    assert (got[:6] - restorer.restore(clip[:8])[:6]).abs().max() < 1e-5
    assert (got[8:] - restorer.restore(clip[6:])[2:]).abs().max() < 1e-5


def test_colour_default():
    assert make().color_default == "wavelet"
    assert {make(kind=kind).color_default for kind in ("deflicker", "deflicker_brightness", "deflicker_pixel")} == {
        "none"
    }


def test_loading(tmp_path):
    folder = save(tmp_path / "ours", narrow_codeformer("released"), kind="deflicker_brightness", native_frames=10)
    restorer = load_codebook_restorer(folder)
    assert (restorer.kind, restorer.native_size, restorer.native_frames) == ("deflicker_brightness", 64, 10)
    assert restorer.dtype == torch.float32 and restorer.net.residual == "released"
    clip = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        wanted = restorer.net(clip.transpose(0, 1)[None]).out[0].transpose(0, 1)
    assert (restorer.restore(clip) - wanted).abs().max() < 1e-5
    with pytest.raises(UnsupportedCheckpoint, match="stage I alone"):
        load_codebook_restorer(save(tmp_path / "one", narrow_autoencoder()))


MEASURE = """
import torch
from vividface_core.bfvr_stc import CodeFormer3D
from vividface_core.runtime.memory import peak_memory
from vividface_core.restorers.codebook import CodebookRestorer
torch.set_num_threads(1)
restorer = CodebookRestorer(CodeFormer3D(32, (1, 1, 1, 2), 64, 64, n_layers=2, img_size=64))
restorer.restore(torch.rand(2, 3, 16, 16))
before = peak_memory()
restorer.restore(torch.rand({frames}, 3, {size}, {size}))
print(peak_memory() - before, restorer.memory_for({frames}, {size}, {size}) - restorer.weight_bytes)
"""


@pytest.mark.parametrize("frames, size", [(8, 256), (24, 128)])
def test_the_memory_estimate_is_of_the_right_size(frames, size):
    measured, estimate = numbers_of(MEASURE.format(frames=frames, size=size))
    assert 0.8 * measured < estimate < 1.3 * measured + SCRATCH, (measured, estimate)
