"""What the two restore nodes ask for alike, and how it becomes the engine's options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.faces.identity_guard import MODES
from vividface_core.pipeline.options import COLORS, OCCLUDERS, RestoreOptions, check_shape, parse_strengths
from vividface_core.restorers.registry import systems

from .face_types import face_inputs, people_input
from .paths import temp_path
from .schema import Restorer, Tracks, advanced

FACES = ["all", "largest", "by number", "like the reference"]
NUMBERS = r"\s*\d+\s*(,\s*\d+\s*)*"
DETECTORS = ["auto", "mtcnn", "retinaface"]


def common_inputs() -> list[io.Input]:
    """Inputs in their order for ever: saved workflows keep widget values by position."""
    return [
        io.Combo.Input(
            "faces",
            options=FACES,
            default="all",
            tooltip="Which people are restored: all; the largest face of each shot; those with the numbers "
            "below; or those who look like the reference picture.",
        ),
        io.String.Input(
            "face_numbers",
            default="0",
            tooltip="For 'by number': places from the left in each shot, from 0, with commas: 0,2.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="0 keeps the source, 1 shows the full restoration.",
        ),
        io.Combo.Input(
            "color",
            options=list(COLORS),
            default="auto",
            tooltip="How the face's colours are matched to the source. auto: the model's own way for faces (one-step "
            "models and BFVR-STC: wavelet), none for whole frames.",
        ),
        io.Boolean.Input(
            "whole_frame",
            default=False,
            tooltip="The footage is a face crop already: restore whole frames, as the papers do.",
        ),
        advanced(
            io.Int.Input(
                "min_face", default=24, min=0, max=4096, tooltip="Faces with a shorter side (pixels) are left alone."
            )
        ),
        advanced(
            io.Int.Input(
                "window",
                default=0,
                min=0,
                max=1001,
                tooltip="Frames restored together: 4k + 1 for one-step models, an even number for BFVR-STC; 0: as many "
                "as the model was trained on and memory allows.",
            )
        ),
        overlap_input(),
        advanced(
            io.Int.Input(
                "size",
                default=0,
                min=0,
                max=4096,
                step=8,
                tooltip="Side of the face crop that the model sees: a multiple of 16, for BFVR-STC of 8; 0: the "
                "model's.",
            )
        ),
        advanced(
            io.Combo.Input(
                "detector",
                options=DETECTORS,
                default="auto",
                tooltip="Face detector. auto: RetinaFace where its weights are, else MTCNN, which is part of the pack.",
            )
        ),
    ]


def overlap_input() -> io.Input:
    """Frames that neighbouring windows share; −1 stands for the engine's own number."""
    return advanced(
        io.Int.Input(
            "overlap",
            default=-1,
            min=-1,
            max=500,
            tooltip="Frames that neighbouring windows share; -1: about a quarter, at most 8.",
        )
    )


def optional_inputs() -> list[io.Input]:
    """Optional inputs, which come after every widget."""
    return [
        Restorer.Input("restorer", optional=True, tooltip="From Load VividFace Model."),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where the restoration may show: one mask, or one a frame. Painted, or Face Mask's.",
        ),
        Tracks.Input(
            "tracks",
            optional=True,
            tooltip="Faces that Face Mask found. They are restored as they are, and not looked for again.",
        ),
        io.Image.Input("reference", optional=True, tooltip="For 'like the reference': a picture of the person."),
        io.Vae.Input("vae", optional=True, tooltip="Instead of a restorer: a Wan 2.1 VAE of the core's Load VAE."),
        io.Model.Input(
            "model",
            optional=True,
            tooltip="Instead of a restorer: a one-step Wan 2.1 denoiser from Load Diffusion Model.",
        ),
        io.Conditioning.Input(
            "conditioning",
            optional=True,
            tooltip="Instead of a restorer: the empty prompt, from the core's CLIP Text Encode.",
        ),
    ]


def appended_inputs() -> list[io.Input]:
    """Added after the first edition, in the order of their coming: last, and optional, as older prompts lack them."""
    return [
        advanced(
            io.Combo.Input(
                "identity_guard",
                options=list(MODES),
                default=RestoreOptions.identity_guard,
                optional=True,
                tooltip="warn: the report says where a restored face looks like "
                "somebody else. blend: such a face is also blended back towards the input as far as "
                "needed. off: no look at it.",
            )
        ),
        advanced(
            io.Float.Input(
                "identity_threshold",
                default=RestoreOptions.identity_threshold,
                min=0.0,
                max=1.0,
                step=0.01,
                optional=True,
                tooltip="Least likeness of a restored face to its input, as the cosine of two face "
                "embeddings. Strangers are below 0.2, a sharp face and its restoration above 0.7.",
            )
        ),
        advanced(
            io.Boolean.Input(
                "keep_size",
                default=False,
                optional=True,
                tooltip="With whole frame: restore at the video's own size instead of the model's "
                "square. Larger frames need more memory.",
            )
        ),
        *face_inputs(),
    ]


def check_window(window: int | None) -> bool | str:
    """What can be known before running: True, or a sentence. ``None`` stands for what another node tells.

    ComfyUI repeats a node's sentence for each input that the node asks for, whichever is to blame: so a node asks for
    one, and says the rest as it begins.
    """
    try:
        _check_shape(RestoreOptions(window=window or None))
    except InvalidOption as error:
        return str(error)
    return True


def _check_shape(options: RestoreOptions) -> None:
    check_shape(options, [(system.valid_lengths, system.size_multiple) for system in systems()])


def people_inputs() -> list[io.Input]:
    """Appended to both restore nodes, after everything that only one of them has."""
    return [
        people_input(),
        io.String.Input(
            "person_strengths",
            default="",
            optional=True,
            tooltip="Other strengths for some people, by the same numbers: 2=0.5,3=0. Empty: 'strength' for all.",
        ),
    ]


def occluders_input(default: str, tooltip: str) -> io.Input:
    """What becomes of that which stands before a face."""
    return advanced(
        io.Combo.Input("occluders", options=list(OCCLUDERS), default=default, optional=True, tooltip=tooltip)
    )


def restored_occluders_input() -> io.Input:
    """Of both restore nodes."""
    return occluders_input(
        RestoreOptions.occluders,
        "keep: what stands before a face (a hand, a microphone, hair, glasses) stays as it is. restore: it is restored "
        "like the face.",
    )


def face_spec(faces: str, face_numbers: str, people: str = "") -> str:
    """The engine's spelling of a choice without a picture.

    Raises:
        InvalidOption: the numbers are no numbers, or two inputs choose.
    """
    if people.strip():
        if faces != "all":
            raise InvalidOption(
                f"faces is {faces!r} and people is {people!r}; set faces to all, or leave people empty."
            )
        if not re.fullmatch(NUMBERS, people):
            raise InvalidOption(f"people is {people!r}; write numbers from 1 with commas, as in 1,2.")
        return f"person:{people.replace(' ', '')}"
    if faces != "by number":
        return faces
    if not re.fullmatch(NUMBERS, face_numbers):
        raise InvalidOption(f"face_numbers is {face_numbers!r}; write places from 0 with commas, as in 0,2.")
    return f"index:{face_numbers.replace(' ', '')}"


@contextmanager
def restore_options(
    values: dict[str, Any], reference: Tensor | None, tracks: Any, preset: str = "h264"
) -> Iterator[RestoreOptions]:
    """The engine's options; a reference picture lies on disk as long as they are used. Given tracks are the choice.

    Raises:
        InvalidOption: values that don't go together.
    """
    _check_shape(RestoreOptions(size=values["size"] or None))
    picture = None
    faces = "all" if tracks is not None else values["faces"]
    people = "" if tracks is not None else values.get("people", "")
    if faces == "like the reference":
        if reference is None:
            raise InvalidOption("faces is 'like the reference', but no picture is connected to 'reference'.")
        picture = temp_path(".png")
        pixels = (reference[0, ..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(picture)
    if picture is not None and not people.strip():
        spec = f"ref:{picture}"
    else:
        spec = face_spec(faces, values["face_numbers"], people)
    strengths = values.get("person_strengths", "").strip()
    try:
        yield RestoreOptions(
            preset=preset,
            whole_frame=values["whole_frame"],
            faces=spec,
            min_face=values["min_face"],
            strength=values["strength"],
            color=values["color"],
            window=values["window"] or None,
            overlap=None if values["overlap"] < 0 else values["overlap"],
            detector=values["detector"],
            size=values["size"] or None,
            identity_guard=values.get("identity_guard", RestoreOptions.identity_guard),
            identity_threshold=values.get("identity_threshold", RestoreOptions.identity_threshold),
            keep_size=values.get("keep_size", False),
            scale=values.get("scale", 1.0),
            occluders=values.get("occluders", RestoreOptions.occluders),
            person_strengths=parse_strengths(strengths)[1] if strengths else (),
        )
    finally:
        if picture is not None:
            picture.unlink(missing_ok=True)
