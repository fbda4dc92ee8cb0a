"""The rubric and what is read out of answers: the paper's form, how models really write, and what is no answer."""

from __future__ import annotations

import json
import pickle
import random
import re
import time
from dataclasses import replace

import pytest

from tests.answers import ANSWERS, PAPER, fence
from vividface_core.errors import InvalidAnswer, InvalidOption, VividFaceError
from vividface_core.mllm.assessment import Assessment
from vividface_core.mllm.rubric import (
    RUBRIC,
    answer_schema,
    parse_assessment,
    read_rubric,
    render_prompt,
    rubric_from_json,
    rubric_to_json,
    rubric_version,
    write_rubric,
)
from vividface_core.mllm.rubric_schema import Band, Tier

KEYS = ("clarity", "stability", "lighting", "artifacts", "occlusion")
POINTS = dict(zip(KEYS, (35, 20, 20, 15, 10)))
SCORES = (33, 18, 17, 13, 10)
"""In nearly all answers below; their sum is 91."""

HEAD = "Clarity: 33/35\nStability: 18/20\nLighting: 17/20\nArtifacts: 13/15\nOcclusion: 10/10\n"
FIVE = {"clarity": 33, "stability": 18, "lighting": 17, "artifacts": 13, "occlusion": 10}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_as_models_write_them(name):
    text, adjustments, final, mistaken = ANSWERS[name]
    read = parse_assessment(text)
    expected = (32.5, 18.5, 17, 13, 10) if name == "decimals" else SCORES
    assert tuple(read.scores.values()) == expected and tuple(read.scores) == KEYS
    assert {row.rule: row.points for row in read.adjustments} == adjustments
    assert (read.base, read.final) == (91, final)
    assert bool(read.faults) == mistaken, read.faults
    assert (read.raw, read.rubric) == (text, rubric_version(RUBRIC))


def test_everything_of_the_papers_form_is_read():
    read = parse_assessment(PAPER)
    assert (
        read.reasons["clarity"] == "eyelashes are crisp" and read.reasons["occlusion"] == "nothing in front of the face"
    )
    assert (read.tier, read.critical_issues) == ("Premium", ("Short motion blur of the mouth",))
    assert read.motion_blur == "mouth blurred for a moment, eyes and teeth clear"
    assert "skin texture" in read.adjustments[0].reason and read.adjustment == -1
    assert parse_assessment(ANSWERS["headings with scores below"][0]).reasons["clarity"] == "Pores are visible."


NO_ANSWERS = {
    "a table of bare numbers": "| Criterion | Max | Score |\n|---|---|---|\n"
    + "\n".join(f"| {key} | {POINTS[key]} | {score} |" for key, score in zip(KEYS, SCORES)),
    "another language": "清晰度：33/35\n稳定性：18/20\n光照：17/20\n伪影：13/15\n遮挡：10/10\n最终得分：91",
    "nothing": "",
    "blanks": " \n\t\n",
    "a refusal": "I'm sorry, but I can't evaluate videos of real people.",
    "a description": "The video shows a woman of about 30 talking. The clarity is high, the light good.",
    "cut within the scores": PAPER[: PAPER.index("Artifacts")],
    "cut within a score": PAPER[: PAPER.index("/10 (nothing")][:-2],
    "placeholders": re.sub(r"\d+/", "X/", PAPER),
    "one placeholder": PAPER.replace("17/20", "X/20"),
    "underscores": PAPER.replace("17/20", "___/20"),
    "a question mark": PAPER.replace("17/20", "?/20"),
    "not applicable": PAPER.replace("17/20 (soft key light)", "N/A"),
    "in words": PAPER.replace("17/20 (soft key light)", "very good"),
    "a range": PAPER.replace("17/20", "16-18/20"),
    "a bare range": PAPER.replace("17/20", "16-18"),
    "another scale": PAPER.replace("17/20", "8/10"),
    "percent": PAPER.replace("17/20", "85%"),
    "the total only": "Final Score = 91/100\nQuality Tier: Premium",
    "the base sum only": "Base Score = 33 + 18 + 17 + 13 + 10 = 91/100",
    "the sum with names": "Clarity + Stability + Lighting + Artifacts + Occlusion = 33 + 18 + 17 + 13 + 10 = 91/100",
    "thoughts only": "<think>\n" + PAPER + "\n</think>",
    "thoughts that never end": "<think>\n" + PAPER,
    "the question": render_prompt(),
    "the question for JSON": render_prompt(form="json"),
    "the rubric as a table": "| Criterion | Max |\n|---|---|\n"
    + "\n".join(f"| {key} | {points} |" for key, points in POINTS.items()),
    "JSON without a dimension": json.dumps({key: value for key, value in FIVE.items() if key != "lighting"}),
    "JSON with null": json.dumps({**FIVE, "lighting": None}),
    "JSON with NaN": json.dumps({**FIVE, "lighting": float("nan")}),
    "JSON with true": json.dumps({**FIVE, "lighting": True}),
    "JSON with text": json.dumps({**FIVE, "lighting": "X/20"}),
    "JSON on another scale": json.dumps({**FIVE, "lighting": {"score": 8, "max": 10}}),
    "JSON that is cut": json.dumps(FIVE)[:40],
    "JSON that is cut in the last score": json.dumps(FIVE)[:-2],
    "an empty object": "{}",
    "the schema": json.dumps(answer_schema()),
    "brackets": "[" * 5000 + "{" * 5000,
    "two halves that contradict": "Clarity: 33/35\nStability: 18/20\n"
    + HEAD.replace("33", "30").replace("Stability: 18/20\n", ""),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_refused(name):
    with pytest.raises(InvalidAnswer) as refused:
        parse_assessment(NO_ANSWERS[name])
    assert refused.value.raw == NO_ANSWERS[name] and len(str(refused.value)) < 300


def test_a_refusal_says_what_is_missing_and_survives_a_process_border():
    with pytest.raises(
        InvalidAnswer, match="no score for lighting; it gives lighting as '8/10', not out of 20"
    ) as refused:
        parse_assessment(PAPER.replace("17/20", "8/10"))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.raw) == (str(refused.value), refused.value.raw) and isinstance(again, VividFaceError)
    with pytest.raises(InvalidAnswer, match="no score for artifacts, occlusion"):
        parse_assessment(NO_ANSWERS["cut within the scores"])


@pytest.mark.parametrize(
    "change, final, told",
    [
        (("= 91/100", "= 93/100"), 90, ["base score is given as 93; the scores make 91"]),
        (("33 + 18 + 17", "33 + 19 + 17"), 90, ["added up from 33 + 19"]),
        (("= 90/100", "= 92/100"), 90, ["final score is given as 92; it is 90"]),
        (("Adjustment: -1", "Adjustment: +1"), 90, ["together; those that count make -1"]),
        (("Tier: Premium", "Tier: High"), 90, ["tier is given as High; 90 is Premium"]),
        (("Tier: Premium", "Tier: [Premium/High/Standard/Below Standard]"), 90, []),
        (
            ("Clarity: 33/35", "Clarity: 38/35"),
            92,
            ["score of clarity is 38; 35 counts", "added up from", "base score", "final score"],
        ),
        (
            ("Occlusion: 10/10", "Occlusion: -2/10"),
            80,
            ["score of occlusion is -2; 0 counts", "added up from", "base", "final", "tier"],
        ),
        (("Penalty (-3 points)", "Penalty (-5 points)"), 90, ["motion_blur is applied with -5; -3 counts"]),
        (
            ("Penalty (-3 points): Motion blur in the mouth, frames 10-15", "Penalty (-3 points): Poor composition"),
            93,
            ["-3 follows no rule", "given as -1 together", "final score"],
        ),
        (
            ("Total Adj", "Penalty (-3 points): motion blur in the eyes\nTotal Adj"),
            90,
            ["motion_blur is applied more than once"],
        ),
    ],
)
def test_what_the_model_computed_wrongly_is_told(change, final, told):
    assert change[0] in PAPER
    read = parse_assessment(PAPER.replace(*change))
    assert read.final == final
    assert len(read.faults) == len(told), read.faults
    for fault, part in zip(read.faults, told):
        assert part in fault


def test_scores_end_at_the_range_of_the_whole():
    full = "".join(f"{key}: {points}/{points}\n" for key, points in POINTS.items())
    read = parse_assessment(
        full + "Bonus: +2 skin texture\nBonus: +1 white balance\nTotal Adjustment: +3\nFinal Score: 103/100"
    )
    assert (read.base, read.final, read.adjustment, len(read.faults)) == (100, 100, 3, 1)
    empty = "".join(f"{key}: 0/{points}\n" for key, points in POINTS.items())
    assert parse_assessment(empty + "Penalty: -3 motion blur\nFinal Score: 0").final == 0
    unexplained = parse_assessment(HEAD + "Total Adjustment: -40\nFinal Score: 51")
    assert (unexplained.adjustment, unexplained.final) == (-10, 81)


def test_an_answer_cut_after_its_scores_is_told():
    read = parse_assessment(PAPER[: PAPER.index("STEP 3")])
    assert read.final == 91 and "may have been cut" in read.faults[0]


# Random answers, written in several forms, are read as they were meant.

TITLES = {rule.key: rule.title for rule in RUBRIC.rules}
RULE_POINTS = {"skin_texture": 2, "color": 1, "motion_blur": -3, "noise": -2, "smoothing": -3, "sharpness": -2}


def drawn(rng: random.Random) -> tuple[dict[str, float], list[str]]:
    step = rng.choice([1, 1, 0.5])
    scores = {key: min(points, rng.randint(0, int(points / step)) * step) for key, points in POINTS.items()}
    return scores, [key for key in RULE_POINTS if rng.random() < 0.35]


def as_form(scores, rules, final):
    lines = [
        f"{key.title()}: {value:g}/{POINTS[key]} (since {rank} of 9 eyelashes)"
        for rank, (key, value) in enumerate(scores.items())
    ]
    total = sum(RULE_POINTS[key] for key in rules)
    listed = [f"{TITLES[key]}: {RULE_POINTS[key]:+d} points (frame {len(key)})" for key in rules] or ["None"]
    return "\n".join(
        [
            "STEP 1 - Individual Scores:",
            *lines,
            "",
            "STEP 2 - Base Score Calculation:",
            f"Base Score = {' + '.join(f'{value:g}' for value in scores.values())} = {sum(scores.values()):g}/100",
            "",
            "STEP 3 - Bonus/Penalty Adjustments:",
            *listed,
            f"Total Adjustment: {total:+d} points",
            "",
            "STEP 4 - Final Results:",
            f"Final Score = {sum(scores.values()):g} (Base) + {total} (Adjustment) = {final:g}/100",
            "Critical Issues: None",
        ]
    )


def as_markdown(scores, rules, final):
    rows = [
        f"| {number}. **{dimension.title}** | **{scores[dimension.key]:g}/{dimension.points}** | fine |"
        for number, dimension in enumerate(RUBRIC.dimensions, 1)
    ]
    listed = [
        f"- **{'Bonus' if RULE_POINTS[key] > 0 else 'Penalty'} ({RULE_POINTS[key]:+d}):** {TITLES[key]}"
        for key in rules
    ]
    return "\n".join(
        [
            "| Criterion | Score | Why |",
            "|---|---:|---|",
            *rows,
            "",
            "## Bonus/Penalty Adjustments",
            *listed,
            "",
            f"**Final Score: {final:g}/100**",
        ]
    )


def as_json(scores, rules, final):
    return fence(
        json.dumps(
            {
                "scores": {key: {"score": value, "reason": "r"} for key, value in scores.items()},
                "base_score": sum(scores.values()),
                "adjustments": [{"rule": key, "points": RULE_POINTS[key], "reason": "r"} for key in rules],
                "total_adjustment": sum(RULE_POINTS[key] for key in rules),
                "final_score": final,
                "critical_issues": [],
                "motion_blur_check": "none",
            },
            indent=1,
        ),
        "json",
    )


@pytest.mark.parametrize("form", [as_form, as_markdown, as_json])
def test_any_scores_survive_being_written_and_read(form):
    rng = random.Random(form.__name__)
    for _ in range(300):
        scores, rules = drawn(rng)
        unclamped = sum(scores.values()) + sum(RULE_POINTS[key] for key in rules)
        final = min(max(unclamped, 0), 100)
        text = form(scores, rules, final)
        read = parse_assessment(text)
        assert read.scores == scores, text
        assert sorted(row.rule for row in read.adjustments) == sorted(rules), text
        assert read.final == final and not [fault for fault in read.faults if "end of the range" not in fault], (
            read.faults,
            text,
        )
        assert Assessment.from_json(json.loads(json.dumps(read.to_json()))) == read


@pytest.mark.parametrize("form", [as_form, as_json])
def test_a_wrong_sum_is_found_wherever_it_stands(form):
    rng = random.Random(form.__name__)
    for _ in range(100):
        scores, rules = drawn(rng)
        final = min(max(sum(scores.values()) + sum(RULE_POINTS[key] for key in rules), 0), 100)
        wrong = rng.choice([value for value in (final - 4, final + 1, final + 7) if 0 <= value <= 100])
        read = parse_assessment(form(scores, rules, wrong))
        assert read.final == final and any(f"given as {wrong:g}; it is {final:g}" in fault for fault in read.faults), (
            read.faults
        )


@pytest.mark.parametrize("piece", ["Clarity: ", "(", "{", '{"a":', "Clarity: 33/35 ", "| 1 ", "Base Score = 1 + "])
def test_a_model_caught_in_a_loop_costs_no_time(piece):
    began = time.process_time()
    with pytest.raises(InvalidAnswer):
        parse_assessment(piece * (60_000 // len(piece)))
    # Some seconds where the cost grows with the length, many minutes where it grows with its square.
    assert time.process_time() - began < 60


def test_no_text_breaks_the_parser_and_every_cut_answer_is_honest():
    rng = random.Random(5)
    pieces = [
        *PAPER.split(),
        *ANSWERS["JSON"][0].split(),
        "|",
        "{",
        "}",
        '"',
        "\n",
        "/",
        "+",
        "-",
        "(",
        "³",
        "İ",
        "\ud800",
    ]
    for _ in range(300):
        text = rng.choice([" ", "", "\n"]).join(rng.choices(pieces, k=rng.randint(1, 60)))
        try:
            read = parse_assessment(text)
        except InvalidAnswer:
            continue
        assert all(0 <= read.scores[key] <= POINTS[key] for key in KEYS) and 0 <= read.final <= 100
    for end in range(len(PAPER)):
        try:
            read = parse_assessment(PAPER[:end])
        except InvalidAnswer:
            assert end < PAPER.index("STEP 2")
        else:
            assert tuple(read.scores.values()) == SCORES
            assert read.faults or read.adjustment == -1


# The rubric.


def test_the_papers_figures():
    assert [(d.key, d.points) for d in RUBRIC.dimensions] == list(POINTS.items())
    assert [[band.low for band in d.bands] for d in RUBRIC.dimensions] == [
        [0, 13, 22, 29, 33],
        [0, 7, 12, 16, 19],
        [0, 7, 12, 16, 19],
        [0, 5, 8, 11, 14],
        [0, 3, 5, 7, 9],
    ]
    assert {rule.key: rule.points for rule in RUBRIC.rules} == RULE_POINTS
    assert {region.key for region in RUBRIC.regions} == {"eyes", "mouth", "teeth", "nose"}
    assert [RUBRIC.tier(score) for score in (100, 85, 84.9, 80, 79.5, 75, 74.9, 0)] == [
        "Premium",
        "Premium",
        "High",
        "High",
        "Standard",
        "Standard",
        "Below Standard",
        "Below Standard",
    ]
    assert not RUBRIC.keeps(90) and RUBRIC.keeps(90.5)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_prompt_asks_for_everything(form):
    prompt = render_prompt(form=form)
    for dimension in RUBRIC.dimensions:
        assert f"{dimension.title} ({dimension.points} points)" in prompt
        assert all(f"{band.low}-{band.high}: {band.text}" in prompt for band in dimension.bands)
    assert all(f"{rule.points:+d}, {rule.title}: {rule.text}" in prompt for rule in RUBRIC.rules)
    assert all(region.text in prompt for region in RUBRIC.regions)
    assert all(f"final score {limit}" in prompt for limit in ("85 or more", "80 or more", "75 or more", "under 75"))
    fields = {
        "text": (
            "STEP 1",
            "X/35 (reason)",
            "STEP 2",
            "Base Score",
            "STEP 3",
            "Total Adjustment",
            "STEP 4",
            "Final Score",
            "Quality Tier",
            "Critical Issues",
            "Motion Blur Check",
        ),
        "json": tuple(answer_schema()["properties"]),
    }
    assert all(field in prompt for field in fields[form])


def test_the_schema_is_closed_and_fits_what_is_read():
    def objects(node):
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for value in node.values():
                yield from objects(value)

    for node in objects(answer_schema()):
        assert node["additionalProperties"] is False and node["required"] == list(node["properties"])
    properties = answer_schema()["properties"]
    assert properties["scores"]["properties"]["clarity"]["properties"]["score"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 35,
    }
    assert properties["total_adjustment"] == {"type": "integer", "minimum": -10, "maximum": 3}
    assert set(json.loads(ANSWERS["JSON"][0])) == set(properties)


def test_edited_criteria_have_a_version_of_their_own(tmp_path):
    write_rubric(tmp_path / "paper.json", RUBRIC)
    same = read_rubric(tmp_path / "paper.json")
    assert (
        same == RUBRIC
        and rubric_version(same) == rubric_version(RUBRIC)
        and rubric_version(same).startswith("vividface@")
    )
    edited = replace(RUBRIC, keep_above=85)
    assert rubric_version(edited) != rubric_version(RUBRIC)
    assert parse_assessment(PAPER, edited).rubric == rubric_version(edited)
    assert not list(tmp_path.glob(".*"))


TOML = """
name = "voices"
purpose = "choose clips"
keep_above = 70
notes = []

[[dimensions]]
key = "sharpness"
label = "Sharpness"
title = "Sharpness of the Face"
points = 60
bands = [{low = 0, high = 30, text = "soft"}, {low = 31, high = 60, text = "sharp"}]

[[dimensions]]
key = "gaze"
label = "Gaze"
title = "Gaze"
points = 40
bands = [{low = 0, high = 40, text = "towards the camera"}]
words = ["Blick"]

[[regions]]
key = "eyes"
title = "Eyes"
text = "open"

[[rules]]
key = "wink"
title = "A wink"
points = -4
text = "one eye closes"
words = ["zwinkern"]

[[tiers]]
name = "Good"
at_least = 70
text = "of use"

[below]
name = "Poor"
at_least = 0
text = "left out"
"""


@pytest.mark.skipif("sys.version_info < (3, 11)", reason="TOML is read by Python itself from 3.11 on")
def test_a_rubric_of_ones_own(tmp_path):
    (tmp_path / "own.toml").write_text(TOML, encoding="utf-8")
    own = read_rubric(tmp_path / "own.toml")
    assert "Gaze: X/40" in render_prompt(own) and answer_schema(own)["properties"]["final_score"]["maximum"] == 100
    read = parse_assessment(
        "Sharpness: 50/60\nBlick: 30/40\nPenalty: -4 (Zwinkern)\nFinal Score: 76\nQuality Tier: Good", own
    )
    assert (read.scores, read.final, read.tier, read.faults) == ({"sharpness": 50, "gaze": 30}, 76, "Good", ())
    with pytest.raises(InvalidAnswer, match="sharpness, gaze|no scores"):
        parse_assessment(PAPER, own)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda tree: tree.pop("tiers"), "'tiers' is missing"),
        (lambda tree: tree.update(keepabove=3), "'keepabove' is unknown"),
        (lambda tree: tree["dimensions"][0].update(points="35"), "'points' of entry 1 of 'dimensions'"),
        (lambda tree: tree["dimensions"][0].update(points=True), "should be a valid integer"),
        (lambda tree: tree["dimensions"][0].update(points=36), "end at 35, its points are 36"),
        (lambda tree: tree["dimensions"].pop(), "90 points together, not 100"),
        (lambda tree: tree["dimensions"][1]["bands"][1].update(low=8), "8-11 stands where 7 should begin"),
        (lambda tree: tree["dimensions"][1].update(key="clarity"), "'clarity' stands there twice"),
        (lambda tree: tree["dimensions"][1].update(key="A b"), "'A b' must be small letters"),
        (lambda tree: tree["rules"][0].update(points=0), "changes the score by 0"),
        (lambda tree: tree["tiers"].reverse(), "the best first"),
        (lambda tree: tree.update(tiers={}), "should be a valid array"),
        (lambda tree: tree.update(below=[]), "should be an object"),
        (lambda tree: tree.update(keep_above=100), "under 100"),
        (lambda tree: tree.update(name="a b"), "its name must be"),
    ],
)
def test_a_wrong_rubric_is_refused_with_its_fault(change, told, tmp_path):
    tree = rubric_to_json(RUBRIC)
    change(tree)
    (tmp_path / "own.json").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(InvalidOption) as refused:
        read_rubric(tmp_path / "own.json")
    assert told in str(refused.value) and "own.json" in str(refused.value)


def test_a_file_that_is_no_rubric(tmp_path):
    (tmp_path / "own.json").write_text("{", encoding="utf-8")
    for path in (tmp_path / "own.json", tmp_path / "none.json", tmp_path):
        with pytest.raises(InvalidOption):
            read_rubric(path)
    with pytest.raises(InvalidOption, match="should be an object"):
        rubric_from_json([])
    with pytest.raises(InvalidOption):
        replace(RUBRIC, tiers=(Tier("A", 50, "t"), Tier("A", 40, "t")))
    with pytest.raises(InvalidOption):
        replace(RUBRIC, dimensions=(replace(RUBRIC.dimensions[0], bands=(Band(0, 34, "t"),)), *RUBRIC.dimensions[1:]))


def test_a_damaged_record_is_refused():
    record = parse_assessment(PAPER).to_json()
    for broken in ({}, {**record, "scores": 3}, {**record, "final": None}, {**record, "adjustments": [{}]}):
        with pytest.raises(InvalidOption, match="no record"):
            Assessment.from_json(broken)
