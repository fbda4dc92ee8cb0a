"""The example workflows that the pack ships."""

from __future__ import annotations

from dataclasses import replace

from tests.browser.chained_workflows import DEFLICKER_RESTORE, DEFLICKER_VIDEO, RESTORE_BEHIND_UPSCALER
from tests.browser.graphs import Group, Node, Note, Workflow
from tests.browser.workflow_inputs import COMMON, DEGRADE, FILM, MASK, MEASURED, MODEL, PAINTED, SHARP, VIDEO, saved

RESTORE_VIDEO = Workflow(
    "restore_video",
    "Restore faces in a video",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node(
            "VividFaceOneStepRestore",
            (380, 0),
            (320, 980),
            {**COMMON, **FILM, "video": ("1", 0), "restorer": ("2", 0)},
        ),
        "4": Node("VividFaceCompareVideo", (760, 0), (640, 700), {"fps": 24.0, "before": ("3", 2), "after": ("3", 0)}),
        "5": Node("SaveVideo", (1460, 0), (320, 560), saved("VividFace/restored", ("3", 0))),
        "6": Node("PreviewAny", (1460, 620), (320, 300), {"source": ("3", 1)}, "What was done"),
    },
    {
        "7": Note(
            (760, 760),
            (640, 160),
            "Press **Run**: the pack's example clip is restored. Then choose a video of your own in Video Load, or "
            "upload one. Drag the divider in Compare Video to "
            "see what changed. Save Video puts the file into ComfyUI's output folder, under VividFace.\n\n"
            "Before a long video, **Preview a second** in One-Step Restore shows what to expect; it saves nothing.\n\n"
            "vividface-nano is part of the pack and runs on every machine, but it is small. For better faces "
            "choose a larger model; the node Download VividFace Model fetches one that you don't have yet.\n\n"
            "Only faces change: the rest of the picture, the sound and the timing stay.",
            "How to use it",
        ),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Restore", "restore", ("3",)),
        Group("3 · Compare", "result", ("4", "7")),
        Group("4 · Save", "result", ("5", "6")),
    ),
)

RESTORE_ONE_FACE = Workflow(
    "restore_one_face",
    "Restore one chosen face",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node(
            "VividFaceFaceMask",
            (380, 0),
            (320, 820),
            {**MASK, "people": "1", "source": ("1", 0)},
            "Face Mask: which person",
        ),
        "4": Node(
            "VividFaceOneStepRestore",
            (760, 0),
            (320, 980),
            {**COMMON, **FILM, "video": ("1", 0), "restorer": ("2", 0), "tracks": ("3", 1)},
        ),
        "5": Node("VividFaceCompareVideo", (1140, 0), (640, 920), {"fps": 24.0, "before": ("1", 0), "after": ("4", 0)}),
        "6": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/one_face", ("4", 0))),
        "7": Node("PreviewAny", (1840, 620), (320, 300), {"source": ("4", 1)}, "What was done"),
        "8": Node("PreviewImage", (760, 1040), (320, 260), {"images": ("3", 5)}, "People found"),
    },
    {
        "9": Note(
            (380, 880),
            (320, 480),
            "Run once: Face Mask shows everyone it found, the same person over all cuts. Click those who alone shall "
            "be restored; their numbers go into people, and nobody chosen means everyone. **People found** shows how "
            "alike they are.\n\n"
            "Face Mask follows the person through the video and hands the faces on as tracks. The restore node then "
            "looks for no faces itself. Its person strengths give people different strengths: 1=1.0,2=0.5.\n\n"
            "To choose by a picture of the person instead, leave Face Mask out: in the restore node set faces to like "
            "the reference, and connect a Load Image to reference.",
            "How to choose a person",
        ),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Choose the person", "mask", ("3", "9")),
        Group("3 · Restore", "restore", ("4", "8")),
        Group("4 · Compare", "result", ("5",)),
        Group("5 · Save", "result", ("6", "7")),
    ),
)

MASK_GUIDED_RESTORE = Workflow(
    "mask_guided_restore",
    "Restore faces within a mask",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), VIDEO),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node("GetVideoComponents", (380, 0), (320, 120), {"video": ("1", 0)}),
        "4": Node("VividFaceFaceMask", (380, 180), (320, 860), {**MASK, "source": ("3", 0)}),
        "5": Node("LoadImage", (380, 1560), (320, 320), {"image": PAINTED}, "Painted mask", through=""),
        "6": Node(
            "MaskComposite",
            (760, 1560),
            (320, 160),
            {"x": 0, "y": 0, "operation": "subtract", "destination": ("4", 0), "source": ("5", 1)},
            "Face mask less what is painted",
            through="destination",
        ),
        "7": Node("MaskPreview", (380, 1100), (320, 340), {"mask": ("6", 0)}, "Where faces may change"),
        "8": Node(
            "VividFaceOneStepRestoreImages",
            (760, 0),
            (320, 720),
            {**COMMON, "images": ("3", 0), "restorer": ("2", 0), "mask": ("6", 0)},
        ),
        "9": Node("CreateVideo", (760, 880), (320, 140), {"fps": ("3", 2), "images": ("8", 0), "audio": ("3", 1)}),
        "10": Node(
            "VividFaceCompareVideo", (1140, 0), (640, 720), {"fps": 24.0, "before": ("1", 0), "after": ("9", 0)}
        ),
        "11": Node("SaveVideo", (1840, 0), (320, 560), saved("VividFace/mask_guided", ("9", 0))),
        "12": Node("PreviewAny", (1840, 620), (320, 300), {"source": ("8", 1)}, "What was done"),
        "13": Node("PreviewImage", (0, 1560), (320, 320), {"images": ("1", 1)}, "First frame"),
    },
    {
        "14": Note(
            (1140, 780),
            (640, 140),
            "Face Mask tells where faces are; the restoration shows only there. grow makes that area larger or, "
            "below 0, smaller. With the weights of a parsing network, region can be a part of the face.\n\n"
            "All frames are in memory here. For long videos take One-Step Restore (Video): it has a mask input "
            "too.",
            "How to use it",
        ),
        "15": Note(
            (1140, 1560),
            (640, 320),
            "To keep a part of a face as it was (glasses, a scar, make-up):\n"
            "1. Run once. Right-click First frame and choose Copy (Clipspace).\n"
            "2. Right-click Painted mask and choose Paste (Clipspace).\n"
            "3. Right-click Painted mask, choose Open in MaskEditor, paint over the part, and save.\n"
            "4. Select the two violet nodes, press Ctrl+B to switch them on, and Run.\n\n"
            "What is painted then stays as it was, in every frame; the paint doesn't move with the face. With "
            "operation = multiply it is the other way round: only what is painted changes.",
            "How to touch up by hand",
        ),
    },
    (
        Group("1 · Video and model", "input", ("1", "2")),
        Group("2 · Frames and mask", "mask", ("3", "4", "7")),
        Group("3 · Restore", "restore", ("8", "9")),
        Group("4 · Compare", "result", ("10", "14")),
        Group("5 · Save", "result", ("11", "12")),
        Group("Touch-up by hand (switched off until you want it)", "mask", ("5", "6", "13", "15")),
    ),
)

DEGRADE_RESTORE_METRICS = Workflow(
    "degrade_restore_metrics",
    "Degrade, restore and measure",
    {
        "1": Node("VividFaceVideoLoad", (0, 0), (320, 620), {**VIDEO, "file": SHARP}),
        "2": Node("VividFaceLoadModel", (0, 680), (320, 240), MODEL),
        "3": Node("VividFaceDegradeSynth", (380, 0), (320, 560), {**DEGRADE, "encoding": "h264", "video": ("1", 0)}),
        "4": Node("PreviewAny", (380, 620), (320, 300), {"source": ("3", 1)}, "What was drawn"),
        "5": Node(
            "VividFaceOneStepRestore",
            (760, 0),
            (320, 980),
            {**COMMON, **FILM, "video": ("3", 0), "restorer": ("2", 0)},
        ),
        "6": Node("VividFaceCompareVideo", (1140, 0), (640, 700), {"fps": 24.0, "before": ("3", 0), "after": ("5", 0)}),
        "7": Node(
            "VividFaceMetrics",
            (1840, 0),
            (640, 520),
            {"metrics": MEASURED, "output": ("5", 0), "reference": ("1", 0), "source": ("3", 0)},
        ),
        "8": Node("PreviewAny", (1840, 580), (640, 340), {"source": ("7", 0)}, "All figures"),
    },
    {
        "9": Note(
            (1140, 760),
            (640, 160),
            "Press **Run**, or choose a sharp video of your own in Video Load first. It is degraded, restored, and "
            "measured: how near the restored video (output) comes to the sharp one, and how near "
            "the degraded one (input) was.\n\n"
            "The seed stands still, so that only the model and its settings make a difference from run to run. "
            "Another seed draws another degradation; another preset is another paper's recipe.\n\n"
            "Leave metrics empty to measure everything; its help page tells which metrics need weights. In All "
            "figures, preview_mode shows the table as Markdown.",
            "How to use it",
        ),
    },
    (
        Group("1 · Sharp video and model", "input", ("1", "2")),
        Group("2 · Degrade", "degrade", ("3", "4")),
        Group("3 · Restore", "restore", ("5",)),
        Group("4 · Compare: degraded, restored", "result", ("6", "9")),
        Group("5 · Measure", "result", ("7", "8")),
    ),
)

JUDGE = {
    "judge": "technical (measurements, no MLLM)",
    "model": "auto",
    "server": "",
    "server_model": "",
    "threshold": -1.0,
}
LOOK = {
    "passes": 1,
    "fps": 2.0,
    "frames": 32,
    "frame_pixels": 602112,
    "max_tokens": 2048,
    "precision": "auto",
    "rubric": "paper",
    "calibration": "none",
}

SCORE_FOLDER = Workflow(
    "score_folder",
    "Score a folder of videos",
    {
        "1": Node(
            "VividFaceScoreFolder",
            (0, 0),
            (640, 820),
            {"folder": ".", "subfolders": False, **JUDGE, "sort": "by tier", "name": "VividFace/scores", **LOOK},
        ),
        "2": Node("PreviewAny", (700, 460), (320, 360), {"source": ("1", 0)}, "All scores"),
        "3": Node("VividFaceVideoLoad", (1080, 0), (320, 620), VIDEO),
        "4": Node("VividFaceMLLMScore", (1460, 0), (480, 820), {"video": ("3", 0), **JUDGE, **LOOK, "image_fps": 24.0}),
        "5": Node("PreviewAny", (2000, 0), (400, 820), {"source": ("4", 4)}, "What the judge wrote"),
    },
    {
        "6": Note(
            (700, 0),
            (320, 400),
            "Put videos into ComfyUI's input folder, or into a folder there, choose it in Score Folder, and "
            "press Run. Each gets a score from 0 to 100, a tier, and a place in the tables; with sort, copies of "
            "the videos are put into folders by tier, or into keep and drop. The originals stay where they "
            "are.\n\n"
            "Stop it whenever you like: what is judged is kept, and the next run does only what is missing.\n\n"
            "The judge technical measures sharpness, noise, blocks, light and steadiness. It understands nothing "
            "and sees no face: it shows how things go. For grades as in the paper set judge to local model, with "
            "Qwen2.5-VL or Qwen3-VL in models/LLM, or to server.",
            "How to use it",
        ),
        "7": Note(
            (1080, 680),
            (320, 140),
            "To see why a video got its score, look at it alone. To look at the folder only, select this group "
            "and press Ctrl+B.",
            "One by one",
        ),
    },
    (
        Group("1 · Score a folder", "restore", ("1", "2", "6")),
        Group("2 · Score one video", "result", ("3", "4", "5", "7")),
    ),
)

RESTORE_APP = replace(
    RESTORE_VIDEO,
    name="restore_app",
    title="Restore faces, as an app",
    app=((("1", "file"), ("2", "model"), ("3", "strength"), ("3", "faces")), ("4", "5")),
)
"""The same graph, opened in App mode."""

WORKFLOWS = (
    RESTORE_VIDEO,
    RESTORE_APP,
    RESTORE_ONE_FACE,
    MASK_GUIDED_RESTORE,
    DEGRADE_RESTORE_METRICS,
    SCORE_FOLDER,
    DEFLICKER_VIDEO,
    RESTORE_BEHIND_UPSCALER,
    DEFLICKER_RESTORE,
)
