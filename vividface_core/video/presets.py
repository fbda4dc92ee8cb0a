"""How to encode: the presets of ``presets.json`` and what a source becomes under each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.video.decoding import is_transparent
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import Layout, layout

_HDR_TRANSFERS = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


@dataclass(frozen=True)
class Preset:
    """One way of encoding.

    Attributes:
        pix_fmts: planar formats the encoder takes, and the name it knows each of them by.
        format_options: encoder options that go with one pixel format.
        tiny_options: encoder options for pictures under 16 pixels in width or height.
        whole_chroma_cells: the size must be a multiple of what a chroma sample covers.
        subsample_rgb: RGB pictures become 4:2:0, because players expect it.
        range: the only sample range the codec has, or ``None``.
        upright: the file has no rotation tag, so pictures are turned when written.
        fields: how the codec keeps interlaced frames as such: ``parameter`` (the encoder is told the order) or
            ``mark`` (it heeds each frame's mark); ``None``: it doesn't.
        parameters: name of the option that holds the encoder's own parameters.
        part: container of the work files; it must keep times exactly.
        tags: codec tag by file suffix.
        suffixes: of the outputs, the first one being the usual.
    """

    name: str
    summary: str
    codec: str
    options: dict[str, str]
    pix_fmts: dict[str, str]
    suffixes: list[str]
    format_options: dict[str, dict[str, str]] = field(default_factory=dict)
    tiny_options: dict[str, str] = field(default_factory=dict)
    whole_chroma_cells: bool = False
    subsample_rgb: bool = False
    range: str | None = None
    upright: bool = False
    fields: str | None = None
    parameters: str | None = None
    part: str = "nut"
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Container:
    """What an output container can hold besides the video."""

    format: str
    audio: list[str]
    audio_fallback: str
    subtitle: list[str]
    options: dict[str, str]
    subtitle_fallback: str | None = None
    attachments: bool = False
    covers: str | None = None
    """How attached pictures are held: as a ``stream``, as an ``attachment``, or not."""


@dataclass(frozen=True)
class Coding:
    """What one source's frames become: pixel format, colour coding, and what is lost on the way."""

    layout: Layout
    encoder_format: str
    color: ColorInfo
    notices: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def _data() -> dict[str, dict[str, dict]]:
    return json.loads(Path(__file__).with_name("presets.json").read_text())


def preset_names() -> list[str]:
    """All presets, the default first."""
    return list(_data()["presets"])


def load_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        InvalidOption: there is none of that name.
    """
    presets = _data()["presets"]
    if name not in presets:
        raise InvalidOption(f"There is no preset {name!r}; choose one of {', '.join(presets)}.")
    return Preset(name=name, **presets[name])


def container_for(output: Path, preset: Preset) -> Container:
    """The container that an output's suffix names.

    Raises:
        InvalidOption: the preset's codec has no place in that kind of file.
    """
    suffix = output.suffix.lower()
    if suffix not in preset.suffixes or suffix not in _data()["containers"]:
        wanted = ", ".join(s or "a folder" for s in preset.suffixes)
        raise InvalidOption(
            f"{output.name} doesn't fit the preset {preset.name}, which writes {wanted}; rename the output."
        )
    return Container(**_data()["containers"][suffix])


def part_suffix(preset: str) -> str:
    """Suffix of the work files of a preset.

    Raises:
        InvalidOption: there is no preset of that name.
    """
    return f".{load_preset(preset).part}"


def choose_coding(preset: Preset, info: VideoInfo) -> Coding:
    """The pixel format and colour coding that lose least of a source; equal losses: the smallest format."""
    source = layout(info.pix_fmt)
    fitting = [shape for shape in map(layout, preset.pix_fmts) if _fits(preset, shape, info)]
    if preset.subsample_rgb and source.family != "yuv":
        # An odd size leaves no 4:2:0; then the least subsampling that fits.
        coarsest = max((s.log2_w + s.log2_h for s in fitting), default=0)
        fitting = [s for s in fitting if s.log2_w + s.log2_h == coarsest]
    if not fitting:
        raise UnwritableVideo(
            f"The preset {preset.name} can't hold a picture of {info.width}x{info.height}; use ffv1 or png."
        )
    best = min(fitting, key=lambda shape: _losses(source, shape))
    color, notices = _target_color(preset, info.color, source, best)
    return Coding(best, preset.pix_fmts[best.name], color, tuple(_told(preset, info, source, best) + notices))


def keeps_fields(preset: Preset, info: VideoInfo) -> bool:
    """Whether interlaced frames stay marked as such; x264 wants whole macroblock rows in each field's chroma."""
    return bool(info.fields and preset.fields) and not (preset.fields == "parameter" and info.height % 4)


def _fits(preset: Preset, shape: Layout, info: VideoInfo) -> bool:
    whole = info.width % (1 << shape.log2_w) == 0 and info.height % (1 << shape.log2_h) == 0
    return whole or not preset.whole_chroma_cells


def _losses(source: Layout, shape: Layout) -> tuple:
    chroma = max(0, shape.log2_w - source.log2_w) + max(0, shape.log2_h - source.log2_h)
    return (
        source.alpha and not shape.alpha,
        source.family != shape.family,
        max(0, source.depth - shape.depth),
        chroma,
        max(0, shape.depth - source.depth),
        source.log2_w + source.log2_h - shape.log2_w - shape.log2_h,
        shape.alpha,
    )


def _target_color(preset: Preset, color: ColorInfo, source: Layout, best: Layout) -> tuple[ColorInfo, list[str]]:
    if best.family == "rgb":
        return replace(color, matrix="gbr", range="pc", matrix_tagged=True, range_tagged=True, siting="left"), []
    if best.family == "yuv" and source.family != "yuv":
        return ColorInfo("bt709", "tv", color.primaries or "bt709", color.transfer or "iec61966-2-1", True, True), []
    if preset.range and color.range != preset.range:
        told = f"{preset.name} has {preset.range} range only; the samples were converted from {color.range} range."
        return replace(color, range=preset.range, range_tagged=True), [told]
    return color, []


def _told(preset: Preset, info: VideoInfo, source: Layout, best: Layout) -> list[str]:
    notices = []
    if info.fields and not keeps_fields(preset, info):
        notices.append(
            f"The source is interlaced, and {preset.name} has whole frames only here: lines stay where they are, but "
            "players don't know of the fields."
        )
    if info.unwritten:
        notices.append(f"Metadata of the frames is left out: {', '.join(info.unwritten)}.")
    if preset.upright and info.color.transfer in _HDR_TRANSFERS:
        notices.append(f"PNG doesn't tell that these are HDR pictures ({_HDR_TRANSFERS[info.color.transfer]}).")
    # A GIF has an alpha plane whether or not anything is transparent.
    if source.alpha and not best.alpha and (info.codec != "gif" or is_transparent(info.path)):
        notices.append(f"Transparency is left out: {preset.name} has none (ffv1, png and prores keep it).")
    if source.depth > best.depth:
        notices.append(f"{source.depth} bits a sample became {best.depth}, the most that {preset.name} takes here.")
    if (
        preset.whole_chroma_cells
        and source.log2_w + source.log2_h > best.log2_w + best.log2_h
        and (info.width % 2 or info.height % 2)
    ):
        notices.append(
            f"The size {info.width}x{info.height} is odd, so the output is {best.name}, which keeps it; not every "
            "player takes that format."
        )
    return notices


def deterministic_x264_params() -> list[str]:
    """Entries of ``x264-params`` with which the same frames give the same bytes on every run.

    x264's AVX-512 code gives other bytes from run to run (seen with libx264 of PyAV 14 to 18); AVX2's are exact. Told
    only where the processor has more than AVX2: a set that it lacks would crash.
    """
    return ["asm=AVX2"] if torch.backends.cpu.get_cpu_capability() == "AVX512" else []
