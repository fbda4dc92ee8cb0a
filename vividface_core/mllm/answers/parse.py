"""From a judge's answer to an assessment: found, checked, computed anew.

The scores decide: a dimension without one is never guessed. Rules of the rubric count with the rubric's points, each
once; whatever else an answer adds or takes off doesn't count. What the model computed itself is only compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vividface_core.errors import InvalidAnswer
from vividface_core.mllm.answers.json_answer import read_json
from vividface_core.mllm.answers.reading import RULE_WORDS, Item, Reading, without_thoughts
from vividface_core.mllm.answers.text_answer import read_text
from vividface_core.mllm.assessment import Adjustment, Assessment
from vividface_core.mllm.paper_rubric import RUBRIC
from vividface_core.mllm.prompt import rubric_version
from vividface_core.mllm.rubric_schema import TOTAL, Rubric, Rule

_ROUNDING = 0.051
"""Sums that differ by less were only rounded."""


def parse_assessment(text: str, rubric: Rubric = RUBRIC) -> Assessment:
    """What an answer to :func:`~vividface_core.mllm.prompt.render_prompt` says.

    Reads JSON, also amid text, and the paper's four steps in lines. Thoughts before the answer are left out. Of several
    answers in one text the last complete one counts.

    Raises:
        InvalidAnswer: it isn't an answer, or a dimension has no score on the rubric's scale.
    """
    answer = without_thoughts(text)
    readings, rest = read_json(answer, rubric)
    readings = sorted([*readings, *read_text(rest, rubric)], key=lambda reading: reading.start)
    complete = [reading for reading in readings if reading.complete(rubric)]
    if not complete:
        raise InvalidAnswer(_refusal(answer, readings, rubric), raw=text)
    chosen, differing = complete[-1], 0
    for other in reversed(complete[:-1]):
        if other.scores == chosen.scores:
            chosen = chosen.filled(other)
        else:
            differing += 1
    faults = ["The answer holds sets of scores that differ; the last complete one counts."] if differing else []
    later = [key for reading in readings if reading.start > chosen.start for key in reading.scores]
    if later and not any(reading.start > chosen.start for reading in complete):
        faults.append(f"Later scores of {', '.join(dict.fromkeys(later))} are no whole answer and don't count.")
    return _settled(chosen, faults, rubric, text)


def _refusal(answer: str, readings: list[Reading], rubric: Rubric) -> str:
    best = max(readings, key=lambda reading: len(reading.scores))
    if not answer.strip():
        return "The judge gave no answer besides its thoughts, or none at all. Allow it more tokens, or ask again."
    if not best.scores and not best.others:
        start = " ".join(answer.split())
        start = start if len(start) <= 100 else start[:97] + "..."
        return f"The judge's answer has no scores. It begins: {start!r}. Ask again, or choose another judge."
    lacking = [dimension for dimension in rubric.dimensions if dimension.key not in best.scores]
    other = "".join(
        f"; it gives {dimension.key} as {best.others[dimension.key]!r}, not out of {dimension.points}"
        for dimension in lacking
        if dimension.key in best.others
    )
    named = ", ".join(dimension.key for dimension in lacking)
    return f"The judge's answer has no score for {named}{other}. Ask again; allow more tokens if it was cut."


def _settled(reading: Reading, faults: list[str], rubric: Rubric, raw: str) -> Assessment:
    scores = {}
    for dimension in rubric.dimensions:
        given = reading.scores[dimension.key]
        scores[dimension.key] = score = min(max(given, 0.0), float(dimension.points))
        if score != given:
            faults.append(f"The score of {dimension.key} is {given:g}; {score:g} counts, the end of its range.")
    base = round(sum(scores.values()), 6)
    if reading.addends and any(abs(a - b) > _ROUNDING for a, b in zip(reading.addends, reading.scores.values())):
        if sorted(reading.addends) != sorted(reading.scores.values()):
            faults.append(
                f"The base score is added up from {_listed(reading.addends)}, "
                f"the scores are {_listed(reading.scores.values())}."
            )
    if _differs(reading.base, base):
        faults.append(f"The base score is given as {reading.base:g}; the scores make {base:g}.")
    adjustments = _adjustments(reading, faults, rubric)
    change = sum(adjustment.points for adjustment in adjustments)
    final = min(max(round(base + change, 6), 0.0), float(TOTAL))
    if final != round(base + change, 6):
        faults.append(f"Base score and adjustments make {base + change:g}; {final:g} counts, the end of the range.")
    if _differs(reading.final, final) and _differs(reading.final, base + change):
        faults.append(f"The final score is given as {reading.final:g}; it is {final:g}.")
    if reading.final is None and reading.total is None:
        faults.append("The answer has neither a total of adjustments nor a final score; it may have been cut.")
    tier = rubric.tier(final)
    if (told := _tier(reading.tier, rubric)) not in (None, tier):
        faults.append(f"The tier is given as {told}; {final:g} is {tier}.")
    return Assessment(
        scores=scores,
        reasons={key: reading.reasons.get(key, "") for key in scores},
        adjustments=tuple(adjustments),
        base=base,
        final=final,
        tier=tier,
        critical_issues=reading.issues or (),
        motion_blur=reading.blur or "",
        faults=tuple(faults),
        rubric=rubric_version(rubric),
        raw=raw,
    )


def _listed(values: Iterable[float]) -> str:
    return " + ".join(f"{value:g}" for value in values)


def _differs(told: float | None, right: float) -> bool:
    return told is not None and abs(told - right) > _ROUNDING


def _adjustments(reading: Reading, faults: list[str], rubric: Rubric) -> list[Adjustment]:
    """Rules that apply, each once, with the rubric's points; or the total if nothing is listed."""
    if not reading.items and reading.total:
        low, high = (sum(rule.points for rule in rubric.rules if (rule.points > 0) == up) for up in (False, True))
        points = float(min(max(reading.total, low), high))
        faults.append(f"The adjustments are given as {reading.total:+g} together, without the rules they follow from.")
        if points != reading.total:
            faults.append(f"Adjustments of {reading.total:+g} are more than the rules allow; {points:+g} counts.")
        return [Adjustment("", points)] if points else []
    found: dict[str, Adjustment] = {}
    for item in reading.items or ():
        rule = _rule(item, rubric)
        if rule is None:
            if item.signed:
                faults.append(f"An adjustment of {item.points:+g} follows no rule and doesn't count: {item.text!r}.")
        elif rule.key in found:
            faults.append(f"The rule {rule.key} is applied more than once; it counts once.")
        else:
            found[rule.key] = Adjustment(rule.key, float(rule.points), item.text)
            if abs(item.points) != abs(rule.points):
                faults.append(f"The rule {rule.key} is applied with {item.points:+g}; {rule.points:+d} counts.")
    total = sum(adjustment.points for adjustment in found.values())
    if _differs(reading.total, total):
        faults.append(f"The adjustments are given as {reading.total:+g} together; those that count make {total:+g}.")
    return list(found.values())


def _rule(item: Item, rubric: Rubric) -> Rule | None:
    """Which rule is meant: by its words, then by its points."""
    meant: list[tuple[bool, int, Rule]] = []
    for rule in rubric.rules:
        if item.signed and item.points * rule.points < 0:
            continue
        length = max((len(word) for word in _words(rule) if _said(word, item.text)), default=0)
        if length:
            meant.append((abs(item.points) == abs(rule.points), length, rule))
    if meant:
        return max(meant, key=lambda row: row[:2])[2]
    # A number and no word of a reason: the points tell, if only one rule has them.
    rest = re.sub(r"bonus\w*|penalt\w*|points?|total|adjustment", " ", item.text, flags=re.I)
    alike = [rule for rule in rubric.rules if item.signed and rule.points == item.points]
    return alike[0] if len(alike) == 1 and not re.search(r"[^\W\d_]", rest) else None


def _words(rule: Rule) -> list[str]:
    return [rule.title, rule.key.replace("_", " "), *rule.words, *RULE_WORDS.get(rule.key, ())]


def _said(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<![^\W_]){re.escape(word)}", text, re.I))


def _tier(told: str | None, rubric: Rubric) -> str | None:
    """The one tier that a plain text names."""
    if told is None:
        return None
    found = []
    for name in sorted((tier.name for tier in (*rubric.tiers, rubric.below)), key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        if re.search(pattern, told, re.I):
            found.append(name)
            told = re.sub(pattern, " ", told, flags=re.I)
    return found[0] if len(found) == 1 else None
