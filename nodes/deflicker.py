"""Deflicker: VIDEO to VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .bridge.deflicker_widgets import common_inputs, model_of, options_of, restorer_input
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import face_models, report_of, restorer_of
from .bridge.restore_run import encoding_input, run_on_video
from .bridge.restore_widgets import check_window
from .bridge.schema import schema


class Deflicker(io.ComfyNode):
    """A video goes in, the same video without its flicker comes out; memory doesn't grow with its length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceDeflicker",
            display_name="Deflicker (Video)",
            description="Takes the flicker out of a video: of old film, projectors, lamps or image generators. Whole "
            "frames, not only faces; detail, sound and timing stay.",
            search_aliases=["deflicker", "flicker", "steady brightness", "old film", "temporal consistency"],
            inputs=[
                io.Video.Input("video", tooltip="Any video."),
                *common_inputs(),
                encoding_input(),
                restorer_input(),
            ],
            outputs=[
                io.Video.Output("steady", display_name="video", tooltip="The video without its flicker."),
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
    def execute(cls, video: Any, encoding: str, restorer: Any = None, **values: Any) -> io.NodeOutput:
        callbacks, options = NodeCallbacks(cls.hidden.unique_id), options_of(values, encoding)
        model = model_of(restorer, options.deflicker)
        engine = restorer_of(model, None, None, None, options)
        made, result = run_on_video(video, engine, options, callbacks, face_models(engine, model, options, None))
        return io.NodeOutput(made, report_of(result, callbacks, None))
