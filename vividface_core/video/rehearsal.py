"""Before the work: the real output with its real streams, name and rate, its header and its first frame."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from vividface_core.io.file_names import scratch_prefix
from vividface_core.video.frame import Frame
from vividface_core.video.info import VideoInfo
from vividface_core.video.mux import check_output, mux
from vividface_core.video.presets import part_suffix
from vividface_core.video.writer import VideoWriter

SECONDS = 2.0
"""Of the source's other streams that are tried."""


def rehearse(
    frame: Frame,
    info: VideoInfo,
    output: str | Path,
    preset: str,
    *,
    source: VideoInfo | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write one frame into an output of the real kind and take it away again.

    Whatever would fail at the end, fails here: an encoder that refuses the size or the rate, a container that refuses
    a stream, a name that the file system refuses, a full disk.

    Args:
        frame: the first one, as it would be written.
        info: of the frames that will be written.
        source: where sound and the like come from, if that isn't ``info``.

    Raises:
        InvalidOption, UnwritableVideo: as the writer and the joining do.
    """
    output = Path(output)
    check_output(output, preset, source or info)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=scratch_prefix(output)) as folder:
        part = Path(folder) / f"part{part_suffix(preset)}"
        with VideoWriter(part, info, preset) as writer:
            writer.write(frame)
        mux([part], source or info, output, preset, tags=tags, rehearsal=SECONDS)
