"""MLLM Score."""

from __future__ import annotations

import json
import logging
from typing import Any

from comfy_api.latest import io

from vividface_core.mllm.scoring import judge_id, pop_notices, with_verdict
from vividface_core.mllm.tables import dimensions

from .bridge.judge_run import ask, shown
from .bridge.judge_widgets import check_judge, external_digest, judge_details, judge_inputs, make
from .bridge.progress import ShareBar
from .bridge.schema import advanced, schema


class MLLMScore(io.ComfyNode):
    """A face video's grades by the criteria of the VividFace paper."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceMLLMScore",
            display_name="MLLM Score",
            description="Grades a face video by the five criteria that the VividFace paper chose its training data by: "
            "through a multimodal model on this machine or behind a server, or by measurements alone.",
            search_aliases=["mllm", "vlm", "qwen", "score", "grade", "rate video", "quality", "aesthetic", "filter"],
            inputs=[
                io.MultiType.Input(
                    "video", [io.Video, io.Image], tooltip="What is graded: a video, or an image batch."
                ),
                *judge_inputs(),
                *judge_details(),
                advanced(
                    io.Float.Input(
                        "image_fps",
                        default=24.0,
                        min=0.01,
                        max=240.0,
                        step=0.01,
                        tooltip="Frames a second of image batches; videos have their own.",
                    )
                ),
            ],
            outputs=[
                io.Float.Output("score", display_name="score", tooltip="Final score, from 0 to 100."),
                io.String.Output("tier", display_name="tier", tooltip="The rubric's class of that score."),
                io.Boolean.Output("keep", display_name="keep", tooltip="Whether the score is above the threshold."),
                io.String.Output(
                    "table",
                    display_name="table",
                    tooltip="Each criterion with its points and the judge's reason, as Markdown.",
                ),
                io.String.Output("answer", display_name="answer", tooltip="What the judge wrote, as it came."),
                io.String.Output("record", display_name="record", tooltip="Everything about the judgement as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, judge: str) -> bool | str:
        return check_judge(judge)

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> str:
        return external_digest(values)

    @classmethod
    def execute(cls, video: Any, threshold: float, image_fps: float, **values: Any) -> io.NodeOutput:
        bar = ShareBar(cls.hidden.unique_id)
        judge, calibration, notices = make(values)
        with shown(video, image_fps) as source:
            judgement = ask(judge, source, values["passes"], bar)
            name = source.name
        for notice in (*notices, *pop_notices(judge)):
            logging.info("VividFace: %s", notice)
        record = {"name": name, "judge": judge_id(judge.identity), "state": "judged", "judgement": judgement.to_json()}
        row = with_verdict(record, judge.rubric, calibration, None if threshold < 0 else threshold)
        table = dimensions(row, judge.rubric)
        return io.NodeOutput(
            row["final"],
            row["tier"],
            row["keep"],
            table.markdown(),
            judgement.answer,
            json.dumps(row, ensure_ascii=False, indent=1),
            ui={"text": (table.markdown(),), "vividface_table": (table.to_json(),)},
        )
