"""The pack's nodes: widgets and conversions over the engine, one file a node."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .bridge.examples import offer_examples
from .bridge.paths import register_folders
from .bridge.wording import told_locally
from .compare_video import CompareVideo
from .deflicker import Deflicker
from .deflicker_images import DeflickerImages
from .degrade_synth import DegradeSynth
from .degrade_synth_images import DegradeSynthImages
from .download_model import DownloadModel
from .face_mask import FaceMask
from .load_model import LoadModel
from .metrics import Metrics
from .mllm_score import MLLMScore
from .one_step_restore import OneStepRestore
from .one_step_restore_images import OneStepRestoreImages
from .score_folder import ScoreFolder
from .video_load import VideoLoad


class VividFaceExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def on_load(self) -> None:
        register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        offer_examples()  # older ComfyUI calls nothing but this
        nodes = [
            LoadModel,
            DownloadModel,
            VideoLoad,
            FaceMask,
            OneStepRestore,
            OneStepRestoreImages,
            Deflicker,
            DeflickerImages,
            CompareVideo,
            DegradeSynth,
            DegradeSynthImages,
            Metrics,
            MLLMScore,
            ScoreFolder,
        ]
        return [told_locally(node) for node in nodes]
