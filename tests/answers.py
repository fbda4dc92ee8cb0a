"""Answers to the question of :func:`vividface_core.mllm.rubric.render_prompt`, as models write them."""

from __future__ import annotations

PAPER = """STEP 1 – Individual Scores:
Clarity: 33/35 (eyelashes are crisp)
Stability: 18/20 (tripod)
Lighting: 17/20 (soft key light)
Artifacts: 13/15 (faint blocking)
Occlusion: 10/10 (nothing in front of the face)

STEP 2 – Base Score Calculation:
Base Score = 33 + 18 + 17 + 13 + 10 = 91/100

STEP 3 - Bonus/Penalty Adjustments:
Bonus (+2 points): Exceptional skin texture detail visible throughout
Penalty (-3 points): Motion blur in the mouth, frames 10-15
Total Adjustment: -1 points

STEP 4 - Final Results:
Final Score = 91 (Base) + -1 (Adjustment) = 90/100
Quality Tier: Premium
Critical Issues: Short motion blur of the mouth
Motion Blur Check: mouth blurred for a moment, eyes and teeth clear
"""
"""The form that is asked for, as in the VividFace paper."""


def fence(text: str, kind: str = "") -> str:
    return f"```{kind}\n{text}\n```"


ANSWERS: dict[str, tuple[str, dict[str, float], float, bool]] = {
    "the paper's form": (PAPER, {"skin_texture": 2, "motion_blur": -3}, 90, False),
    "bold labels": (
        """\
**STEP 1 – Individual Scores:**

- **Clarity:** 33/35 (crisp)
- **Stability:** 18/20
- **Lighting**: 17/20
- **Artifacts:** **13/15** - clean
- **Occlusion:** *10*/10

**STEP 2 – Base Score Calculation:**

**Base Score** = 33 + 18 + 17 + 13 + 10 = **91/100**

**STEP 3 – Bonus/Penalty Adjustments:**

- **Bonus (+1 point):** Perfect color reproduction and white balance

**Total Adjustment:** +1 point

**STEP 4 – Final Results:**

**Final Score** = 91 (Base) + 1 (Adjustment) = **92/100**
**Quality Tier:** Premium""",
        {"color": 1},
        92,
        False,
    ),
    "headings with scores below": (
        """\
### 1. Facial Detail Clarity (35 points)
Score: 33/35
Pores are visible.

### 2. Video Stability & Regional Motion Blur (20 points)
**Score:** 18

### 3. Lighting Quality (20 points)
17/20

### 4. Artifact & Noise Level (15 points)
- Score: 13 out of 15

### 5. Facial Occlusion (10 points)
**Score: 10/10**

### Base Score
91/100

### Bonus/Penalty Adjustments
None

### Final Score
**91/100**""",
        {},
        91,
        False,
    ),
    "headings with scores": (
        """\
## Clarity - 33/35
Sharp.
## Stability - 18/20
Steady.
## Lighting - 17/20
## Artifacts - 13/15
## Occlusion - 10/10
## Final Score - 91/100""",
        {},
        91,
        False,
    ),
    "numbered bullets": (
        """\
1. Clarity: 33/35 — detail
2. Stability: 18/20 — calm
3. Lighting: 17/20
4. Artifacts: 13/15
5. Occlusion: 10/10
Total Adjustment: 0
Final Score: 91""",
        {},
        91,
        False,
    ),
    "nested bullets": (
        """\
* STEP 1 - Individual Scores:
  * Clarity: 33/35
    * crisp
  * Stability: 18/20
  * Lighting: 17/20
  * Artifacts: 13/15
  * Occlusion: 10/10
* STEP 3:
  * Adjustments:
    * Noise: -2 points (grain)
  * Total Adjustment: -2
* Final Score = 91 - 2 = 89/100""",
        {"noise": -2},
        89,
        False,
    ),
    "table": (
        """\
| Dimension | Score | Reason |
|:--|:-:|---|
| Clarity | 33/35 | crisp |
| Stability | 18/20 | calm |
| Lighting | 17/20 | soft |
| Artifacts | 13/15 | clean |
| Occlusion | 10/10 | free |

**Final Score: 91/100**""",
        {},
        91,
        False,
    ),
    "in a fence": (fence(PAPER, "markdown"), {"skin_texture": 2, "motion_blur": -3}, 90, False),
    "quoted": (
        "\n".join("> " + line for line in PAPER.splitlines()),
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "one line": (
        """\
Clarity: 33/35, Stability: 18/20, Lighting: 17/20, Artifacts: 13/15, Occlusion: 10/10. Final Score: 91/100""",
        {},
        91,
        False,
    ),
    "sentences": (
        """\
I give Clarity: 33 out of 35, because pores are seen.
Then, Stability: 18 out of 20.
Lighting is rated 17 out of 20.
Artifacts are at 13 out of 15.
Occlusion: 10 out of 10.
Final Score: 91 out of 100""",
        {},
        91,
        False,
    ),
    "spaces": (
        """\
Clarity: 33 / 35
Stability: 18 / 20
Lighting: 17 / 20
Artifacts: 13 / 15
Occlusion: 10 / 10
Final Score = 91 / 100""",
        {},
        91,
        False,
    ),
    "brackets": (
        """\
Clarity [33/35]: crisp
Stability [18/20]: calm
Lighting [17/20]
Artifacts [13/15]
Occlusion [10/10]
Total Adjustment: [0]
Final Score: [91/100]""",
        {},
        91,
        False,
    ),
    "units": (
        """\
Clarity: 33 points
Stability: 18 pts
Lighting: 17 points (soft)
Artifacts: 13 points - clean
Occlusion: 10 points
Total Adjustment: 0 points
Final Score: 91 points""",
        {},
        91,
        False,
    ),
    "maximum named": (
        """\
Clarity (35 points max): 33
Stability (max 20): 18
Lighting (0-20): 17
Artifacts (out of 15): 13
Occlusion (/10): 10
Final Score: 91""",
        {},
        91,
        False,
    ),
    "equals sign": (
        """\
Clarity = 33/35
Stability = 18/20
Lighting = 17/20
Artifacts = 13/15
Occlusion = 10/10
Final Score = 91""",
        {},
        91,
        False,
    ),
    "decimals": (
        """\
Clarity: 32.5/35
Stability: 18.5/20
Lighting: 17.0/20
Artifacts: 13/15
Occlusion: 10/10
Base Score = 91.0/100
Final Score = 91.0/100""",
        {},
        91,
        False,
    ),
    "full width": (
        """\
Clarity：３３／３５（清晰）
Stability：１８／２０
Lighting：１７／２０
Artifacts：１３／１５
Occlusion：１０／１０
Total Adjustment：－２ points
Final Score：８９／１００""",
        {"": -2},
        89,
        True,
    ),
    "minus sign": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Adjustments:
• Visible noise or grain: −2
Total Adjustment: −2
Final Score = 91 − 2 = 89/100""",
        {"noise": -2},
        89,
        False,
    ),
    "thoughts before": (
        """\
<think>Clarity: 20/35? No. Stability: 9/20, Lighting: 9/20, Artifacts: 9/15, Occlusion: 9/10. Again.</think>
"""
        + PAPER,
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "thoughts without their beginning": (
        "So clarity may be 20/35...\n</think>\n\n" + PAPER,
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "chatter around": (
        "Here is the evaluation of the video:\n\n" + PAPER + "\nAnything else?",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "Windows line ends": (PAPER.replace("\n", "\r\n"), {"skin_texture": 2, "motion_blur": -3}, 90, False),
    "small letters": (PAPER.lower(), {"skin_texture": 2, "motion_blur": -3}, 90, False),
    "emoji": (
        """\
🔍 Clarity: 33/35 ✅
🎥 Stability: 18/20
💡 Lighting: 17/20
🧩 Artifacts: 13/15
🙂 Occlusion: 10/10
⭐ Final Score: 91/100""",
        {},
        91,
        False,
    ),
    "summary table after it": (
        PAPER
        + """
| Dimension | Score |
|---|---|
| Clarity | 33/35 |
| Stability | 18/20 |
| Lighting | 17/20 |
| Artifacts | 13/15 |
| Occlusion | 10/10 |
""",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "best scores repeated": (
        PAPER + "\nStrongest point: Clarity: 33/35\n",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "a second answer": (
        """Clarity: 20/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Final Score: 78/100

On second thought:

"""
        + PAPER,
        {"skin_texture": 2, "motion_blur": -3},
        90,
        True,
    ),
    "a second answer that was cut": (
        PAPER + "\nRevised:\nClarity: 30/35\nStability: 1",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        True,
    ),
    "all rules named": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
STEP 3 - Bonus/Penalty Adjustments:
- Bonus (+2): Exceptional skin texture - Not applied
- Bonus (+1): Perfect color - Applied
- Penalty (-3): Motion blur - Not applicable
- Penalty (-2): Noise - N/A
- Penalty (-3): Skin smoothing: none
- Penalty (-2): Inconsistent sharpness: not detected
Total Adjustment: +1 points
Final Score = 91 + 1 = 92/100""",
        {"color": 1},
        92,
        False,
    ),
    "zeros": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Adjustments:
Bonus: +0
Penalty: -0
Total Adjustment: +/-0 points
Final Score = 91 + 0 = 91/100""",
        {},
        91,
        False,
    ),
    "rules as a list": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Adjustments:
1. Motion blur in teeth: -3 points
2. Beauty filter effects: -3 points
3. Some frames sharp, others blurry (inconsistent sharpness): -2 points
Total Adjustment: -8 points
Final Score = 91 (Base) + (-8) (Adjustment) = 83/100
Quality Tier: High""",
        {"motion_blur": -3, "smoothing": -3, "sharpness": -2},
        83,
        False,
    ),
    "rules in a table": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
### Adjustments
| Adjustment | Points | Reason |
|---|---|---|
| Exceptional skin texture | +2 | pores |
| Visible noise | -2 | dark areas |
| **Total** | **0** | |

Final Score: 91/100""",
        {"skin_texture": 2, "noise": -2},
        91,
        False,
    ),
    "rules under headings": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Bonuses:
- Exceptional skin texture: 2 points
Penalties:
- Motion blur in the eyes: 3 points
Total Adjustment: -1
Final Score = 91 - 1 = 90""",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "rules in one line": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Adjustments: +2 (skin texture), -3 (motion blur in the mouth), -2 (grain)
Total Adjustment: -3
Final Score: 88/100""",
        {"skin_texture": 2, "motion_blur": -3, "noise": -2},
        88,
        False,
    ),
    "points alone": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Bonus: +2
Final Score: 93/100""",
        {"skin_texture": 2},
        93,
        False,
    ),
    "in total only": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Total Adjustment: -3 points
Final Score = 91 - 3 = 88/100""",
        {"": -3},
        88,
        True,
    ),
    "in the final sum only": (
        """\
Clarity: 33/35
Stability: 18/20
Lighting: 17/20
Artifacts: 13/15
Occlusion: 10/10
Final Score = 91 (Base) + (-3) (Adjustment) = 88/100""",
        {"": -3},
        88,
        True,
    ),
    "JSON": (
        """\
{"scores": {"clarity": {"score": 33, "reason": "r"}, "stability": {"score": 18, "reason": "r"},
 "lighting": {"score": 17, "reason": "r"}, "artifacts": {"score": 13, "reason": "r"},
 "occlusion": {"score": 10, "reason": "r"}}, "base_score": 91, "adjustments": [{"rule": "motion_blur",
 "points": -3, "reason": "mouth"}], "total_adjustment": -3, "final_score": 88, "quality_tier": "Premium",
 "critical_issues": ["mouth"], "motion_blur_check": "mouth"}""",
        {"motion_blur": -3},
        88,
        False,
    ),
    "JSON in a fence, amid text": (
        """\
Here you go:
```json
{
  "clarity": 33,
  "stability": 18,
  "lighting": 17,
  "artifacts": 13,
  "occlusion": 10,
  "final": 91
}
```
Hope this helps.""",
        {},
        91,
        False,
    ),
    "JSON, other keys": (
        """\
{"Individual Scores": {"Clarity": "33/35", "Stability": "18/20", "Lighting": 17.0, "Artifacts": "13",
 "Occlusion": 10}, "Base Score": 91, "Bonus/Penalty Adjustments": ["+2: Exceptional skin texture"],
 "Total Adjustment": "+2", "Final Score": "93/100", "Quality Tier": "Premium", "Critical Issues": "None",
 "Motion Blur Check": "none"}""",
        {"skin_texture": 2},
        93,
        False,
    ),
    "JSON, a list": (
        """\
{"dimensions": [{"name": "Facial Detail Clarity", "score": 33, "max_score": 35}, {"name": "Video Stability",
 "score": 18, "max_score": 20}, {"name": "Lighting Quality", "score": 17, "max_score": 20},
 {"name": "Artifact & Noise Level", "score": 13, "max_score": 15}, {"name": "Facial Occlusion", "score": 10,
 "max_score": 10}], "finalScore": 91}""",
        {},
        91,
        False,
    ),
    "JSON, flat with reasons": (
        """\
{"clarity_score": 33, "stability_score": 18, "lighting_score": 17, "artifacts_score": 13,
 "occlusion_score": 10, "clarity_reason": "because", "stability_reason": "because",
 "lighting_reason": "because", "artifacts_reason": "because", "occlusion_reason": "because",
 "bonuses": [{"reason": "skin texture", "points": 2}], "penalties": [{"reason": "noise", "points": 2}],
 "final_score": 91}""",
        {"skin_texture": 2, "noise": -2},
        91,
        False,
    ),
    "JSON by steps": (
        """\
{"STEP_1": {"clarity": 33, "stability": 18, "lighting": 17, "artifacts": 13, "occlusion": 10},
 "STEP_2": {"base_score": 91}, "STEP_3": {"adjustments": {"noise": -2}, "total_adjustment": -2},
 "STEP_4": {"final_score": 89, "quality_tier": "Premium"}}""",
        {"noise": -2},
        89,
        False,
    ),
    "JSON, not quite": (
        """\
{"clarity": 33, "stability": 18, "lighting": 17, "artifacts": 13, "occlusion": 10, // all good
 "adjustments": [{"rule": "skin_texture", "points": +2,}], "final": 93,}""",
        {"skin_texture": 2},
        93,
        False,
    ),
    "a Python dictionary": (
        """\
{'Clarity': 33, 'Stability': 18, 'Lighting': 17, 'Artifacts': 13, 'Occlusion': 10, 'final': 91}""",
        {},
        91,
        False,
    ),
    "lines, then JSON": (
        PAPER
        + """```json
{"clarity": 33, "stability": 18, "lighting": 17, "artifacts": 13, "occlusion": 10, "final_score": 90}
```""",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "LaTeX": (
        """Clarity: $33/35$
Stability: $18/20$
Lighting: $17/20$
Artifacts: $13/15$
Occlusion: $10/10$
Final Score: $\\boxed{91}$""",
        {},
        91,
        False,
    ),
    "YAML": (
        """clarity:
  score: 33
  reason: crisp
stability:
  score: 18
lighting:
  score: 17
artifacts:
  score: 13
occlusion:
  score: 10
final_score: 91""",
        {},
        91,
        False,
    ),
    "issues that name dimensions": (
        PAPER.replace(
            "Short motion blur of the mouth",
            """
- Clarity: 2 frames are blurred
- Lighting: 1 lamp is in the picture
""",
        ),
        {"skin_texture": 2, "motion_blur": -3},
        90,
        False,
    ),
    "one score taken back": (
        PAPER + "\nWait, stability is lower.\nStability: 15/20\nFinal Score: 87/100",
        {"skin_texture": 2, "motion_blur": -3},
        90,
        True,
    ),
    "JSON, kinds of adjustments": (
        """{"clarity": 33, "stability": 18, "lighting": 17, "artifacts": 13, "occlusion": 10,
 "adjustments": [{"type": "penalty", "description": "Motion blur in the mouth", "points": 3},
                 {"type": "bonus", "description": "Perfect white balance", "points": 1}],
 "final_score": 89}""",
        {"motion_blur": -3, "color": 1},
        89,
        False,
    ),
}
"""By what is special: text, adjustments that count by rule, final score, whether the model made a mistake. All have the
scores 33, 18, 17, 13 and 10, but "decimals"."""
