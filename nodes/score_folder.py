"""Score Folder."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.io.file_names import natural_key
from vividface_core.io.folders import entries, is_dir
from vividface_core.mllm.folder import SORTS, score_folder, videos_in
from vividface_core.mllm.scoring import pop_notices
from vividface_core.mllm.tables import videos as as_table

from .bridge.judge_widgets import judge_details, judge_inputs, make
from .bridge.paths import safe_join
from .bridge.progress import ShareBar, stop_if_asked
from .bridge.schema import schema
from .bridge.wording import in_words, renamed

HERE = "."
NO_COPIES = "no copies"
SHOWN = 200
"""Rows that the node shows; the table has them all."""


def _folders() -> list[str]:
    """Folders with videos, the input folder itself first."""
    base = Path(folder_paths.get_input_directory())
    found = []
    for start in (entry for entry in entries(base) if is_dir(entry) and entry.name[0] != "."):  # links too
        for place, folders, files in os.walk(start):
            folders[:] = [name for name in folders if name[0] != "."]
            if folder_paths.filter_files_content_types(files, ["video"]):
                found.append(Path(place).relative_to(base).as_posix())
    return [HERE, *sorted(found, key=natural_key)]


def _source(folder: str) -> Path:
    """
    Raises:
        InvalidOption: there is no such folder below the input folder.
    """
    path = safe_join(folder_paths.get_input_directory(), folder)
    if path is None or not path.is_dir():
        raise InvalidOption(f"There is no folder {folder} in ComfyUI's input folder. Put the videos into one there.")
    return path


def _target(name: str) -> Path:
    """
    Raises:
        InvalidOption: it isn't below the output folder.
    """
    base = Path(folder_paths.get_output_directory())
    path = safe_join(base, name)
    if path is None or path == base:
        raise InvalidOption(f"name is {name!r}; give the name of a folder below ComfyUI's output folder.")
    return path


class ScoreFolder(io.ComfyNode):
    """Every video of a folder graded, in tables, and sorted if wanted."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceScoreFolder",
            display_name="Score Folder",
            description="Grades all videos of a folder as MLLM Score does, writes tables into the output folder and, "
            "if wanted, copies of the videos sorted by tier or by keep and drop. What is done is kept: after a stop or "
            "a crash the next run judges only what is missing.",
            search_aliases=["score folder", "batch score", "mllm", "curate", "filter videos", "sort videos", "rate"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=_folders(),
                    default=HERE,
                    tooltip="A folder below ComfyUI's input folder; a dot is the input folder itself.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Take the videos of folders below it too."),
                *judge_inputs(),
                io.Combo.Input(
                    "sort",
                    options=[NO_COPIES, *SORTS],
                    default=NO_COPIES,
                    tooltip="Copies of the videos in the folder sorted beside the tables. The originals "
                    "stay where they are; copies of an earlier run are moved as the scores say now.",
                ),
                io.String.Input(
                    "name",
                    default="VividFace/scores",
                    tooltip="Folder below ComfyUI's output folder for tables and copies. A run with the "
                    "same name goes on where the last one ended; give another folder another name.",
                ),
                *judge_details(),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="A row for each video, as Markdown."),
                io.Int.Output("judged", display_name="judged", tooltip="Videos with a score."),
                io.Int.Output("kept", display_name="kept", tooltip="Videos above the threshold."),
                io.Int.Output("failed", display_name="failed", tooltip="Videos without a score; the table says why."),
                io.String.Output(
                    "path",
                    display_name="path",
                    tooltip="The folder with scores.csv, scores.json, scores.jsonl and the copies.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, folder: str) -> bool | str:
        try:
            if folder is not None:
                _source(folder)
        except VividFaceError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return time.time_ns()  # videos and tables may have changed; what is judged isn't judged again

    @classmethod
    def execute(
        cls, folder: str, subfolders: bool, threshold: float, sort: str, name: str, **values: Any
    ) -> io.NodeOutput:
        bar = ShareBar(cls.hidden.unique_id)
        videos, target = videos_in(_source(folder), subfolders), _target(name)
        judge, calibration, notices = make(values)

        def told(row: dict[str, Any], done: int, total: int) -> None:
            for notice in pop_notices(judge):
                logging.info("VividFace: %s", notice)
            logging.info("VividFace: %d of %d, %s: %s", done, total, row["name"], row["tier"] or row["error"])
            bar(done / total)

        for notice in notices:
            logging.info("VividFace: %s", notice)
        with renamed():
            rows = score_folder(
                judge,
                videos,
                target,
                calibration=calibration,
                threshold=None if threshold < 0 else threshold,
                sort="" if sort == NO_COPIES else sort,
                on_poll=stop_if_asked,
                told=told,
            )
        table, short = as_table(rows, judge.rubric, judge.name), as_table(rows[:SHOWN], judge.rubric, judge.name)
        judged = [row for row in rows if row["state"] == "judged"]
        text, shown = in_words(table.markdown()), {**short.to_json(), "title": table.title}
        return io.NodeOutput(
            text,
            len(judged),
            sum(row["keep"] for row in judged),
            len(rows) - len(judged),
            str(target),
            ui={"text": (text,), "vividface_table": (shown,)},
        )
