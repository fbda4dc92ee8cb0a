"""Degraded clips: presets, on tensors, in a stream, and on files."""

from __future__ import annotations

from vividface_core.degrade.codec import through_h264
from vividface_core.degrade.degradation import Degradation, DegradationRanges
from vividface_core.degrade.files import DegradeResult, degrade_video, read_record, seed_for, sidecar_of
from vividface_core.degrade.filters import downscale, gaussian_blur, resize
from vividface_core.degrade.folder import FolderResult, degrade_folder
from vividface_core.degrade.mixture import Mixture
from vividface_core.degrade.preset import Preset
from vividface_core.degrade.presets import load_preset, preset_names
from vividface_core.degrade.sampled import SampledDegradation

__all__ = [
    "Degradation",
    "DegradationRanges",
    "DegradeResult",
    "SampledDegradation",
    "FolderResult",
    "Mixture",
    "Preset",
    "degrade_folder",
    "degrade_video",
    "downscale",
    "gaussian_blur",
    "load_preset",
    "preset_names",
    "read_record",
    "resize",
    "seed_for",
    "sidecar_of",
    "through_h264",
]
