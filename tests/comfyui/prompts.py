"""API workflows for the tests, put together of the pack's nodes."""

from __future__ import annotations

from typing import Any

Prompt = dict[str, dict[str, Any]]

RESTORE = {
    "faces": "all",
    "face_numbers": "0",
    "strength": 1.0,
    "color": "auto",
    "whole_frame": False,
    "min_face": 24,
    "window": 0,
    "overlap": -1,
    "size": 0,
    "detector": "auto",
}
LOAD = {"file": "face.mp4", "start_frame": 0, "frame_count": 0, "stride": 1}
MODEL = {"model": "vividface-nano", "precision": "auto", "device": "auto"}
MASK = {
    "region": "face and hair",
    "faces": "all",
    "face_numbers": "0",
    "min_face": 24,
    "grow": 0,
    "parser": "auto",
    "detector": "auto",
    "require_face": False,
}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """One node of a prompt."""
    return {"class_type": kind, "inputs": inputs}


def saved(source: list[Any], prefix: str) -> dict[str, Any]:
    """The core's Save Video, which keeps the streams as they are."""
    return node("SaveVideo", video=source, filename_prefix=prefix, format="auto", codec="auto")


def restore_video(
    prefix: str = "restored", load: dict | None = None, model: dict | None = None, **options: Any
) -> Prompt:
    """Video Load → One-Step Restore → Save Video, and the report as text."""
    restore = {**RESTORE, "encoding": "h264", **options}
    return {
        "load": node("VividFaceVideoLoad", **{**LOAD, **(load or {})}),
        "model": node("VividFaceLoadModel", **{**MODEL, **(model or {})}),
        "restore": node("VividFaceOneStepRestore", video=["load", 0], restorer=["model", 0], **restore),
        "save": saved(["restore", 0], prefix),
        "report": node("PreviewAny", source=["restore", 1]),
    }
