"""What an output's container can't hold of the picture's facts: one notice each, after a look at the file itself."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

from vividface_core.video.decoding import read_info
from vividface_core.video.info import VideoInfo
from vividface_core.video.opening import open_media
from vividface_core.video.presets import Preset, keeps_fields

_OF_ONE_CONTAINER = {
    "creation_time",
    "duration",
    "encoder",
    "software",
    "timecode",
    "metadatacreator",
    "hasvideo",
    "hasaudio",
}
"""Names of what containers say of themselves, or keep in another place."""
_IDENTIFIERS = ("_uid", "_umid", "_ul", "uid")
"""Ends of the names of MXF's numbers for itself."""
_ASPECT_ERROR = Fraction(1, 500)
"""Relative error of a pixel's shape that rounding a display size to whole pixels leaves."""


def not_kept(path: Path, source: VideoInfo | None, rules: Preset, format: str) -> list[str]:
    """Sentences on what of the source's facts the written file lacks."""
    if source is None:
        return []
    written = read_info(path)
    aspect = written.sample_aspect_ratio
    told = []
    wanted = source.sample_aspect_ratio
    if wanted and abs((aspect or 1) / wanted - 1) > _ASPECT_ERROR:
        shape = str(wanted).replace("/", ":")
        told.append(f"The pixels' shape ({shape}) can't be recorded for {rules.codec} in {format}.")
    if (source.rotation, source.mirrored) != (written.rotation, written.mirrored):
        ways = [f"rotation by {source.rotation} degrees"] * bool(source.rotation) + ["mirroring"] * source.mirrored
        way = " and ".join(ways)
        told.append(
            f"The {way} can't be recorded in {format}: players show the picture as it is stored. Choose mp4 or mov to "
            "keep it upright."
        )
    if keeps_fields(rules, source) and written.fields != source.fields:
        told.append(f"That the frames are interlaced can't be recorded for {rules.codec} in {format}.")
    if source.hdr and written.hdr != source.hdr:
        told.append(f"The mastering display and the light level can't be recorded for {rules.codec} in {format}.")
    return told


def lost_tags(path: Path, given: Collection[str], replaced: Collection[str], format: str) -> list[str]:
    """A sentence on the file's own metadata that a container has no name for.

    Args:
        given: names of what was handed to the container.
        replaced: names of tags that gave way to the output's own, which is told elsewhere.
    """
    with open_media(path) as container:
        there = {name.lower() for name in container.metadata}
    own = {name.lower() for name in replaced} | _OF_ONE_CONTAINER
    lost = sorted(name for name in given if name.lower() not in there | own and not name.endswith(_IDENTIFIERS))
    return [f"Tags that {format} has no name for are left out: {', '.join(lost)}."] if lost else []
