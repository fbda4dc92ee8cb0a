"""Wan 2.1's own files on the Hub."""

from __future__ import annotations

from vividface_core.io.hub import HubFile

WAN = "Wan-AI/Wan2.1-T2V-1.3B"
WAN_DIFFUSERS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
UMT5 = HubFile(
    WAN,
    "models_t5_umt5-xxl-enc-bf16.pth",
    "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
    11_361_920_418,
)
VAE = HubFile(WAN, "Wan2.1_VAE.pth", "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981", 507_609_880)
