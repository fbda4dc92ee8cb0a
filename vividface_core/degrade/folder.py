"""A folder of videos, each degraded by a seed of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vividface_core.degrade.files import DegradeResult, degrade_video, seed_for, targets_of
from vividface_core.degrade.mixture import Mixture
from vividface_core.degrade.presets import Preset, load_preset
from vividface_core.errors import InvalidOption, UnwritableVideo, VividFaceError
from vividface_core.io.file_names import VIDEO_SUFFIXES
from vividface_core.io.output_guard import Source, check_paths
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.folder import folder_targets
from vividface_core.video.frame import Frame


@dataclass
class FolderResult:
    """What became of a folder: results, and what failed with its reason, by file name."""

    done: list[DegradeResult] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def degrade_folder(
    folder: str | Path,
    output: str | Path,
    preset: str | Preset | Mixture = "vividface",
    *,
    seed: int = 0,
    values: Mapping[str, Any] | None = None,
    codec_out: str = "h264",
    deinterlace: str = "auto",
    callbacks: Callbacks | None = None,
) -> FolderResult:
    """Degrade each video of a folder into another folder under the same name, or the same stem where the codec wants
    another suffix. A file's seed is :func:`~vividface_core.degrade.files.seed_for` of its name.

    A file that fails is told and left out; the others are done all the same.

    Raises:
        InvalidOption: no video there, an unknown preset or value, or the output is the input.
        UnwritableVideo: the output can't be made.
    """
    folder, output, callbacks = Path(folder), Path(output), callbacks or Callbacks()
    chosen = load_preset(preset, values)
    common = chosen.sample(seed).notices  # these, and a wrong seed, are said once, not for every file
    if output.resolve() == folder.resolve():
        raise InvalidOption(f"The output {output} is the input folder: results would replace the videos. Name another.")
    targets = folder_targets(folder, output, codec_out)
    if not targets:
        raise InvalidOption(f"{folder} holds neither videos ({', '.join(sorted(VIDEO_SUFFIXES))}) nor pictures.")
    written = [one for target in targets.values() for one in targets_of(target)]
    check_paths(written, [Source(video, "the input") for video in targets])
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise UnwritableVideo(f"The folder {output} can't be made ({error.strerror}). Choose another.") from error
    for line in common:
        callbacks.notice(line)
    result = FolderResult()
    for number, (video, target) in enumerate(targets.items()):
        one = _One(callbacks, video.name, number, len(targets), common)
        try:
            result.done.append(
                degrade_video(
                    video,
                    target,
                    chosen,
                    seed=seed_for(seed, video.name),
                    codec_out=codec_out,
                    deinterlace=deinterlace,
                    callbacks=one,
                )
            )
        except VividFaceError as error:
            result.failed[video.name] = str(error)
            callbacks.notice(str(error))
        one.progress("degrade", 1, 1)
    return result


class _One(Callbacks):
    """Passes on the news of one file of many: progress counts files."""

    def __init__(self, whole: Callbacks, name: str, number: int, total: int, told: list[str]) -> None:
        self._whole, self._name, self._number, self._total, self._told = whole, name, number, total, told

    def progress(self, stage: str, done: float, total: float | None) -> None:
        share = min(1.0, done / total) if total else 0.0
        self._whole.progress(stage, self._number + share, self._total)

    def frame(self, frame: Frame) -> None:
        self._whole.frame(frame)

    def notice(self, text: str) -> None:
        if text not in self._told:
            self._whole.notice(text if self._name in text else f"{self._name}: {text}")
