"""One-Step Restore: VIDEO to VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from vividface_core.pipeline.restore import Given

from .bridge.preview_run import preview_input, refuse_with_preview, run_preview
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import blend_mask, face_models, report_of, restorer_of, tracks_of
from .bridge.restore_run import encoding_input, run_on_video
from .bridge.restore_widgets import (
    appended_inputs,
    check_window,
    common_inputs,
    optional_inputs,
    people_inputs,
    restore_options,
    restored_occluders_input,
)
from .bridge.schema import advanced, schema
from .bridge.upscaling import upscale_input, upscaler_of

BACKGROUND_TIP = (
    "The same video enlarged by an upscaler (SeedVR2, FlashVSR, a model upscaler …), frame for frame: faces are "
    "restored from the video and put into it, at its size."
)
SCALE_TIP = (
    "Enlarges the frames too, by Lanczos, so that a small face keeps the size it was restored at. 1: as they are. A "
    "background has its own size."
)


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
                encoding_input(),
                *optional_inputs(),
                *appended_inputs(),
                io.Video.Input("background", optional=True, tooltip=BACKGROUND_TIP),
                advanced(
                    io.Float.Input("scale", default=1.0, min=1.0, max=4.0, step=0.25, optional=True, tooltip=SCALE_TIP)
                ),
                *people_inputs(),
                preview_input(),
                restored_occluders_input(),
                upscale_input(),
            ],
            outputs=[
                io.Video.Output("restored", display_name="video", tooltip="The video with its faces restored."),
                io.String.Output("report", display_name="report", tooltip="What was done, in plain words."),
                io.Video.Output(
                    "source",
                    display_name="source",
                    tooltip="The same frames of the source, for Compare Video: with 'preview' its second, else all.",
                ),
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
        background: Any = None,
        preview: bool = False,
        upscale_model: Any = None,
        **values: Any,
    ) -> io.NodeOutput:
        callbacks = NodeCallbacks(cls.hidden.unique_id)
        upscale, values["scale"] = upscaler_of(upscale_model, values.get("scale", 1.0))
        if preview:
            told = {name: values.get(name) for name in ("landmarks", "boxes", "person")}
            refuse_with_preview(mask=mask, tracks=tracks, background=background, **told)
        with restore_options(values, reference, tracks, encoding) as options:
            engine = restorer_of(restorer, vae, model, conditioning, options)
            if preview:
                models = face_models(engine, restorer, options, None, upscale)
                return run_preview(video, engine, options, callbacks, models, cls)
            made, result = run_on_video(
                video,
                engine,
                options,
                callbacks,
                face_models(engine, restorer, options, tracks, upscale),
                lambda source: Given(
                    tracks_of(tracks, source, values, options, callbacks), blend_mask(mask, source.count)
                ),
                background,
            )
        return io.NodeOutput(made, report_of(result, callbacks, tracks), video)
