"""One-Step Restore: VIDEO to VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import InputImpl, Types, io

from vividface_core.pipeline.restore import Given, Resuming, restore_frames, restore_video

from .bridge.images import to_frames, to_images
from .bridge.paths import temp_path
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import blend_mask, face_models, report_of, restorer_of, tracks_of
from .bridge.restore_widgets import appended_inputs, check, common_inputs, optional_inputs, restore_options
from .bridge.schema import advanced, schema
from .bridge.video import in_memory, source_of

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
    def validate_inputs(cls, faces: str, face_numbers: str, window: int, size: int) -> bool | str:
        return check(faces, face_numbers, window, size)

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
            common: dict[str, Any] = {
                "callbacks": callbacks,
                "resources": face_models(engine, restorer, options, tracks),
            }
            if in_memory(video):
                parts = video.get_components()
                frames = to_frames(parts.images)
                if parts.images.shape[-1] == 4:
                    callbacks.notice("The frames' transparency is left out: a VIDEO made of frames has none.")
                size = (frames.shape[3], frames.shape[2])
                restored, result = restore_frames(
                    frames,
                    engine,
                    options,
                    given=Given(tracks_of(tracks, size), blend_mask(mask, len(frames))),
                    **common,
                )
                made = InputImpl.VideoFromComponents(
                    Types.VideoComponents(images=to_images(restored), audio=parts.audio, frame_rate=parts.frame_rate)
                )
            else:
                output = temp_path(SUFFIXES[encoding])
                with source_of(video) as source:
                    given = Given(tracks_of(tracks, source.size), blend_mask(mask, source.count))
                    result = restore_video(
                        source, output, engine, options, given=given, resuming=Resuming(keep_unfinished=False), **common
                    )
                made = InputImpl.VideoFromFile(str(output))
        return io.NodeOutput(made, report_of(result, callbacks, tracks))
