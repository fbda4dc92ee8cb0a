"""Video Load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, io

from vividface_core.errors import UnreadableVideo, VividFaceError
from vividface_core.io.folders import is_file, walk
from vividface_core.runtime.wording import counted
from vividface_core.video.retime import rate_of, write_at_rate
from vividface_core.video.source import VideoFrames

from .bridge.images import to_images
from .bridge.paths import fingerprint
from .bridge.progress import ShareBar
from .bridge.schema import advanced, schema
from .bridge.temp_files import TempFile
from .bridge.video import VideoPart

LONGEST = 10_000_000


def _files() -> list[str]:
    folder = Path(folder_paths.get_input_directory())
    names = [path.relative_to(folder).as_posix() for _, found in walk(folder) for path in found if is_file(path)]
    return sorted(folder_paths.filter_files_content_types(names, ["video"]))


class VideoLoad(io.ComfyNode):
    """A file becomes a VIDEO; nothing but its first frame is decoded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceVideoLoad",
            display_name="Video Load (VividFace)",
            description="Loads a video, or a part of it, without holding it in memory. The part keeps its sound and "
            "its times.",
            search_aliases=[
                "load video",
                "load video upload",
                "vhs load video",
                "video helper suite",
                "open video",
                "video input",
                "trim video",
                "frame range",
                "force rate",
                "frame load cap",
                "skip first frames",
                "select every nth",
            ],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_files(),
                    upload=io.UploadType.video,
                    tooltip="A video in ComfyUI's input folder; the button adds one.",
                ),
                io.Int.Input(
                    "start_frame",
                    default=0,
                    min=0,
                    max=LONGEST,
                    tooltip="Number of the first frame that is taken, counted from 0.",
                ),
                io.Int.Input(
                    "frame_count",
                    default=0,
                    min=0,
                    max=LONGEST,
                    tooltip="How many of the file's frames are taken from there on; 0: to the end.",
                ),
                advanced(
                    io.Int.Input(
                        "stride",
                        default=1,
                        min=1,
                        max=1000,
                        tooltip="Take every so many-th frame of the part. The playing time stays.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "force_rate",
                        default=0.0,
                        min=0.0,
                        max=240.0,
                        step=0.01,
                        optional=True,
                        tooltip="Frames a second that the part gets: frames are repeated or left out, the playing "
                        "time stays. 0: the file's own.",
                    )
                ),
            ],
            outputs=[
                io.Video.Output("video", display_name="video", tooltip="The video, or the part of it."),
                io.Image.Output(
                    "first_frame", display_name="first frame", tooltip="The first frame that is taken, as an image."
                ),
                io.Int.Output("frames", display_name="frames", tooltip="Frames that are taken."),
                io.Float.Output("fps", display_name="fps", tooltip="Frames a second of the part."),
                io.String.Output("info", display_name="info", tooltip="Size, rate, codec, streams in plain words."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        if file is None:
            return True  # another node tells it
        if not folder_paths.exists_annotated_filepath(file):
            return f"{file} isn't in the input folder; choose another file or upload it."
        try:
            _source(file, 0, 0, 1)
        except VividFaceError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: Any) -> str:
        return fingerprint(folder_paths.get_annotated_filepath(file))

    @classmethod
    def execute(
        cls, file: str, start_frame: int, frame_count: int, stride: int, force_rate: float = 0.0
    ) -> io.NodeOutput:
        source = _source(file, start_frame, frame_count, stride)
        first = next(iter(source.read(0, 1)), None)
        if first is None:
            raise UnreadableVideo(f"{file} holds no frame that can be decoded.")
        if force_rate and (rate := rate_of(force_rate)) != source.fps:
            bar, path = ShareBar(cls.hidden.unique_id), TempFile(".mkv")
            write_at_rate(source, Path(path), rate, lambda done, total: bar(done / (total or done + 1)))
            source, video = VideoFrames(path), InputImpl.VideoFromFile(path)
            source.name = file
        elif source.is_whole:
            video = InputImpl.VideoFromFile(str(source.path))
        else:
            video = VideoPart(source.path, source.first, source.end, source.step)
        image = to_images(first.rgb()[None])
        count, text = _describe(source, video)
        # No picture for the page: it plays the file in this node already, and would take a picture for a video.
        return io.NodeOutput(video, image, count, float(source.fps), text)


def _source(file: str, start: int, count: int, stride: int) -> VideoFrames:
    path = folder_paths.get_annotated_filepath(file)
    return VideoFrames(path, start, start + count if count else None, stride)


def _describe(source: VideoFrames, video: InputImpl.VideoFromFile | VideoPart) -> tuple[int, str]:
    """How many frames, and a line about them."""
    info, (width, height) = source.file, source.size
    count = source.count if source.count is not None else video.get_frame_count()
    others = ", ".join(f"{stream.kind} {stream.codec}" for stream in info.streams) or "no sound"
    text = (
        f"{os.path.basename(source.name)}: {width}×{height}, {counted(count, 'frame')}, "
        f"{float(source.fps):.3f} fps, {info.codec} {info.pix_fmt}, {others}"
    )
    return count, text
