"""The checkpoints that the project knows: their files, addresses, hashes and licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vividface_core.io.hub import HubFile
from vividface_core.restorers.registry import VIVIDFACE
from vividface_core.wan.empty_prompt import FILE_NAME as PROMPT
from vividface_core.wan.official_files import UMT5, VAE, WAN_DIFFUSERS


@dataclass(frozen=True)
class Entry:
    """A checkpoint that the project knows.

    Attributes:
        system: id of the system that it is of.
        files: those ending in ``.index.json`` stand for their shards as well.
        restores: false for a base that has to be trained first.
        made_of: a file that is made of others: once it is there, files whose paths begin so aren't needed any more.
    """

    summary: str
    licence: str
    system: str
    files: tuple[HubFile, ...] = ()
    restores: bool = True
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
    ),
}
"""Known checkpoints by name."""
