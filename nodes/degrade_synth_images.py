"""Degrade Synth: IMAGE to IMAGE."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .bridge.degrading import PARAMETERS_TIP, check_overrides, common_inputs, degrade_images, preset_of
from .bridge.progress import NodeCallbacks
from .bridge.schema import schema


class DegradeSynthImages(io.ComfyNode):
    """The same as Degrade Synth for frames in memory, to chain with every other node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceDegradeSynthImages",
            display_name="Degrade Synth (Images)",
            description="Degrades an image batch by a recipe of the papers; its frames are taken as a video. For "
            "long videos use Degrade Synth (Video), which needs no memory for them.",
            search_aliases=["degrade", "degradation", "synthetic", "low quality", "blur", "noise", "flicker"],
            inputs=[
                io.Image.Input("images", tooltip="One picture, or the frames of a video in their order."),
                *common_inputs(),
            ],
            outputs=[
                io.Image.Output("degraded", display_name="images", tooltip="The degraded frames."),
                io.String.Output("parameters", display_name="parameters", tooltip=PARAMETERS_TIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, overrides: str) -> bool | str:
        return check_overrides(overrides)

    @classmethod
    def execute(cls, images: Any, preset: str, seed: int, overrides: str, **numbers: Any) -> io.NodeOutput:
        callbacks, chosen = NodeCallbacks(cls.hidden.unique_id), preset_of(preset, overrides, **numbers)
        return io.NodeOutput(*degrade_images(images, chosen, seed, callbacks))
