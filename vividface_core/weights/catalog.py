"""The checkpoints that the project knows: their files, addresses, hashes and licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vividface_core.io.hub import HubFile, WebFile
from vividface_core.restorers.base import DEFLICKER_BRIGHTNESS, DEFLICKER_PIXEL, RESTORE
from vividface_core.restorers.registry import BFVR_STC, MEASURED_BRIGHTNESS, VIVIDFACE
from vividface_core.wan.empty_prompt import FILE_NAME as PROMPT
from vividface_core.wan.official_files import UMT5, VAE, WAN_DIFFUSERS

NO_LICENCE = "none: the authors state none for code or weights, so ask them before you use it or pass it on"


@dataclass(frozen=True)
class Entry:
    """A checkpoint that the project knows.

    Attributes:
        system: id of the system that it is of.
        files: those ending in ``.index.json`` stand for their shards as well. One file alone is the checkpoint.
        restores: false for a base that has to be trained first.
        tasks: what it was trained for, of :data:`vividface_core.restorers.base.TASKS`.
        made_of: a file that is made of others: once it is there, files whose paths begin so aren't needed any more.
    """

    summary: str
    licence: str
    system: str
    files: tuple[HubFile | WebFile, ...] = ()
    restores: bool = True
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tasks: tuple[str, ...] = (RESTORE,)


def _bfvr_stc(file: str, summary: str, *tasks: str) -> Entry:
    """A released checkpoint of BFVR-STC: one file of its release page."""
    return Entry(
        f"{summary} of BFVR-STC, as released; see docs/bfvr_stc.md",
        NO_LICENCE,
        BFVR_STC.id,
        (WebFile(f"https://github.com/Dixin-Lab/BFVR-STC/releases/download/init/{file}", file),),
        tasks=tasks,
    )


DEFLICKERERS = {"brightness": "measured-brightness", "pixel": "bfvr-stc-deflicker-pixel"}
"""The checkpoints that take flicker away unless another one is named, by its kind."""
TABLE: dict[str, Entry] = {
    "vividface-nano": Entry(
        "the small embedded model: needs no download and no GPU; see docs/nano.md", "Apache-2.0", VIVIDFACE.id
    ),
    "vividface": Entry(
        "the released 1.3B model (the text encoder is needed once)",
        "Apache-2.0 as its repository claims; Wan 2.1 parts Apache-2.0",
        VIVIDFACE.id,
        (HubFile("shulianz/VividFace", "vividface.ckpt"), VAE, UMT5),
        made_of={PROMPT: (UMT5.path,)},
    ),
    "wan2.1-t2v-1.3b": Entry(
        "the untrained base in diffusers' layout, to train from",
        "Apache-2.0",
        VIVIDFACE.id,
        tuple(
            HubFile(WAN_DIFFUSERS, path)
            for path in (
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
                "transformer/config.json",
                "transformer/diffusion_pytorch_model.safetensors.index.json",
                "text_encoder/config.json",
                "text_encoder/model.safetensors.index.json",
            )
        ),
        restores=False,
        made_of={PROMPT: ("text_encoder/",)},
        tasks=(),
    ),
    "measured-brightness": Entry(
        "takes flicker of the brightness away without a network; see docs/bfvr_stc.md",
        "Apache-2.0",
        MEASURED_BRIGHTNESS.id,
        tasks=(DEFLICKER_BRIGHTNESS,),
    ),
    "bfvr-stc-nano": Entry(
        "a small embedded member of BFVR-STC for faces of 64 pixels: to see the system at work; see docs/bfvr_stc.md",
        "Apache-2.0",
        BFVR_STC.id,
        tasks=(RESTORE,),
    ),
    "bfvr-stc-nano-deflicker": Entry(
        "the small embedded network for flicker of the brightness: needs no download; see docs/bfvr_stc.md",
        "Apache-2.0",
        BFVR_STC.id,
        tasks=(DEFLICKER_BRIGHTNESS,),
    ),
    "bfvr-stc": _bfvr_stc("ckpt-bfvr.pth", "the face restorer", RESTORE),
    "bfvr-stc-deflicker": _bfvr_stc("ckpt-defilcker.pth", "the de-flickerer for brightness", DEFLICKER_BRIGHTNESS),
    "bfvr-stc-deflicker-pixel": _bfvr_stc(
        "ckpt-deflickersd.pth", "the de-flickerer for pictures of image generators", DEFLICKER_PIXEL
    ),
}
"""Known checkpoints by name."""
