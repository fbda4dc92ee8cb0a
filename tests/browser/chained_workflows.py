"""Example workflows in which other stages stand before the restoration of faces, or take its place."""

from __future__ import annotations

from tests.browser.graphs import Group, Node, Note, Workflow
from tests.browser.workflow_inputs import COMMON, FILM, FLICKER, MODEL, VIDEO, saved

DEFLICKER_VIDEO = Workflow(
    "deflicker_video",
    "Take the flicker out of a video",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node(
            "VividFaceDeflicker",
            (380, 0),
            (320, 400),
            {**FLICKER, "video": ("1", 0)},
        ),
        "3": Node("PreviewAny", (380, 460), (320, 200), {"source": ("2", 1)}, "Flicker before and after"),
        "4": Node("VividFaceCompareVideo", (760, 0), (640, 620), {"fps": 24.0, "before": ("1", 0), "after": ("2", 0)}),
        "5": Node("SaveVideo", (1460, 0), (320, 560), saved("VividFace/steady", ("2", 0))),
    },
    {
        "6": Note(
            (760, 680),
            (640, 140),
            "Choose a flickering video in Video Load and press Run: old film, a projector, lamps, a time lapse. Whole "
            "frames become steady, not only faces; lamps that are switched on, fades and cuts stay.\n\n"
            "For generated videos whose frames differ in colour and structure set kind to pixel. To restore the faces "
            "as well, put One-Step Restore behind this node.",
            "How to use it",
        ),
    },
    (
        Group("1 · Video", "input", ("1",)),
        Group("2 · Deflicker", "restore", ("2", "3")),
        Group("3 · Compare", "result", ("4", "6")),
        Group("4 · Save", "result", ("5",)),
    ),
)

RESTORE_BEHIND_UPSCALER = Workflow(
    "restore_behind_upscaler",
    "Restore faces behind an upscaler",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node("GetVideoComponents", (380, 0), (320, 120), {"video": ("1", 0)}),
        "4": Node(
            "ImageScaleBy",
            (380, 180),
            (320, 140),
            {"upscale_method": "lanczos", "scale_by": 2.0, "image": ("3", 0)},
            "Upscaler: put yours here",
        ),
        "7": Node("CreateVideo", (380, 380), (320, 140), {"fps": ("3", 2), "images": ("4", 0), "audio": ("3", 1)}),
        "6": Node(
            "VividFaceOneStepRestore",
            (760, 0),
            (320, 980),
            {**COMMON, **FILM, "video": ("1", 0), "restorer": ("2", 0), "background": ("7", 0)},
        ),
        "5": Node("VividFaceCompareVideo", (1140, 0), (640, 960), {"fps": 24.0, "before": ("7", 0), "after": ("6", 0)}),
        "8": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/upscaled", ("6", 0))),
        "9": Node("PreviewAny", (1840, 620), (320, 300), {"source": ("6", 1)}, "What was done"),
    },
    {
        "10": Note(
            (380, 680),
            (320, 300),
            "Upscalers enlarge the whole frame; small faces are what they do worst. Put yours in the place of the "
            "marked node: Upscale Image (using Model), SeedVR2, FlashVSR. It gets all frames, and its frames go into "
            "Create Video.\n\n"
            "One-Step Restore finds and restores the faces in the small video and puts them into the large one "
            "(background). Both have the same frames; an upscaler that drops some at the end is aligned or refused, "
            "never shifted. Everything outside the faces is the upscaler's.",
            "How to use it",
        ),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Upscale", "degrade", ("3", "4", "7", "10")),
        Group("3 · Restore", "restore", ("6",)),
        Group("4 · Compare", "result", ("5",)),
        Group("5 · Save", "result", ("8", "9")),
    ),
)

DEFLICKER_RESTORE = Workflow(
    "deflicker_restore",
    "Take the flicker out, then restore faces",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node("VividFaceDeflicker", (380, 0), (320, 400), {**FLICKER, "video": ("1", 0)}),
        "4": Node("PreviewAny", (380, 460), (320, 200), {"source": ("3", 1)}, "Flicker before and after"),
        "5": Node(
            "VividFaceOneStepRestore",
            (760, 0),
            (320, 980),
            {**COMMON, **FILM, "video": ("3", 0), "restorer": ("2", 0)},
        ),
        "6": Node("VividFaceCompareVideo", (1140, 0), (640, 920), {"fps": 24.0, "before": ("1", 0), "after": ("5", 0)}),
        "7": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/steady_restored", ("5", 0))),
        "8": Node("PreviewAny", (1840, 620), (320, 300), {"source": ("5", 1)}, "What was done"),
    },
    {
        "9": Note(
            (380, 720),
            (320, 200),
            "Old film: first the whole frame becomes steady, then its faces are restored. In this order the restorer "
            "sees frames of one brightness, and so makes one face of them.\n\n"
            "For generated videos set kind to pixel.",
            "How to use it",
        ),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Deflicker", "restore", ("3", "4", "9")),
        Group("3 · Restore", "restore", ("5",)),
        Group("4 · Compare", "result", ("6",)),
        Group("5 · Save", "result", ("7", "8")),
    ),
)
