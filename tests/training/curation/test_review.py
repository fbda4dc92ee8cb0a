"""The review of a curation: previews, contact sheet, page, and a person's overrules."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests import measured
from tests.curated import FRAMES, SPOILS, THRESHOLD, data_set
from tests.measured import pixels
from training.curation import human_labels
from training.curation.human_labels import HumanLabel
from training.curation.review import clips as review_clips
from training.curation.review import contact_sheet
from training.curation.review.contact_sheet import CELLS, parts_of, save_contact_sheet
from training.curation.review.groups import cause_kind, dropped_groups
from training.curation.review.page import write_review
from training.curation.review.previews import SIZE, STILL, STILLS, TILE, TILES, find_preview, preview_path, save_preview
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.mllm.calibration import read_human_scores
from vividface_core.mllm.rubric import RUBRIC


class Page(measured.Page):
    """Knows two more elements without an end."""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in ("link", "input"):
            self.elements.append((tag, dict(attrs)))
        else:
            super().handle_starttag(tag, attrs)


HOSTILE = "</script><img src=x onerror=alert(1)>\"'<!--&amp;\u2028%2e#?\\"


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Videos, data set and rows of three faces."""
    return data_set(tmp_path_factory.mktemp("curated"), 3)


@pytest.fixture
def rows(curated):
    return copy.deepcopy(curated[2])


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


# Previews.


def test_a_preview_shows_frames_evenly_from_the_first_to_the_last(tmp_path):
    frames = torch.linspace(0, 1, 57)[:, None, None, None].expand(57, 3, 64, 64)
    picture = np.asarray(Image.open(save_preview(tmp_path, "k", frames)))
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert [path.name for path in (tmp_path / "previews").iterdir()] == ["k.jpg"]
    for count, side, top in ((TILES, TILE, 0), (STILLS, STILL, TILE)):
        shown = [picture[top + 8 : top + side - 8, i * side + 8 : (i + 1) * side - 8].mean() for i in range(count)]
        assert shown == pytest.approx(np.linspace(0, 255, count), abs=3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_short_clip_shows_its_frames_more_than_once(tmp_path, count):
    frames = torch.linspace(0.2, 0.8, count)[:, None, None, None].expand(count, 3, 16, 16)
    picture = np.asarray(Image.open(save_preview(tmp_path, "k", frames)))
    first, last = picture[10, 10].mean(), picture[10, (TILES - 1) * TILE + 10].mean()
    assert (first, last) == pytest.approx((51, 204 if count > 1 else 51), abs=3)


def test_a_lost_preview_is_made_again_from_the_clip_or_the_source(curated, rows, tmp_path):
    videos, out, _ = curated
    row = next(row for row in rows if row["clip"] and "-clean-" in row["key"])
    kept = np.asarray(Image.open(preview_path(out / "work", row["key"])))
    x, y, side = row["crop"]
    width, height = {"single_face": (640, 360), "wolfgang": (640, 360)}[row["video"].split("/")[0]]
    frame = pixels(videos / row["video"], width, height)[FRAMES // 2]
    face = Image.fromarray(frame[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2]).resize((STILL, STILL))
    assert psnr(kept[TILE:, STILL : 2 * STILL], np.asarray(face)) > 28, "the middle frame, as ffmpeg and Pillow see it"
    again = np.asarray(Image.open(find_preview({**row, "clip": None}, tmp_path, videos)))
    assert psnr(kept, again) > 25
    assert find_preview({**row, "key": "other", "clip": None}, tmp_path, None) is None
    assert find_preview({**row, "key": "other", "clip": None, "video": "gone.mp4"}, tmp_path, videos) is None


# The contact sheet.


def test_the_sheet_shows_kept_clips_first_and_the_best_of_them_first(curated, rows, tmp_path):
    videos, out, _ = curated
    save_contact_sheet(rows, out, tmp_path / "sheet.jpg", videos)
    picture = np.asarray(Image.open(tmp_path / "sheet.jpg"))
    parts = parts_of(rows)
    kept = sorted((row for row in rows if row["state"] == "kept"), key=lambda row: -row["final"])
    assert [part.count for part in parts] == [len(kept), *map(len, dropped_groups(rows).values())]
    assert parts[0].title == "Kept" and parts[0].rows[0]["final"] == kept[0]["final"] and len(kept) > 2
    assert picture.shape[1] == contact_sheet.WIDTH
    top, column = contact_sheet.EDGE + 84 + contact_sheet.HEAD, contact_sheet.CELL + contact_sheet.GAP
    for place, row in enumerate(parts[0].rows[: contact_sheet.COLUMNS]):
        shown = np.asarray(
            Image.open(preview_path(out / "work", row["key"]))
            .crop((2 * STILL, TILE, 3 * STILL, TILE + STILL))
            .resize((contact_sheet.FRAME, contact_sheet.FRAME))
        )
        left = contact_sheet.EDGE + place * column + 2 * (contact_sheet.FRAME + contact_sheet.SLIT)
        assert psnr(picture[top : top + contact_sheet.FRAME, left : left + contact_sheet.FRAME], shown) > 24, (
            "its last frame"
        )
    before = (tmp_path / "sheet.jpg").read_bytes()
    save_contact_sheet(rows, out, tmp_path / "sheet.jpg", videos)
    assert (tmp_path / "sheet.jpg").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.jpg"]


def test_the_sheet_counts_clips_and_not_pieces_without_one(rows, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, at, text, *rest, **options: written.append(text))
    piece = next({**row, "key": "piece", "first": None, "clip": None} for row in rows if row["state"] == "dropped")
    save_contact_sheet([*rows, piece], tmp_path, tmp_path / "sheet.jpg")
    kept = sum(row["state"] == "kept" for row in rows)
    assert f"{kept} of {len(rows)} clips kept" in written


def many(rows, count):
    """As many rows of about the same kinds, scores spread evenly."""
    made = []
    for number in range(count):
        row = {**rows[number % len(rows)], "key": f"clip-{number:05d}", "clip": None}
        made.append({**row, "final": number % 100 if row["final"] is not None else None})
    return made


def test_the_sheet_stays_bounded_and_says_what_it_leaves_out(rows, tmp_path):
    crowd = many(rows, 3000)
    for number, row in enumerate(crowd[::7]):
        row.update(state="dropped", stage="technical", causes=[f"fault {chr(97 + number % 20)}: too much"])
    parts = parts_of(crowd)
    shown = sum(len(part.rows) for part in parts)
    assert shown <= CELLS and sum(part.count for part in parts) == 3000 and len(parts) <= contact_sheet.GROUPS + 1
    assert all(part.rows for part in parts) and len(parts[0].rows) >= CELLS // 2
    scores = [row["final"] for row in parts[0].rows]
    kept = [row["final"] for row in crowd if row["state"] == "kept"]
    assert (scores[0], scores[-1]) == (max(kept), min(kept)) and scores == sorted(scores, reverse=True)
    assert parts[0].told == f"{CELLS // 2} of {len(kept):,} clips shown, evenly from the best to the worst"
    save_contact_sheet(crowd, tmp_path, tmp_path / "sheet.jpg")
    small, large = parts_of(many(rows, 200)), parts
    assert sum(part.height for part in large) < 1.5 * sum(part.height for part in small)
    assert Image.open(tmp_path / "sheet.jpg").height < 9000


@pytest.mark.parametrize(
    "change",
    [
        {"key": HOSTILE, "causes": [HOSTILE]},
        {"key": "长" * 300, "tier": None},
        {"key": "", "causes": ["\n\t\x00"]},
    ],
)
def test_the_sheet_takes_any_text_and_rows_without_a_clip(rows, tmp_path, change):
    failed = {
        **dict.fromkeys(rows[0]),
        "key": "v",
        "video": "v.mp4",
        "state": "failed",
        "stage": "cut",
        "causes": ["v.mp4 can't be read"],
    }
    save_contact_sheet([{**rows[0], **change}, failed], tmp_path, tmp_path / "sheet.jpg")
    save_contact_sheet([], tmp_path, tmp_path / "empty.jpg")
    with pytest.raises(UnwritableVideo):
        save_contact_sheet(rows, tmp_path, tmp_path / "none" / "sheet.jpg")


@pytest.mark.parametrize(
    "cause, kind",
    [
        ("face of 63 pixels, under 96", "face of … pixels, under …"),
        ("blurred: sharpness 0.031 is under 0.08", "blurred"),
        ("score 89.5 is not above 90", "score … is not above …"),
        ("only 43 of 81 frames with this face", "only … of … frames with this face"),
        ("turned by −35.5 degrees (30 %)", "turned by … degrees (…)"),
        ("no face", "no face"),
        ("", "no cause"),
    ],
)
def test_causes_are_grouped_without_their_figures(cause, kind):
    assert cause_kind(cause) == kind


# The page.


def written(rows, out, facts=None) -> str:
    write_review(rows, out, out / "review.html", facts or {})
    return (out / "review.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_every_clip_with_scores_reasons_and_figures(curated, rows):
    videos, out, _ = curated
    text = written(
        rows,
        out,
        {
            "name": "heads",
            "source": videos,
            "threshold": THRESHOLD,
            "judge": "J & K",
            "calibration": "c.json",
            "command": "vividface curate a -o b",
        },
    )
    page, data = Page(text), data_of(text)
    assert not page.open and not [a for tag, a in page.elements if "src" in a or tag in ("iframe", "object")]
    assert "J & K" in page.text and "scores corrected by c.json" in page.text and "vividface curate a -o b" in page.text
    assert f"{sum(r['state'] == 'kept' for r in rows)} of {len(rows)} clips of {len(rows)} videos" in page.text
    assert (data["name"], data["threshold"]) == ("heads", THRESHOLD)
    assert [(one["key"], one["points"]) for one in data["dimensions"]] == [(d.key, d.points) for d in RUBRIC.dimensions]
    for clip, row in zip(data["clips"], rows, strict=True):
        assert (clip["key"], clip["video"], clip["final"], clip["causes"]) == (
            row["key"],
            row["video"],
            row["final"],
            row["causes"],
        )
        data_uri = base64.b64decode(clip["preview"].removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data_uri)).size == SIZE
        assert clip["file"] == (f"./{row['clip']}" if row["clip"] else None)
        assert (out / clip["origin"].split("#")[0]).resolve() == (videos / row["video"]).resolve()
        assert clip["origin"].endswith(f"#t=0.000,{FRAMES / 24:.3f}")
        if row["judgement"]:
            found = row["judgement"]["assessment"]
            assert (clip["scores"], clip["reasons"]) == (found["scores"], found["reasons"])
            assert clip["spread"] == row["judgement"]["spread"]["final"]["std"] and clip["figures"]
            assert [one["points"] for one in clip["adjustments"]] == [a["points"] for a in found["adjustments"]]
    assert {row["key"] for row in rows if row["duplicate_of"]} == {c["key"] for c in data["clips"] if c["duplicate"]}


def test_the_page_lets_nothing_run_or_load_that_is_not_its_own(curated, rows):
    text = written(rows, curated[1])
    policy = next(a["content"] for tag, a in Page(text).elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"] and rules["img-src"] == ["'self'", "data:", "file:"]
    for kind, pattern in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        blocks = re.findall(pattern, text, re.S)
        digest = base64.b64encode(hashlib.sha256(blocks[0].encode()).digest()).decode()
        assert len(blocks) == 1 and rules[f"{kind}-src"] == [f"'sha256-{digest}'"]
    assert not re.search(r"https?://|@import|url\((?!data:)", text.replace("http-equiv", ""))
    assert "innerHTML" not in text and not [a for _, a in Page(text).elements if any(key.startswith("on") for key in a)]


def test_names_and_answers_never_become_markup(curated, rows):
    _, out, _ = curated
    plain = Page(written(rows, out)).elements
    judged = next(row for row in rows if row["judgement"] and row["state"] == "dropped")
    found = judged["judgement"]["assessment"]
    found.update(
        reasons=dict.fromkeys(found["reasons"], HOSTILE),
        critical_issues=[HOSTILE],
        motion_blur=HOSTILE,
        faults=[HOSTILE],
        adjustments=[{"rule": HOSTILE, "points": 1, "reason": HOSTILE}],
    )
    judged.update(video=HOSTILE, causes=[HOSTILE], tier=HOSTILE, figures={HOSTILE: HOSTILE})
    human_labels.write(out / "overrules.json", {HOSTILE: HumanLabel(note=HOSTILE)})
    try:
        text = written(rows, out, {"name": HOSTILE, "judge": HOSTILE, "calibration": HOSTILE, "command": HOSTILE})
    finally:
        (out / "overrules.json").unlink()
    page, data = Page(text), data_of(text)
    assert [tag for tag, _ in page.elements if tag != "option"] == [tag for tag, _ in plain if tag != "option"]
    assert not page.all("img") and all(set(a) <= {"value"} for a in page.all("option") if "selected" not in a)
    clip = next(clip for clip in data["clips"] if clip["key"] == judged["key"])
    assert set(clip["reasons"].values()) == {HOSTILE} and clip["video"] == clip["causes"][0] == HOSTILE
    assert data["overrules"][HOSTILE]["note"] == HOSTILE and data["name"] == HOSTILE
    assert HOSTILE in page.words, "shown as it is"


def test_addresses_have_no_scheme_and_no_stray_signs(rows, tmp_path):
    row = {**rows[0], "key": "javascript:alert(1)//", "clip": "clips/a b#c?d%e\"'<é>.mp4"}
    clip = data_of(written([row], tmp_path, {"source": tmp_path / "v"}))["clips"][0]
    assert clip["file"] == "./clips/a%20b%23c%3Fd%25e%22%27%3C%C3%A9%3E.mp4"
    assert clip["preview"] is None and clip["origin"].startswith("./v/")


def test_long_reasons_are_cut_and_odd_figures_shown(rows, tmp_path):
    row = next(row for row in rows if row["judgement"])
    row["judgement"]["assessment"]["reasons"]["clarity"] = "x" * 10_000
    row["figures"] = {
        "pose": {"yaw": 3.14159},
        "a_list": [1, 2.5, None, 4, 5],
        "none": None,
        "flag": True,
        "nan": math.nan,
    }
    clip = data_of(written([{**row, "clip": None}], tmp_path))["clips"][0]
    assert len(clip["reasons"]["clarity"]) == review_clips.LONGEST
    assert clip["figures"] == [
        ["pose yaw", "3.142"],
        ["a list", "1, 2.5, –, 4…"],
        ["none", "–"],
        ["flag", "yes"],
        ["nan", "–"],
    ]


def test_rows_without_a_clip_or_a_judge_are_shown(rows, tmp_path):
    failed = {
        **dict.fromkeys(rows[0]),
        "key": "v",
        "video": "v.mp4",
        "state": "failed",
        "stage": "cut",
        "causes": ["v.mp4 can't be read"],
    }
    dry = {
        **rows[0],
        "state": "kept",
        "stage": "technical",
        "judge": None,
        "judgement": None,
        "final": None,
        "tier": None,
        "clip": None,
    }
    text = written([failed, dry], tmp_path)
    clips = data_of(text)["clips"]
    assert "No judge saw them." in Page(text).text and not clips[0]["whole"] and clips[1]["whole"]
    assert clips[0]["scores"] is None and clips[0]["where"] == "" and data_of(written([], tmp_path))["clips"] == []


def test_many_previews_lie_beside_the_page(curated, rows, monkeypatch):
    _, out, _ = curated
    inside = len(written(rows, out))
    assert not (out / "previews").exists()
    monkeypatch.setattr(review_clips, "ROOM", 100_000)
    text = written(rows, out)
    for clip in data_of(text)["clips"]:
        assert clip["preview"].startswith("./previews/") and Image.open(out / clip["preview"]).size == SIZE
    assert len(text) < inside / 4 and not list((out / "previews").glob(".*"))


# Overrules.


def test_overrules_come_back_as_they_were_written(tmp_path):
    mine = {"b": HumanLabel("keep"), "a": HumanLabel(None, 87.5, "too soft"), "ü/'\"": HumanLabel("drop", 0, "x\ny")}
    human_labels.write(tmp_path / "overrules.json", mine)
    assert human_labels.read(tmp_path / "overrules.json") == mine
    stored = json.loads((tmp_path / "overrules.json").read_text(encoding="utf-8"))
    assert list(stored["overrules"]) == ["a", "b", "ü/'\""]
    assert human_labels.read(tmp_path / "none.json") == {}
    with pytest.raises(UnwritableVideo):
        human_labels.write(tmp_path / "none" / "o.json", mine)


HEAD = '{"format": "vividface-overrules", "version": 1, "overrules": '


@pytest.mark.parametrize(
    "text, told",
    [
        ("{", "can't be read"),
        ("[]", "no overrules"),
        ('{"format": "vividface-overrules", "version": 2}', "no overrules"),
        (HEAD + "[]}", "by the keys"),
        (HEAD + '{"a": "keep"}}', "clip a"),
        (HEAD + '{"a": {}}}', "says nothing"),
        (HEAD + '{"a": {"verdict": "Keep"}}}', "must be keep, drop or null"),
        (HEAD + '{"a": {"score": 101}}}', "0 to 100"),
        (HEAD + '{"a": {"score": true}}}', "0 to 100"),
        (HEAD + '{"a": {"score": "90"}}}', "0 to 100"),
        (HEAD + '{"a": {"score": NaN}}}', "0 to 100"),
        (HEAD + '{"a": {"note": 3}}}', "must be text"),
        (HEAD + '{"a": {"verdict": "keep", "by": "me"}}}', "nothing else"),
        (HEAD + '{"a": {"verdict": "keep"}, "a": {"verdict": "drop"}}}', "twice"),
    ],
)
def test_bad_overrules_are_refused_by_name(tmp_path, text, told):
    (tmp_path / "overrules.json").write_text(text)
    with pytest.raises(InvalidOption) as refused:
        human_labels.read(tmp_path / "overrules.json")
    assert told in str(refused.value) and "overrules.json" in str(refused.value)


def test_human_scores_are_a_table_that_calibrations_read(rows, tmp_path):
    judged = [row for row in rows if row["judgement"]]
    mine = {row["key"]: HumanLabel(score=50.5 + place) for place, row in enumerate(judged)}
    mine |= {'x,"y': HumanLabel("keep", 3)}
    scores = human_labels.human_scores(mine | {"z": HumanLabel("drop")}, rows)
    (tmp_path / "human.csv").write_text(human_labels.human_csv(scores), encoding="utf-8")
    assert read_human_scores(tmp_path / "human.csv") == scores
    assert {score.video: score.judge for score in scores} == {
        'x,"y': None,
        **{row["key"]: row["judgement"]["assessment"]["final"] for row in judged},
    }


def test_every_kind_of_spoil_is_there(rows):
    """What the tests above rest on."""
    assert {row["stage"] for row in rows} == {"judge", "technical", "duplicate"} and len(SPOILS) == 4
    assert {row["state"] for row in rows} == {"kept", "dropped"}
