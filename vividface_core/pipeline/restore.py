"""Restore the faces of a video file, or of frames in memory.

Memory stays constant: frames pass through, and only numbers are kept, on disk (:mod:`vividface_core.pipeline.resume`),
so a run that was killed goes on at its first unfinished shot. The same steps over frames in memory:
:func:`restore_frames`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vividface_core.errors import VividFaceError
from vividface_core.faces.identity_guard import TrackIdentity
from vividface_core.io.folders import entries
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.pipeline.canvas import Background, Canvas, make_canvas
from vividface_core.pipeline.options import COLORS, Given, Plan, Resources, RestoreOptions, Result, Resuming
from vividface_core.pipeline.restoration import Restoration, check_request
from vividface_core.pipeline.resume import RunState
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.prefetch import background_writer
from vividface_core.video.flicker import FlickerSums
from vividface_core.video.frame import Frame
from vividface_core.video.mux import check_output, mux
from vividface_core.video.presets import part_suffix
from vividface_core.video.rehearsal import rehearse
from vividface_core.video.source import ClipFrames, VideoFrames
from vividface_core.video.writer import VideoWriter

__all__ = [
    "COLORS",
    "Callbacks",
    "Given",
    "Plan",
    "Resources",
    "RestoreOptions",
    "Result",
    "Resuming",
    "restore_frames",
    "restore_shots",
    "restore_video",
]


def restore_video(
    source: str | Path | VideoFrames,
    output: str | Path,
    restorer: Restorer,
    options: RestoreOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
    given: Given | None = None,
    resources: Resources | None = None,
    resuming: Resuming | None = None,
    background: str | Path | VideoFrames | Background | None = None,
) -> Result:
    """Restore the faces of ``source`` into ``output``.

    Frame count, timestamps, audio, subtitles, colour tags and every pixel outside the restored faces stay as they
    were (pixels: bit for bit in a lossless preset).

    Args:
        source: any video, a folder of images, or one image; :class:`~vividface_core.video.source.VideoFrames` for a
            part of one.
        output: file, or folder for the ``png`` preset. Appears only when it is complete.
        callbacks: who is told what happens.
        given: what is known of the faces beforehand.
        resources: what works beside the restorer: face detector and parser, and how much memory.
        resuming: what becomes of a run that is interrupted.
        background: the same film enlarged by something else, into which the restored faces are put, at its size;
            ``None``: the source, enlarged by ``options.scale``. One that was compared with the source already is not
            compared again.

    Raises:
        VividFaceError: see :mod:`vividface_core.errors`; the work folder is kept for a resume
            if it holds a finished shot.
    """
    began, output, resuming = time.monotonic(), Path(output), resuming or Resuming()
    work, state = _opened(
        source, output, restorer, options, callbacks or Callbacks(), given, resources, resuming, background
    )
    if resuming.resume and not state.resumed:
        work.notice(
            f"There is nothing to resume: no unfinished run of {output} lies beside it. Everything is done "
            "from the start."
        )
    try:
        result = _to_file(work, output, state)
    except BaseException as error:
        if not resuming.keep_unfinished or (isinstance(error, VividFaceError) and not state.has_parts()):
            state.remove()
        raise
    state.remove()
    result.seconds = time.monotonic() - began
    return result


def restore_shots(
    source: str | Path | VideoFrames,
    output: str | Path,
    restorer: Restorer,
    options: RestoreOptions | None = None,
    shots: Collection[int] = (),
    *,
    callbacks: Callbacks | None = None,
    resources: Resources | None = None,
    resuming: Resuming | None = None,
) -> list[int]:
    """A share of :func:`restore_video`, for several processes that see the same files.

    The first call is without shots: it looks at the film and keeps what it finds, so that all processes cut the same
    shots, faces and windows. The others resume it, at the same time if they like, each with its own shots. When all
    are restored, :func:`restore_video` with ``resume`` joins them.

    Args:
        shots: numbers of those to restore; one that is there already isn't done again.

    Returns:
        Frames of each shot of the film; empty: nothing is to be restored in it.

    Raises:
        VividFaceError: see :func:`restore_video`.
    """
    work, state = _opened(
        source,
        Path(output),
        restorer,
        options,
        callbacks or Callbacks(),
        None,
        resources,
        resuming or Resuming(),
        None,
        rehearsed=not shots,  # other processes may be at work on the same output
    )
    try:
        plan = work.plan(timed=False)
        result = _result(work, plan, None)
        for number in shots:
            _part(work, number, plan, state, result)
    except VividFaceError:
        if not state.resumed:
            state.remove()
        raise
    return [len(shot) for shot in plan.shots] if plan.window_count else []


def _opened(
    source: str | Path | VideoFrames,
    output: Path,
    restorer: Restorer,
    options: RestoreOptions | None,
    callbacks: Callbacks,
    given: Given | None,
    resources: Resources | None,
    resuming: Resuming,
    background: str | Path | VideoFrames | Background | None,
    *,
    rehearsed: bool = True,
) -> tuple[Restoration, RunState]:
    """Everything checked, by writing the first frame too if it is to be ``rehearsed``; the work and its folder."""
    options, given = options or RestoreOptions(), given or Given()
    source = source if isinstance(source, VideoFrames) else VideoFrames(source, deinterlace=options.deinterlace)
    check_request(options, given, restorer)
    if isinstance(background, (str, Path)):
        background = VideoFrames(background)
    below = background.frames if isinstance(background, Background) else background
    reading = _sources(source, options) + ([] if below is None else [Source(below.path, "the background")])
    check_paths([Target(output, "the output")], reading)
    check_output(output, options.preset, source.file)
    request: dict[str, Any] = {
        "source": _identity(source),
        "model": resuming.model_id or restorer.name,
        "options": asdict(options),
    }
    upscale = None if resources is None else resources.upscale
    canvas = make_canvas(source, background, options, restorer.native_size, upscale)
    if upscale is not None:
        request["upscaler"] = upscale.name
    if below is not None:
        request["background"] = _identity(below)
    if given.tracks is not None:
        request["tracks"] = [track.to_json() for track in given.tracks]
    if given.mask is not None:
        request["mask"] = given.mask.fingerprint()
    if rehearsed:
        _rehearse(source, canvas, output, options.preset)
    state = RunState(output, request, resume=resuming.resume)
    work = Restoration(
        source,
        restorer,
        options,
        callbacks,
        given=given,
        resources=resources,
        canvas=canvas,
        cached=_cached_steps(state),
    )
    return work, state


def restore_frames(
    clip: Tensor,
    restorer: Restorer,
    options: RestoreOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
    given: Given | None = None,
    resources: Resources | None = None,
) -> tuple[Tensor, Result]:
    """Restore the faces of frames in memory: the steps of :func:`restore_video` without a file.

    Args:
        clip: ``[T, 3, H, W]``, float32, RGB, 0…1.

    Returns:
        A new tensor of the same shape; pixels outside the restored faces are equal to the input's.
    """
    options, callbacks, given = options or RestoreOptions(), callbacks or Callbacks(), given or Given()
    began = time.monotonic()
    check_request(options, given, restorer)
    work = Restoration(ClipFrames(clip), restorer, options, callbacks, given=given, resources=resources)
    plan = work.plan()
    output = torch.empty_like(clip, dtype=torch.float32)
    for number in range(len(plan.shots)):
        for frame in work.frames(number, plan):
            output[frame.index] = frame.rgb()
    result = _result(work, plan, None)
    result.identity, result.flicker = work.finish(), work.flicker_figures()
    result.seconds = time.monotonic() - began
    return output, result


def _rehearse(source: VideoFrames, canvas: Canvas | None, output: Path, preset: str) -> None:
    """Write the first frame into the real output, and take it away again."""
    for frame in source.read(0, 1):
        if canvas is None:
            rehearse(frame, source.file, output, preset)
            continue
        for _, below in canvas.under(iter([frame]), 0, 1):
            rehearse(below, canvas.info, output, preset)


def _sources(source: VideoFrames, options: RestoreOptions) -> list[Source]:
    """Everything that is read by name."""
    kind, _, picture = options.faces.partition(":")
    reference = [Source(Path(picture), "the reference picture")] if kind == "ref" else []
    return [Source(source.path, "the input"), *reference]


def _identity(source: VideoFrames) -> dict[str, object]:
    path = source.path
    files = entries(path) if path.is_dir() else [path]
    part: dict[str, object] = {} if source.is_whole else {"frames": [source.first, source.end, source.step]}
    if source.start_time is not None:
        part["from"] = source.start_time
    return {
        "path": str(path.resolve()),
        "bytes": sum(file.stat().st_size for file in files),
        "modified": max((file.stat().st_mtime_ns for file in files), default=0),
        **part,
    }


def _cached_steps(state: RunState) -> Callable[[str, Callable[[], Any]], Any]:
    def cached(name: str, make: Callable[[], Any]) -> Any:
        stored = state.read_json(f"{name}.json")
        if stored is None:
            stored = make()
            state.write_json(f"{name}.json", stored)
        return stored

    return cached


def _result(work: Restoration, plan: Plan, output: Path | None) -> Result:
    tracks = 0 if plan.whole_frame else sum(map(len, plan.tracks))
    counted = not plan.whole_frame and not work.takes_given_tracks
    people = {track.person for shot in plan.tracks for track in shot} if counted else set()
    return Result(
        output,
        frames=plan.shots[-1].end,
        shots=len(plan.shots),
        tracks=tracks,
        people=len(people),
        whole_frame=plan.whole_frame,
        mask_source=work.mask_source,
        notices=work.notices,
    )


def _to_file(work: Restoration, output: Path, state: RunState) -> Result:
    plan = work.plan()
    source = work.source
    assert isinstance(source, VideoFrames)  # a file
    if not plan.window_count and source.deinterlaces and work.canvas is None:
        work.source = source = source.as_stored()  # nothing is touched, so fields stay fields
        plan.info = source.info
    told = _tell(work, [])
    result = _result(work, plan, output)
    if not plan.window_count and _copy_unchanged(work, source, output, state):
        return result
    parts = [_part(work, number, plan, state, result) for number in range(len(plan.shots))]
    _tell(work, told)
    for line in mux(parts, plan.info, output, work.options.preset).notices:
        work.notice(line)
    result.identity, result.flicker = work.finish(), work.flicker_figures()
    return result


def _tell(work: Restoration, told: list[str]) -> list[str]:
    """What was found to be wrong with the source while it was read, once."""
    for line in [line for line in work.source.warnings if line not in told]:
        work.notice(line)
    return list(work.source.warnings)


def _copy_unchanged(work: Restoration, source: VideoFrames, output: Path, state: RunState) -> bool:
    """Nothing is to be restored: copy the file, where input and output are of one kind."""
    path = source.path
    same = work.canvas is None and source.is_whole and path.is_file() and path.suffix.lower() == output.suffix.lower()
    why = "The strength is 0" if work.options.strongest == 0 else "No face was found to restore"
    work.notice(f"{why}, so {'the file is copied' if same else 'all pictures are passed on'} unchanged.")
    if same:
        copy = state.folder / "copy"
        shutil.copyfile(path, copy)
        copy.replace(output)
    return same


def _part(work: Restoration, number: int, plan: Plan, state: RunState, result: Result) -> Path:
    """Restore one shot into a file of its own, or take the one that an earlier run finished."""
    part = state.part(number, part_suffix(work.options.preset))
    record, measured = f"identity-{number:05d}.json", f"flicker-{number:05d}.json"
    if part.exists():
        result.resumed_shots += 1
        work.identity[number] = [TrackIdentity(**figure) for figure in state.read_json(record) or []]
        if sums := state.read_json(measured):
            work.flicker[number] = (FlickerSums(**sums[0]), FlickerSums(**sums[1]))
        return part
    assert plan.info is not None  # the source is a file
    with VideoWriter(part, plan.info, work.options.preset) as writer:
        with background_writer(writer.write, Frame.nbytes, max_items=plan.window) as write:
            for frame in work.frames(number, plan):
                write(frame)
        # Before the part has its final name: whoever finds it finds its figures too.
        state.write_json(record, [asdict(figure) for figure in work.identity[number]])
        if number in work.flicker:
            state.write_json(measured, [asdict(sums) for sums in work.flicker[number]])
    return part
