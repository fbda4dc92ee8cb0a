"""The checkpoints that the project knows: their files, addresses, hashes and licences."""

from __future__ import annotations

from dataclasses import dataclass

from vividface_core.io.hub import HubFile

WAN = "Wan-AI/Wan2.1-T2V-1.3B"
WAN_DIFFUSERS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
UMT5 = HubFile(
    WAN, "models_t5_umt5-xxl-enc-bf16.pth",
    "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d", 11_361_920_418,
)  # fmt: skip
VAE = HubFile(WAN, "Wan2.1_VAE.pth", "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981", 507_609_880)


@dataclass(frozen=True)
class Entry:
    """A checkpoint that the project knows.

    Attributes:
        files: those ending in ``.index.json`` stand for their shards as well.
        restores: false for a base that has to be trained first.
    """

    summary: str
    licence: str
    files: tuple[HubFile, ...] = ()
    restores: bool = True


TABLE: dict[str, Entry] = {
    "vividface-nano": Entry(
        "the small embedded model: needs no download and no GPU; see docs/nano.md", "Apache-2.0"
    ),
    "vividface": Entry(
        "the released 1.3B model (the text encoder is needed once)",
        "Apache-2.0 as its repository claims; Wan 2.1 parts Apache-2.0",
        (HubFile("shulianz/VividFace", "vividface.ckpt"), VAE, UMT5),
    ),
    "wan2.1-t2v-1.3b": Entry(
        "the untrained base in diffusers' layout, to train from", "Apache-2.0",
        tuple(
            HubFile(WAN_DIFFUSERS, path)
            for path in (
                "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
                "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json",
                "text_encoder/config.json", "text_encoder/model.safetensors.index.json",
            )
        ),
        restores=False,
    ),
}  # fmt: skip
"""Known checkpoints by name."""
