"""What real footage has gone through, far beyond the paper's ranges: down to nothing at all, and up to the web's."""

from __future__ import annotations

from typing import Any

from vividface_core.degrade.degradation import FORMULA, DegradationRanges
from vividface_core.degrade.mixture import Mixture
from vividface_core.degrade.parameters import ENCODERS
from vividface_core.degrade.preset import Preset, make_preset

NAME = "real_world"
_PAPER = DegradationRanges()


def _part(share: int, word: str, summary: str, steps: tuple[str, ...], **values: Any) -> tuple[int, Preset]:
    return share, make_preset(f"{NAME}/{word}", summary, steps, values)


REAL_WORLD = Mixture(
    NAME,
    "what real footage has gone through: from nothing to the web's compression",
    (
        _part(10, "clean", "nothing", ()),
        _part(
            13,
            "light",
            "a good camera, compressed a little",
            FORMULA,
            sigma=(0.1, 0.8),
            scale=(1.0, 1.4),
            noise=(0.0, 3.0),
            crf=(16, 22),
        ),
        _part(
            45,
            "paper",
            "the ranges of the VividFace paper",
            FORMULA,
            sigma=_PAPER.sigma,
            scale=_PAPER.scale,
            noise=_PAPER.noise,
            crf=_PAPER.crf,
        ),
        _part(
            12,
            "web",
            "compression that shows, at full size or smaller",
            ("blur", "downscale", "compress"),
            sigma=(0.0, 0.8),
            scale=(1.0, 2.0),
            encoder=ENCODERS,
            crf=(28, 36),
            quantizer=(5, 14),
        ),
        _part(
            5,
            "twice",
            "compressed, made smaller, compressed again",
            ("blur", "compress", "downscale", "compress_again"),
            sigma=(0.0, 1.5),
            encoder=ENCODERS,
            crf=(22, 31),
            quantizer=(3, 9),
            scale=(1.0, 1.8),
            encoder_again=("libx264", "libx265"),
            crf_again=(23, 33),
        ),
        _part(
            4,
            "interlaced",
            "fields made to frames",
            ("blur", "interlace", "noise", "compress"),
            sigma=(0.0, 1.2),
            fields=("blend", "drop", "weave"),
            noise=(0.0, 5.0),
            encoder=("libx264", "mpeg2video", "mpeg4"),
            crf=(19, 29),
            quantizer=(3, 9),
        ),
        _part(
            4,
            "ringing",
            "enlarged and over-sharpened",
            ("downscale", "noise", "enlarge", "ringing", "codec"),
            scale=(1.0, 2.5),
            noise=(0.0, 4.0),
            cutoff=(0.35, 1.0),
            sharpening=(0.2, 2.0),
            crf=(18, 28),
        ),
        _part(
            3,
            "grain",
            "film grain, new in each frame or standing still",
            ("blur", "downscale", "grain", "codec"),
            sigma=(0.1, 3.0),
            scale=(1.0, 2.0),
            grain=(2.0, 14.0),
            grain_size=(0.3, 1.0),
            pattern=("fresh", "fixed"),
            crf=(16, 25),
        ),
        _part(
            4,
            "grey",
            "black and white, with grain",
            ("grey", "blur", "downscale", "grain", "compress"),
            sigma=(0.1, 4.0),
            scale=(1.0, 3.0),
            grain=(0.0, 12.0),
            grain_size=(0.3, 1.0),
            pattern=("fresh", "fresh", "fresh", "fixed"),
            encoder=ENCODERS,
            crf=(18, 30),
            quantizer=(3, 9),
        ),
    ),
    (
        "Ours. A clip gets one of these parts, each as often as its share. Parts are presets too, as real_world/web.",
        "quantizer is that of mpeg2video and mpeg4; crf 28 to 36 loses about as much as 5 to 14.",
    ),
)
