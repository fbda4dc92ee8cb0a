"""Nothing of the engine stays behind on the CPU when it computes on a device; run by ``test_other_device.py``."""

from __future__ import annotations

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.comfyui.conftest import degraded_face
from tests.other_device import DEVICE, OnDevice, other_device
from tests.tiny import wan_layout
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.video.source import VideoFrames
from vividface_core.wan.fast_vae import streams
from vividface_core.weights import load_restorer

MEASURED = ("psnr", "ssim", "ids-mobile", "vidd-mobile", "akd", "temporal", "ewarp-dis")


def test_what_a_device_refuses_is_refused():
    here = torch.ones(3)
    with other_device():
        there = here.to(DEVICE)
        assert all(isinstance(made, OnDevice) for made in (there, torch.zeros(2, device=DEVICE), there[:2]))
        assert there.device == DEVICE
        with pytest.raises(RuntimeError, match="CPU tensor"):
            there + here
        with pytest.raises(RuntimeError, match="CPU tensor"):
            torch.cat([there, here])
        assert float((there * torch.tensor(2.0)).sum()) == 6, "a number of the CPU may take part"
        there.add_(1)
        assert float(here.sum()) == 3 and there.cpu().tolist() == [2, 2, 2]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    "options, near",
    [
        ({}, 1e-5),
        ({"plain": True}, 1e-5),
        ({"tile": 64}, 1e-5),
        ({"attention": "math"}, 1e-5),
        ({"linear": "fp8-weights"}, 1e-5),
        ({"offload": True}, 1e-5),
        ({"dtype": torch.bfloat16}, 0.05),
    ],
)
def test_a_restorer_stays_on_its_device(options, near, fast, monkeypatch):
    frames = torch.rand(9, 3, 96, 64)
    options = {"dtype": torch.float32, "native_frames": 17, **options}
    wanted = wan_layout(**options).restore(frames)
    if fast:
        monkeypatch.setattr(streams, "DEVICES", ("cpu", DEVICE.type))
    with other_device():
        restorer = wan_layout(device=DEVICE, **options)
        assert restorer.device == DEVICE
        restored = restorer.restore(frames)
    assert restored.device.type == "cpu" and float((restored - wanted).abs().max()) < near


@pytest.mark.parametrize("options", [{"identity_guard": "blend"}, {"whole_frame": True}])
def test_a_whole_restoration_on_a_device(options, tmp_path):
    frames = torch.stack([frame.rgb() for frame in VideoFrames(degraded_face(tmp_path / "face.mp4", 9)).read()])
    request = RestoreOptions(**options)
    wanted, _ = restore_frames(frames, load_restorer("vividface-nano", dtype=torch.float32), request)
    with other_device():
        restorer = load_restorer("vividface-nano", device=DEVICE, dtype=torch.float32)
        restored, result = restore_frames(frames, restorer, request)
    assert float((restored - wanted).abs().max()) < 1e-4 and not torch.equal(restored, frames)


def test_metrics_on_a_device(tmp_path):
    truth, output = tmp_path / "truth.mp4", tmp_path / "output.mp4"
    run_ffmpeg("-ss", "4", "-i", clip("franck"), "-frames:v", "5", "-an", "-vf", "scale=256:-2", "-crf", "8", truth)
    run_ffmpeg("-i", truth, "-crf", "35", output)
    metrics = [METRICS[name] for name in MEASURED]
    wanted = measure(pair_up([output], truth), metrics, MetricContext()).scores
    with other_device():
        scores = measure(pair_up([output], truth), metrics, MetricContext(device=DEVICE)).scores
    for name in MEASURED:
        assert scores[name].value == pytest.approx(wanted[name].value, rel=1e-4), name
