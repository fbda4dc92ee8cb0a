"""Deflicker: IMAGE to IMAGE."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from vividface_core.pipeline.restore import restore_frames

from .bridge.deflicker_widgets import common_inputs, model_of, options_of, restorer_input
from .bridge.images import to_frames, to_images, with_alpha_of
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import face_models, report_of, restorer_of
from .bridge.restore_widgets import check_window
from .bridge.schema import schema


class DeflickerImages(io.ComfyNode):
    """The same as Deflicker (Video) for frames in memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceDeflickerImages",
            display_name="Deflicker (Images)",
            description="Takes the flicker out of an image batch, whose frames are taken as a video. For long videos "
            "use Deflicker (Video), which needs no memory for them.",
            search_aliases=["deflicker", "flicker", "steady brightness", "temporal consistency"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of a video in their order, three or more."),
                *common_inputs(),
                restorer_input(),
            ],
            outputs=[
                io.Image.Output("steady", display_name="images", tooltip="The frames without their flicker."),
                io.String.Output(
                    "report", display_name="report", tooltip="What was done, and the flicker before and after."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, window: int) -> bool | str:
        return check_window(window)

    @classmethod
    def execute(cls, images: Any, restorer: Any = None, **values: Any) -> io.NodeOutput:
        callbacks, options = NodeCallbacks(cls.hidden.unique_id), options_of(values)
        model = model_of(restorer, options.deflicker)
        engine = restorer_of(model, None, None, None, options)
        steady, result = restore_frames(
            to_frames(images), engine, options, callbacks=callbacks, resources=face_models(engine, model, options, None)
        )
        return io.NodeOutput(with_alpha_of(to_images(steady), images), report_of(result, callbacks, None))
