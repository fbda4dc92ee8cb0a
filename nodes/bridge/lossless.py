"""Frames in memory as a file that keeps every bit of them, where a file is wanted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor


def write_lossless(path: Path, components: Any, bit_depth: int = 8) -> None:
    """Write VideoComponents as FFV1 with uncompressed sound, in a container that keeps times exactly (NUT).

    Args:
        bit_depth: above 8, samples are kept with 16 bits.
    """
    images, audio, rate = components.images, components.audio, Fraction(components.frame_rate)
    alpha = images.shape[-1] == 4
    peak, kind = (255, np.uint8) if bit_depth <= 8 else (65535, np.uint16)
    given, kept = {
        (False, 255): ("rgb24", "bgr0"),
        (True, 255): ("rgba", "bgra"),
        (False, 65535): ("rgb48le", "gbrp16le"),
        (True, 65535): ("rgba64le", "gbrap16le"),
    }[alpha, peak]
    with av.open(str(path), "w", format="nut") as output:
        stream = output.add_stream("ffv1", rate=rate)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = kept
        stream.codec_context.time_base = 1 / rate
        sound = _sound(output, audio)
        for number, image in enumerate(images):
            pixels = (image.float().clamp(0, 1) * peak).round().cpu().numpy().astype(kind)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=given).reformat(format=kept)
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _write_sound(output, sound, audio["waveform"][0])


def _sound(output: Any, audio: Any) -> Any:
    if not audio:
        return None
    channels = audio["waveform"].shape[1]
    layout = {1: "mono", 2: "stereo", 6: "5.1"}.get(channels, f"{channels} channels")
    return output.add_stream("pcm_f32le", rate=int(audio["sample_rate"]), layout=layout)


def _write_sound(output: Any, stream: Any, waveform: Tensor) -> None:
    step = stream.codec_context.sample_rate
    for start in range(0, waveform.shape[1], step):
        part = waveform[:, start : start + step].float().cpu()
        samples = np.ascontiguousarray(part.t().reshape(1, -1).numpy())
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=stream.codec_context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = step, start, Fraction(1, step)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
