"""Face Mask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import comfy.model_management as management
import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from vividface_core.errors import InvalidOption, NoFaceFound
from vividface_core.faces.detect import load_detector
from vividface_core.faces.face_mesh import load_mesher
from vividface_core.faces.masks import face_masks, latent_mask
from vividface_core.faces.occluders import load_occluder_finder
from vividface_core.faces.parse import CLASSES, FILES, LEFT_OUT, FaceParser, load_parser
from vividface_core.faces.people import SAME_OVER_CUTS
from vividface_core.faces.people_sheet import Portraits, cards, draw_people
from vividface_core.faces.weights import facexlib_folders, first_file
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.video.source import FrameSource

from .bridge.face_types import (
    Boxes,
    Landmarks,
    LandmarksMaker,
    ToldFaces,
    boxes_of,
    face_inputs,
    find_tracks,
    people_input,
)
from .bridge.images import image_of
from .bridge.paths import face_folders
from .bridge.progress import NodeCallbacks
from .bridge.restore_inputs import FaceTracks
from .bridge.restore_widgets import DETECTORS, face_spec, occluders_input
from .bridge.schema import Tracks, advanced, schema
from .bridge.video import frames_of

EYES, BROWS, MOUTH = ("l_eye", "r_eye"), ("l_brow", "r_brow"), ("mouth", "u_lip", "l_lip")
REGIONS = {
    "face and hair": tuple(name for name in CLASSES["bisenet"] if name not in LEFT_OUT),
    "face": ("skin", *BROWS, *EYES, "eye_g", "nose", *MOUTH),
    "face and ears": ("skin", *BROWS, *EYES, "eye_g", "l_ear", "r_ear", "nose", *MOUTH),
    "skin": ("skin", "nose"),
    "brows": BROWS,
    "eyes": EYES,
    "nose": ("nose",),
    "mouth": MOUTH,
    "lips": ("u_lip", "l_lip"),
    "ears": ("l_ear", "r_ear"),
    "hair": ("hair",),
}
PARSERS = ["auto", "bisenet", "parsenet", "landmark-hull"]
ALL = "face and hair"
CHOICES = ["all", "largest", "by number"]


class FaceMask(io.ComfyNode):
    """Follows faces and tells where they are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceFaceMask",
            display_name="Face Mask",
            description="Finds and follows the faces of a video or an image batch: a mask a frame, the tracks for the "
            "restore nodes, and the mask on the latent grid.",
            search_aliases=["face mask", "face parsing", "detect face", "track face", "segment face", "bisenet"],
            inputs=[
                io.MultiType.Input("source", [io.Video, io.Image], tooltip="A VIDEO, or an IMAGE batch."),
                io.Combo.Input(
                    "region",
                    options=list(REGIONS),
                    default=ALL,
                    tooltip="Which part of the face. Parts need the weights of a parsing network.",
                ),
                io.Combo.Input("faces", options=CHOICES, default="all", tooltip="Which people."),
                io.String.Input("face_numbers", default="0", tooltip="For 'by number': places from the left, from 0."),
                advanced(
                    io.Int.Input(
                        "min_face",
                        default=24,
                        min=0,
                        max=4096,
                        tooltip="Faces with a shorter side (pixels) are left out.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "grow",
                        default=0,
                        min=-256,
                        max=256,
                        tooltip="Pixels by which the mask grows, or shrinks where negative.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "parser",
                        options=PARSERS,
                        default="auto",
                        tooltip="auto: the best whose weights are in models/vividface/facexlib; "
                        "without any, an ellipse over the landmarks.",
                    )
                ),
                advanced(io.Combo.Input("detector", options=DETECTORS, default="auto", tooltip="Face detector.")),
                advanced(
                    io.Boolean.Input(
                        "require_face", default=False, tooltip="Stop with an error where no face is found."
                    )
                ),
                *face_inputs(),
                people_input(),
                advanced(
                    io.Float.Input(
                        "same_person",
                        default=SAME_OVER_CUTS,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        optional=True,
                        tooltip="Least likeness of faces that are one person's over the cuts, as the cosine of two "
                        "face embeddings. More: more people; less: fewer.",
                    )
                ),
                occluders_input(
                    "restore",
                    "keep: what stands before a face (a hand, a microphone, hair, glasses) is left out of the mask. "
                    "restore: the mask has the whole face.",
                ),
            ],
            outputs=[
                io.Mask.Output("mask", display_name="mask", tooltip="One a frame, 1 = face."),
                Tracks.Output("tracks", display_name="tracks", tooltip="For the restore nodes."),
                io.Mask.Output(
                    "latent_mask",
                    display_name="latent mask",
                    tooltip="On the grid of Wan's autoencoder: 1/8 in space, 1 + (T - 1)/4 in time.",
                ),
                Landmarks.Output(
                    "face_landmarks",
                    display_name="landmarks",
                    tooltip="478 points a face, for the core's MediaPipe nodes.",
                ),
                Boxes.Output(
                    "face_boxes", display_name="boxes", tooltip="A box a face, for the core's nodes that take them."
                ),
                io.Image.Output(
                    "people_sheet",
                    display_name="people",
                    tooltip="A picture of all people that were found, with the numbers for 'people'.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        source: Any,
        region: str,
        faces: str,
        face_numbers: str,
        min_face: int,
        grow: int,
        parser: str,
        detector: str,
        require_face: bool,
        landmarks: Any = None,
        boxes: Any = None,
        person: Any = None,
        people: str = "",
        same_person: float = SAME_OVER_CUTS,
        occluders: str = "restore",
    ) -> io.NodeOutput:
        callbacks, device = NodeCallbacks(cls.hidden.unique_id), management.get_torch_device()
        spec = face_spec(faces, face_numbers, people)
        options = RestoreOptions(faces=spec, min_face=float(min_face), same_person=same_person)
        network = _parser(parser, region, device)
        finder = load_detector(detector, device=device, folders=face_folders())
        told = ToldFaces(landmarks, boxes, person)
        with frames_of(source) as frames:
            found = find_tracks(frames, told, finder, options, callbacks)
            tracks, total = found.tracks, found.frames
            if require_face and not tracks:
                raise NoFaceFound(f"{frames.name}: no face was found. Lower min_face, or take other frames.")
            size, portraits = frames.size, Portraits(found.people)
            whole, meshes = torch.empty(total, size[1], size[0]), LandmarksMaker(load_mesher(device), tracks, size)
            seen = _seen(frames, meshes, portraits)
            covers = load_occluder_finder(device) if occluders == "keep" else None
            for number, mask in enumerate(face_masks(seen, tracks, network, finder=covers)):
                whole[number] = grown(mask, grow)
                callbacks.progress("restore", number + 1, total)
        sheet = draw_people(portraits, found.people, found.shots, same_person)
        shown = image_of(sheet)
        told_tracks = FaceTracks(tuple(tracks), size)
        return io.NodeOutput(
            whole,
            told_tracks,
            on_latent_grid(whole),
            meshes.result(),
            boxes_of(tracks, total),
            shown,
            ui={
                **ui.PreviewImage(shown, cls=cls).as_dict(),
                "vividface_people": cards(portraits.people, found.shots, sheet.size),
            },
        )


def _seen(frames: FrameSource, meshes: LandmarksMaker, portraits: Portraits) -> Iterator[Any]:
    for frame in frames.read():
        rgb = frame.rgb()
        meshes.add(frame.index, rgb)
        portraits.add(frame.index, rgb)
        yield frame


def _parser(name: str, region: str, device: torch.device) -> FaceParser:
    """The parser for a region. A part of the face is never silently an ellipse over all of it."""
    if region != ALL and name == "landmark-hull":
        raise InvalidOption(f"The parser landmark-hull knows whole heads only; for {region!r} take another one.")
    if region != ALL and name == "auto":
        here = (network for network in FILES if first_file(FILES[network][:1], facexlib_folders(face_folders())))
        name = next(here, "bisenet")
    classes = None if region == ALL else REGIONS[region]
    return load_parser(name, device=device, folders=face_folders(), classes=classes)


def grown(mask: Tensor, pixels: int) -> Tensor:
    """``[H, W]`` with its bright area larger (or smaller) by so many pixels."""
    if not pixels:
        return mask
    side, sign = 2 * abs(pixels) + 1, 1 if pixels > 0 else -1
    return sign * F.max_pool2d(sign * mask[None, None], side, 1, abs(pixels))[0, 0]


def on_latent_grid(masks: Tensor) -> Tensor:
    """Eq. 4–5 of VividFace: ``[T, H, W]`` → ``[1 + ⌈(T−1)/4⌉, ⌈H/8⌉, ⌈W/8⌉]``; edges are repeated to whole cells."""
    frames, height, width = masks.shape
    binary = (masks > 0.5).float()
    binary = binary[torch.arange(1 + -(-(frames - 1) // 4) * 4).clamp(max=frames - 1)]
    binary = F.pad(binary[:, None], (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
    return latent_mask(binary[None, None])[0, 0]
