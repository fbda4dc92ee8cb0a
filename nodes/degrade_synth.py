"""Degrade Synth: VIDEO to VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import InputImpl, io

from vividface_core.degrade import degrade_video

from .bridge.degrading import PARAMETERS_TIP, check_overrides, common_inputs, degrade_images, preset_of, to_json
from .bridge.progress import NodeCallbacks
from .bridge.schema import advanced, schema
from .bridge.temp_files import TempFile
from .bridge.video import bit_depth_of, in_memory, source_of, video_of

SUFFIXES = {"h264": ".mp4", "ffv1": ".mkv"}
"""Of the temporary result, by encoding."""


class DegradeSynth(io.ComfyNode):
    """A video goes in, the same video degraded comes out; memory doesn't grow with its length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceDegradeSynth",
            display_name="Degrade Synth (Video)",
            description="Degrades a video by a recipe of the papers, to test restorers with a truth at hand. Sound, "
            "timing and size stay. Videos of any length: frames stream from disk to disk.",
            search_aliases=[
                "degrade",
                "degradation",
                "synthetic",
                "low quality",
                "blur",
                "noise",
                "compress",
                "flicker",
            ],
            inputs=[
                io.Video.Input("video", tooltip="Any video."),
                *common_inputs(),
                advanced(
                    io.Combo.Input(
                        "encoding",
                        options=list(SUFFIXES),
                        default="h264",
                        tooltip="How the result is kept: h264 at crf 16, far finer than what the "
                        "degradation leaves; ffv1 keeps it exactly, in large files.",
                    )
                ),
            ],
            outputs=[
                io.Video.Output("degraded", display_name="video", tooltip="The degraded video."),
                io.String.Output("parameters", display_name="parameters", tooltip=PARAMETERS_TIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, overrides: str) -> bool | str:
        return check_overrides(overrides)

    @classmethod
    def execute(
        cls, video: Any, preset: str, seed: int, overrides: str, encoding: str, **numbers: Any
    ) -> io.NodeOutput:
        callbacks, chosen = NodeCallbacks(cls.hidden.unique_id), preset_of(preset, overrides, **numbers)
        if in_memory(video):
            parts = video.get_components()
            images, parameters = degrade_images(parts.images, chosen, seed, callbacks)
            made = video_of(images, parts.audio, parts.frame_rate, bit_depth_of(video))
            return io.NodeOutput(made, parameters)
        output = TempFile(SUFFIXES[encoding])
        with source_of(video) as source:
            result = degrade_video(source, output, chosen, seed=seed, codec_out=encoding, callbacks=callbacks)
        return io.NodeOutput(InputImpl.VideoFromFile(output), to_json(result.record))
