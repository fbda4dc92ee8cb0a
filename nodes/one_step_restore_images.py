"""One-Step Restore: IMAGE to IMAGE."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from vividface_core.pipeline.restore import Given, restore_frames
from vividface_core.video.source import ClipFrames

from .bridge.images import to_frames, to_images, with_alpha_of
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import blend_mask, face_models, report_of, restorer_of, tracks_of
from .bridge.restore_widgets import (
    appended_inputs,
    check_window,
    common_inputs,
    optional_inputs,
    people_inputs,
    restore_options,
    restored_occluders_input,
)
from .bridge.schema import schema


class OneStepRestoreImages(io.ComfyNode):
    """The same as One-Step Restore for frames in memory, to chain with every other node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceOneStepRestoreImages",
            display_name="One-Step Restore (Images)",
            description="Restores the faces of an image batch, whose frames are taken as a video. For long videos use "
            "One-Step Restore (Video), which needs no memory for them.",
            search_aliases=["face restore", "restore images", "enhance face", "fix face"],
            inputs=[
                io.Image.Input("images", tooltip="One picture, or the frames of a video in their order."),
                *common_inputs(),
                *optional_inputs(),
                *appended_inputs(),
                *people_inputs(),
                restored_occluders_input(),
            ],
            outputs=[
                io.Image.Output("restored", display_name="images", tooltip="The frames with their faces restored."),
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
        images: Any,
        restorer: Any = None,
        mask: Any = None,
        tracks: Any = None,
        reference: Any = None,
        vae: Any = None,
        model: Any = None,
        conditioning: Any = None,
        **values: Any,
    ) -> io.NodeOutput:
        callbacks, frames = NodeCallbacks(cls.hidden.unique_id), to_frames(images)
        with restore_options(values, reference, tracks) as options:
            engine = restorer_of(restorer, vae, model, conditioning, options)
            chosen = tracks_of(tracks, ClipFrames(frames), values, options, callbacks)
            restored, result = restore_frames(
                frames,
                engine,
                options,
                callbacks=callbacks,
                given=Given(chosen, blend_mask(mask, len(frames))),
                resources=face_models(engine, restorer, options, tracks),
            )
        return io.NodeOutput(with_alpha_of(to_images(restored), images), report_of(result, callbacks, tracks))
