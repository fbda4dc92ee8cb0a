"""The criteria of the VividFace paper (section 3.3, supplement B), in words of this project.

Points, ranges, adjustments and thresholds are the paper's. Its prompt calls 85 and more premium, while its data set
keeps what scores above 90: both stand here, the tiers as ``tiers``, the choice as ``keep_above``.
"""

from __future__ import annotations

from vividface_core.mllm.rubric_schema import Band, Dimension, Region, Rubric, Rule, Tier


def _bands(points: int, *rows: tuple[int, str]) -> tuple[Band, ...]:
    """Out of the lowest scores, in rising order."""
    ends = [low - 1 for low, _ in rows[1:]] + [points]
    return tuple(Band(low, high, text) for (low, text), high in zip(rows, ends))


CLARITY = Dimension(
    "clarity",
    "Clarity",
    "Facial Detail Clarity",
    35,
    _bands(
        35,
        (0, "ruined: eyes, nose and mouth can hardly be told apart"),
        (13, "middling: the features are there, their fine detail is not"),
        (22, "good: skin texture and features are seen; stay low here if eyes, mouth or teeth are smeared by motion"),
        (29, "excellent: pores, fine lines and texture are plain in every region of the face"),
        (33, "flawless: the smallest things are crisp, such as single eyelashes, edges of teeth, the texture of lips"),
    ),
)
STABILITY = Dimension(
    "stability",
    "Stability",
    "Video Stability & Regional Motion Blur",
    20,
    _bands(
        20,
        (0, "the whole face is smeared by motion, or the picture jumps"),
        (7, "the camera shakes visibly, or eyes, mouth or teeth are clearly smeared by motion"),
        (12, "not quite steady, yet the critical regions stay sharp"),
        (16, "very steady, next to no motion blur, critical regions clear"),
        (19, "perfectly steady in every frame, no motion blur anywhere in the face"),
    ),
)
LIGHTING = Dimension(
    "lighting",
    "Lighting",
    "Lighting Quality",
    20,
    _bands(
        20,
        (0, "so dark, bright or harsh that features are lost"),
        (7, "usable, with plain faults: uneven shadows, somewhat over- or underexposed"),
        (12, "good, with small faults"),
        (16, "excellent natural light that models the face well"),
        (19, "as in a studio: the light brings out the structure of the face in full"),
    ),
)
ARTIFACTS = Dimension(
    "artifacts",
    "Artifacts",
    "Artifact & Noise Level",
    15,
    _bands(
        15,
        (0, "heavy compression artifacts, noise or digital distortion"),
        (5, "artifacts are noticed and cost detail of the face"),
        (8, "a few small artifacts that hardly matter"),
        (11, "next to none, the picture is of high quality"),
        (14, "none to be seen, the picture is pristine"),
    ),
)
OCCLUSION = Dimension(
    "occlusion",
    "Occlusion",
    "Facial Occlusion",
    10,
    _bands(
        10,
        (0, "more than 25% of the face is hidden by hands or objects"),
        (3, "10 to 25% is hidden"),
        (5, "5 to 10% is hidden, most features are seen"),
        (7, "less than 5% is hidden, all key features are clearly seen"),
        (9, "nothing is hidden, the face is seen as a whole"),
    ),
)

RUBRIC = Rubric(
    name="vividface",
    purpose=(
        "choose the few face videos that are good enough to train a face restoration model on, where every flaw of a "
        "sample teaches the model something wrong"
    ),
    dimensions=(CLARITY, STABILITY, LIGHTING, ARTIFACTS, OCCLUSION),
    regions=(
        Region("eyes", "Eyes", "sharp, with detail in the iris and distinct eyelashes"),
        Region("mouth", "Mouth and lips", "edges and texture of the lips crisp, also while the person speaks"),
        Region("teeth", "Teeth", "whenever they show, each tooth has a clear edge"),
        Region("nose", "Nose", "nostrils and bridge sharp"),
    ),
    rules=(
        Rule("skin_texture", "Exceptional skin texture", 2, "exceptional detail of the skin all through the video"),
        Rule("color", "Perfect color", 1, "color reproduction and white balance are both perfect"),
        Rule(
            "motion_blur",
            "Motion blur in a key region",
            -3,
            "eyes, mouth or teeth are smeared by motion anywhere, however short",
        ),
        Rule("noise", "Visible noise", -2, "digital noise or grain can be seen at all"),
        Rule("smoothing", "Artificial smoothing", -3, "skin is smoothed unnaturally or a beauty filter was used"),
        Rule("sharpness", "Inconsistent sharpness", -2, "some frames are sharp while others are blurred"),
    ),
    tiers=(
        Tier("Premium", 85, "premium training data, the best 10 to 15% of videos"),
        Tier("High", 80, "high-quality training data, the best 20 to 25%"),
        Tier("Standard", 75, "standard training data, the best 40%"),
    ),
    below=Tier("Below Standard", 0, "better left out of premium training"),
    keep_above=90,
    notes=(
        "Be strict. Where two scores seem right, give the lower one.",
        "Scores of 90 and more are for videos without a fault worth mentioning.",
        "The measure is premium training data, which is higher than what everyday viewing asks for.",
        "Look first at whatever a face restoration model would learn from.",
        "Take points off for any flaw that could harm the training.",
        "Check every sum twice before you write it down.",
    ),
)
"""The paper's."""
