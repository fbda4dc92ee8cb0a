"""One-Step Restore: VIDEO to VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import InputImpl, io

from vividface_core.pipeline.restore import Given, Resuming, restore_frames, restore_video
from vividface_core.video.source import ClipFrames

from .bridge.images import to_frames, to_images
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import blend_mask, face_models, report_of, restorer_of, tracks_of
from .bridge.restore_widgets import appended_inputs, check_window, common_inputs, optional_inputs, restore_options
from .bridge.schema import advanced, schema
from .bridge.temp_files import TempFile
from .bridge.video import bit_depth_of, in_memory, is_opaque, source_of, video_of

SUFFIXES = {"h264": ".mp4", "h265": ".mp4", "ffv1": ".mkv"}
"""Of the temporary result, by encoding. The core's Save Video puts each of them into mp4 as it is."""


class OneStepRestore(io.ComfyNode):
    """A video goes in, the same video with its faces restored comes out; memory doesn't grow with its length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceOneStepRestore",
            display_name="One-Step Restore (Video)",
            description="Restores the faces of a video. Everything else (other pixels, sound, timing) stays. Videos "
            "of any length: frames stream from disk to disk.",
            search_aliases=[
                "face restore",
                "restore video",
                "enhance face",
                "deblur face",
                "upscale face",
                "codeformer",
                "gfpgan",
                "seedvr",
            ],
            inputs=[
                io.Video.Input("video", tooltip="Any video."),
                *common_inputs(),
                advanced(
                    io.Combo.Input(
                        "encoding",
                        options=list(SUFFIXES),
                        default="h264",
                        tooltip="How the result is kept: h264 and h265 look lossless; ffv1 keeps "
                        "every untouched pixel bit for bit, in large files.",
                    )
                ),
                *optional_inputs(),
                *appended_inputs(),
            ],
            outputs=[
                io.Video.Output("restored", display_name="video", tooltip="The video with its faces restored."),
                io.String.Output("report", display_name="report", tooltip="What was done, in plain words."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, window: int) -> bool | str:
        return check_window(window)

    @classmethod
    def execute(
        cls,
        video: Any,
        encoding: str,
        restorer: Any = None,
        mask: Any = None,
        tracks: Any = None,
        reference: Any = None,
        vae: Any = None,
        model: Any = None,
        conditioning: Any = None,
        **values: Any,
    ) -> io.NodeOutput:
        callbacks = NodeCallbacks(cls.hidden.unique_id)
        with restore_options(values, reference, tracks, encoding) as options:
            engine = restorer_of(restorer, vae, model, conditioning, options)
            common = {"callbacks": callbacks, "resources": face_models(engine, restorer, options, tracks)}
            if in_memory(video) and is_opaque(video):
                parts = video.get_components()
                frames = to_frames(parts.images)
                chosen = tracks_of(tracks, ClipFrames(frames), values, options, callbacks)
                restored, result = restore_frames(
                    frames,
                    engine,
                    options,
                    given=Given(chosen, blend_mask(mask, len(frames))),
                    **common,
                )
                made = video_of(to_images(restored), parts.audio, parts.frame_rate, bit_depth_of(video))
            else:
                output = TempFile(SUFFIXES[encoding])
                with source_of(video) as source:
                    chosen = tracks_of(tracks, source, values, options, callbacks)
                    given = Given(chosen, blend_mask(mask, source.count))
                    result = restore_video(
                        source, output, engine, options, given=given, resuming=Resuming(keep_unfinished=False), **common
                    )
                made = InputImpl.VideoFromFile(output)
        return io.NodeOutput(made, report_of(result, callbacks, tracks))
