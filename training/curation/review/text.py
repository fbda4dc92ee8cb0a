"""The words and controls of the review page; clips come into it by its script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from training.curation.review.groups import FAILED, STAGES, Row, dropped_groups
from vividface_core.metrics.report import tool_version


def head(rows: Sequence[Row], name: str, facts: Mapping[str, Any], threshold: float) -> str:
    """What was curated, how many clips were kept, and the room of the histogram. ``name`` is HTML already."""
    kept, videos = sum(row["state"] == "kept" for row in rows), len({row["video"] for row in rows})
    scored = any(row["final"] is not None for row in rows)
    noun = f"clip{'s' * (len(rows) != 1)} of {videos:,} video{'s' * (videos != 1)}"
    above = f", with a score above {threshold:g}" if scored else ""
    return (
        f'<header><div><p class="kicker">Review</p><h1>{name}</h1><p class="facts"><b>{kept:,}</b> of {len(rows):,} '
        f'{noun} are kept{above}.</p><p class="facts">{_judge(facts, scored)}</p></div>\n'
        '<div id="histogram"><div class="bins" tabindex="0" role="group" aria-label="Clips by final score; arrow keys '
        'go from bar to bar, Enter shows its clips"></div><i class="threshold"><span></span></i>'
        '<div class="axis"></div><output></output></div></header>\n'
        '<noscript><p class="notice">This page needs JavaScript.</p></noscript>'
    )  # fmt: skip


def _judge(facts: Mapping[str, Any], scored: bool) -> str:
    if not facts.get("judge"):
        return "" if scored else "No judge saw them."
    corrected = f", scores corrected by {escape(facts['calibration'])}" if facts.get("calibration") else ""
    return f"Judged by {escape(facts['judge'])}{corrected}"


def bar(rows: Sequence[Row]) -> str:
    """Which clips, in which order, and what to do."""
    kinds = (("all", "All"), ("kept", "Kept"), ("dropped", "Dropped"), ("person", "By a person"),
             ("near", "Near the threshold"))  # fmt: skip
    sorts = (("score", "best score first"), ("low", "worst score first"), ("near", "nearest the threshold first"),
             ("spread", "most disputed first"), ("key", "by name"))  # fmt: skip
    chips = "".join(f'<button type="button" data-kind="{kind}">{title} <b></b></button>' for kind, title in kinds)
    options = "".join(f'<option value="{value}">{title}</option>' for value, title in sorts)
    return (
        f'<div class="bar"><div class="chips" role="group" aria-label="Which clips">{chips}</div>'
        '<span class="picks"><select id="cause" aria-label="Dropped for"><option value="">dropped for whatever</option>'
        f'{_causes(rows)}</select><select id="sort" aria-label="Order">{options}</select></span>'
        '<input id="search" type="search" placeholder="Search" title="names, causes, reasons, notes" '
        'aria-label="Search"><span class="acts"><button type="button" id="undo" title="u">Undo</button>'
        '<button type="button" id="keys" title="?">Keys</button>'
        '<button type="button" id="save" title="Ctrl s">Save overrules</button></span></div>'
    )  # fmt: skip


def _causes(rows: Sequence[Row]) -> str:
    parts: dict[str, str] = {}
    for (stage, kind), own in dropped_groups(rows).items():
        option = f'<option value="{escape(group_value(stage, kind))}">{escape(kind)} ({len(own):,})</option>'
        parts[stage] = parts.get(stage, "") + option
    order = [*STAGES.values(), FAILED]
    stages = sorted(parts, key=lambda stage: order.index(stage) if stage in order else len(order))
    return "".join(f'<optgroup label="{escape(stage)}">{parts[stage]}</optgroup>' for stage in stages)


def group_value(stage: str, kind: str) -> str:
    """A group of dropped clips as the page's script knows it."""
    return f"{stage}: {kind}"


BODY = """<p class="notice" id="notice" role="status" hidden><span id="how"></span> Put it as
<code>overrules.json</code> beside this page and run the command at the end of the page; no clip is judged again.</p>
<p class="notice" id="forgets" hidden>This browser doesn’t let the page remember anything: save before you close it.</p>
<p class="facts found"><span id="shown"></span> <button type="button" id="clear" hidden>Show all</button></p>
<div class="work"><div id="grid" role="listbox" tabindex="0" aria-label="Clips"></div>
<p id="none" hidden>No clip is like that.</p>
<aside id="side" class="empty" aria-label="The chosen clip">
<button type="button" id="close">Back to the clips</button>
<div class="stage"></div>
<div class="stills" role="group" aria-label="Frame"><button type="button" data-still="0">First</button>
<button type="button" data-still="1">Middle</button><button type="button" data-still="2">Last</button>
<button type="button" id="play" title="Space">Play</button></div>
<div class="verdict" aria-live="polite"></div>
<form><div class="verdicts" role="group" aria-label="Your decision">
<button type="button" data-verdict="keep">Keep <kbd>k</kbd></button>
<button type="button" data-verdict="drop">Drop <kbd>d</kbd></button>
<button type="button" data-verdict="">No overrule</button></div>
<div class="words"><label><span>Score <kbd>s</kbd></span>
<input name="score" inputmode="decimal" autocomplete="off" placeholder="0–100"></label>
<label><span>Note <kbd>n</kbd></span><textarea name="note" rows="1" maxlength="4000"></textarea></label></div>
<p class="wrong" role="alert" hidden>A score is a number from 0 to 100.</p></form>
<div class="about"></div></aside></div>
<p id="said" class="hidden" aria-live="polite"></p>"""
_KEYS = (
    ("← → ↑ ↓", "another clip"), ("k", "keep it"), ("d", "drop it"), ("Shift k, Shift d", "the same, then the next"),
    ("u, y", "undo, do again"), ("s, n", "your score, a note; Esc leaves"), ("Space", "play"), ("/", "search"),
    ("Ctrl s", "save"),
)  # fmt: skip
HELP = (
    '<dialog id="help"><form method="dialog"><h2>Keys</h2><dl>'
    + "".join(f"<dt><kbd>{keys}</kbd></dt><dd>{does}</dd>" for keys, does in _KEYS)
    + '</dl><button type="submit">Close</button></form></dialog>'
)


def foot(facts: Mapping[str, Any], name: str) -> str:
    """What becomes of a person's decisions. ``name`` is HTML already."""
    command = escape(facts.get("command") or "vividface curate DIR -o OUT")
    return (
        '<section class="after"><h2>What to do with your decisions</h2><p>Save them as <code>overrules.json</code> '
        "into the data set’s folder, beside this page, and run the same command again. It reads them, judges no clip "
        f"twice, and writes the manifest, the clips and this page anew:</p><pre><code>{command}</code></pre>"
        "<p>Scores that you gave decide nothing by themselves. Out of five or more, a correction of the judge is "
        "fitted, which <code>--calibration</code> takes:</p><pre><code>"
        f"vividface calibrate {name} -o {name}/calibration.json</code></pre></section>\n"
        f"<footer>Made with vividface {escape(tool_version())}. Decisions are kept in this browser until you save "
        "them; nothing leaves this machine.</footer>"
    )  # fmt: skip
