"""The parts of a curation: records, contents, the output's folder, clip files, decisions, tables."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.command import in_a_process, one_sentence
from training.curation import decisions, record_store
from training.curation.clips import write_clip
from training.curation.dataset import DataSet, videos_below
from training.curation.decisions import Findings, Policy, Video, rows_of
from training.curation.duplicates import clip_hash
from training.curation.human_labels import HumanLabel
from training.curation.record_store import RecordStore
from training.curation.thresholds import Thresholds
from training.data.manifest import kept_clips, read_manifest, write_manifest, write_parquet
from vividface_core.cli.main import main
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.faces.crop import crop_clip
from vividface_core.mllm.calibration import HumanScore, fit_calibration
from vividface_core.mllm.rubric import RUBRIC, rubric_version
from vividface_core.video.reader import VideoReader, probe, read_frames


def test_a_record_is_whole_whoever_writes_it(tmp_path):
    program = (
        "import sys\nfrom training.curation.record_store import RecordStore\nfor number in range(60):\n"
        "    record = {'writer': sys.argv[2], 'text': 'x' * 5000, 'number': number}\n"
        "    RecordStore(sys.argv[1]).put('stage', 'same', record)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, tmp_path, str(n)]) for n in range(2)]
    seen, store = set(), RecordStore(tmp_path)
    while any(writer.poll() is None for writer in writers):
        record = store.get("stage", "same")
        assert record is None or len(record["text"]) == 5000
        seen.add(record and record["writer"])
    assert store.get("stage", "same")["number"] == 59 and len(seen - {None}) >= 1
    assert not any(writer.returncode for writer in writers)
    assert [file.name for file in (tmp_path / "stage").iterdir()] == ["same.json"], "nothing half-done is left"


@pytest.mark.parametrize(
    "damage", [b"", b'{"a": 1', b"[1]", b"\xff\xfe", bytes(100)], ids=["empty", "cut", "list", "binary", "zeros"]
)
def test_a_damaged_record_counts_as_none(damage, tmp_path):
    store = RecordStore(tmp_path)
    store.put("stage", "key", {"a": 1})
    assert store.get("stage", "key") == {"a": 1} and store.get("other", "key") is None
    (tmp_path / "stage" / "key.json").write_bytes(damage)
    assert store.get("stage", "key") is None
    store.put("stage", "key", {"a": 2})
    assert store.get("stage", "key") == {"a": 2}
    store.clear("stage")
    store.clear("stage")
    assert store.get("stage", "key") is None


def test_contents_are_read_again_only_where_something_changed(tmp_path, monkeypatch):
    store, videos = RecordStore(tmp_path / "work"), tmp_path / "videos"
    videos.mkdir()
    file = videos / "a.mp4"
    file.write_bytes(b"one")
    os.utime(file, (time.time() - 100,) * 2)
    first = record_store.content_at(store, videos, "a.mp4")
    assert record_store.known_content(store, videos, "a.mp4") is None, "written a moment ago: it may change unseen"
    monkeypatch.setattr(record_store, "YOUNG", -1.0)
    assert (
        record_store.content_at(store, videos, "a.mp4") == first == record_store.known_content(store, videos, "a.mp4")
    )
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert record_store.known_content(store, videos, "a.mp4") is None, "same size and same time, yet another file"
    assert record_store.content_at(store, videos, "a.mp4") != first


def test_videos_are_found_in_all_folders(tmp_path):
    for name in ("b/c/ü.MP4", "a.mkv", "b/z.mov", ".hidden/x.mp4", "b/.y.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert videos_below(tmp_path) == ["a.mkv", "b/c/ü.MP4", "b/z.mov"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidOption, match="no video"):
        videos_below(tmp_path / "empty")


@pytest.mark.parametrize("place", [".", "videos", "videos/sub/out", "full", "file", "beside/.."])
def test_an_output_that_would_hurt_is_refused(place, tmp_path):
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    (tmp_path / "videos" / "a.mp4").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("years")
    (tmp_path / "file").touch()
    (tmp_path / "beside").mkdir()
    with pytest.raises((InvalidOption, UnwritableVideo)):
        DataSet(tmp_path / place).check(tmp_path / "videos")
    assert (tmp_path / "full" / "thesis.doc").read_text() == "years"


def test_a_folder_of_its_own_is_taken_again_and_by_one_run_at_a_time(tmp_path):
    (tmp_path / "videos").mkdir()
    data = DataSet(tmp_path / "out" / "set")
    data.check(tmp_path / "videos")
    with data.opened({"videos": "v"}):
        DataSet(data.out).check(tmp_path / "videos")
        with pytest.raises(UnwritableVideo, match="Another run"), DataSet(data.out).opened({}):
            pass
    assert data.read_settings()["videos"] == "v"
    with data.opened({}):
        pass


def test_published_clips_are_those_that_are_kept_and_foreign_files_stay(tmp_path):
    data = DataSet(tmp_path)
    (data.work / "candidates").mkdir(parents=True)
    for key in "abc":
        (data.work / "candidates" / f"{key}.mp4").write_text(key)
    data.publish(["a", "b"], ["c"])
    (data.clips / "mine.mp4").write_text("mine")
    data.publish(["a", "b"], ["c"])
    data.publish(["c"], ["a", "b"])
    assert {file.name: file.read_text() for file in data.clips.iterdir()} == {"c.mp4": "c", "mine.mp4": "mine"}


def test_a_clip_file_is_near_lossless_and_keeps_times_and_colours(tmp_path):
    source = tmp_path / "source.mkv"
    run_ffmpeg(
        "-i",
        clip("wolfgang"),
        "-frames:v",
        12,
        "-vf",
        "select='not(eq(n,5))'",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-crf",
        12,
        "-an",
        source,
    )
    frames = read_frames(source, 20)
    crops = torch.stack([crop_clip(frame.rgb(), (320, 160, 240), 256) for frame in frames])
    times, info = [frame.pts for frame in frames], probe(source)
    for name in ("one", "two"):
        write_clip(tmp_path / f"{name}.mp4", crops, times, info)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    with VideoReader(tmp_path / "one.mp4") as reader:
        assert reader.info.pix_fmt == "yuv444p10le" and abs(reader.info.fps - info.fps) / info.fps < 0.1
        back = list(reader)
    seconds = [float(frame.pts * reader.info.time_base) for frame in back]
    wanted = [float((pts - times[0]) * info.time_base) for pts in times]
    np.testing.assert_allclose(seconds, wanted, atol=1e-3)
    error = torch.stack([frame.rgb() for frame in back]) - crops
    assert -10 * math.log10(error.square().mean()) > 48
    raw = tmp_path / "raw.rgb"
    run_ffmpeg("-i", tmp_path / "one.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", raw)
    seen = torch.from_numpy(np.fromfile(raw, np.uint8).reshape(-1, 256, 256, 3)).permute(0, 3, 1, 2) / 255
    assert -10 * math.log10((seen - crops).square().mean()) > 42, "another program sees other colours"


# Decisions. Figures of one good clip; each case changes what it is about.
GOOD = {
    "face_side": 150.0,
    "sharpness": 0.3,
    "noise": 0.5,
    "brightness": 120.0,
    "contrast": 40.0,
    "black": 0.0,
    "white": 0.0,
    "yaw": 5.0,
    "pitch": 5.0,
    "roll": 2.0,
    "evenness": 1.0,
    "mesh": 1.0,
    "covered": 0.0,
    "outside": 0.0,
    "mirrored": 0.0,
    "motion": 0.01,
    "seen": 1.0,
}


def candidate(key: str, **facts) -> dict:
    return {
        "key": key,
        "first": 0,
        "frames": 9,
        "track": 0,
        "crop": [1.0, 2.0, 3.0],
        "face_side": 150.0,
        "seen": 1.0,
        "detector_score": 0.99,
        "shot": 0,
        **facts,
    }


def video(*clips: dict, name: str = "a.mp4") -> Video:
    return Video(name, "a-1", "c0ffee", {"fps": "25/1", "clips": list(clips)})


def judgement(final: float) -> dict:
    return {"judge": "j@1", "judgement": {"assessment": {"final": final, "scores": {"clarity": 30.0}}}}


def found(*keys: str, final: float = 95.0, **figures) -> Findings:
    hashes = {key: {"figures": GOOD | figures, "hash": hash_of(key)} for key in keys}
    return Findings(hashes, {key: judgement(final) for key in keys})


def hash_of(key: str) -> str:
    """Far from any other key's."""
    return clip_hash(torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(sum(key.encode()))))


def only(rows: list[dict]) -> dict:
    assert len(rows) == 1
    return rows[0]


def test_the_threshold_is_exclusive_and_changes_nothing_else():
    clips = [video(candidate("k"))]
    at, above = (only(rows_of(clips, found("k", final=final), Policy(9))) for final in (90, 90.5))
    assert (at["state"], above["state"]) == ("dropped", "kept") and at["causes"] == ["score 90 is not above 90"]
    assert at["clip"] is None and above["clip"] == "clips/k.mp4"
    lower = only(rows_of(clips, found("k", final=90), Policy(9, threshold=80)))
    assert lower == at | {"state": "kept", "causes": [], "clip": "clips/k.mp4"}


def test_a_calibration_decides_too():
    people = [HumanScore(str(n), 60.0 + n, 80.0 + n) for n in range(10)]
    calibration = fit_calibration(people, rubric=rubric_version(RUBRIC), judge="j@1")
    row = only(rows_of([video(candidate("k"))], found("k", final=88), Policy(9, threshold=70, calibration=calibration)))
    assert row["final"] == pytest.approx(68) and row["state"] == "dropped" and row["tier"] == RUBRIC.tier(68)
    assert row["judgement"]["assessment"]["final"] == 88


@pytest.mark.parametrize(
    "facts, stage, words",
    [({"frames": 5}, "cut", "only 5 of 9 frames"), ({"face_side": 10.0}, "technical", "10")],
)
def test_what_a_track_tells_is_not_looked_at(facts, stage, words):
    clips, policy = [video(candidate("k", **facts))], Policy(9)
    assert not list(decisions.to_measure(clips, policy))
    row = only(rows_of(clips, found("k"), policy))
    assert (row["state"], row["stage"]) == ("dropped", stage) and words in row["causes"][0]
    assert row["figures"] is row["hash"] is row["judgement"] is None, "also where an earlier run knew more"


def test_poor_figures_and_faults_of_files():
    policy = Policy(9, Thresholds())
    row = only(rows_of([video(candidate("k"))], found("k", sharpness=0.0001), policy))
    assert (row["state"], row["stage"], row["judgement"]) == ("dropped", "technical", None) and row["figures"]
    lost = only(rows_of([video(candidate("k"))], Findings(errors={"k": "frame 3 is gone"}), policy))
    assert (lost["state"], lost["stage"], lost["causes"]) == ("failed", "technical", ["frame 3 is gone"])
    silent = replace(found("k"), judgements={}, errors={"k": "the server is down"})
    row = only(rows_of([video(candidate("k"))], silent, policy))
    assert (row["state"], row["stage"], row["causes"]) == ("failed", "judge", ["the server is down"])


def test_videos_without_clips_have_a_row():
    broken = Video("b.mp4", "b-1", None, None, "b.mp4 is no video")
    rows = rows_of([broken, video()], Findings(), Policy(9))
    assert [(row["video"], row["state"], row["causes"]) for row in rows] == [
        ("a.mp4", "dropped", ["no face was found"]),
        ("b.mp4", "failed", ["b.mp4 is no video"]),
    ]
    known = rows_of([broken], Findings(), Policy(9, overrules={"b-1": HumanLabel("drop")}))
    assert only(known)["state"] == "dropped", "a person has taken note of it"


def test_of_like_clips_the_best_stays_whatever_a_person_says_of_it():
    records = found("poor", "rich", "other")
    records.figures["poor"]["hash"] = records.figures["rich"]["hash"]
    records.figures["poor"]["figures"] = GOOD | {"sharpness": 0.2}
    clips = [video(*(candidate(key, first=n) for n, key in enumerate(("poor", "rich", "other"))))]
    drop = Policy(9, overrules={"rich": HumanLabel("drop")})
    for policy in (Policy(9), drop):
        states = {row["key"]: (row["stage"], row["duplicate_of"]) for row in rows_of(clips, records, policy)}
        assert states["poor"] == ("duplicate", "rich") and states["other"] == ("judge", None)
        assert decisions.to_judge(clips, decisions.screened(clips, records, policy)) == ["rich", "other"]
    assert {row["key"]: row["state"] for row in rows_of(clips, records, drop)}["rich"] == "dropped"


def test_a_person_overrules_and_the_causes_stay():
    clips = [
        video(
            candidate("good"),
            candidate("poor", first=9),
            candidate("tiny", first=18, face_side=10.0),
            candidate("short", first=27, frames=5),
        )
    ]
    records = found("good", "poor", "tiny")
    records.judgements["poor"] = judgement(40)
    words = {key: HumanLabel("keep") for key in ("poor", "tiny", "short")} | {
        "good": HumanLabel("drop", note="not a face")
    }
    policy = Policy(9, overrules=words)
    assert {clip["key"] for _, clip in decisions.to_measure(clips, policy)} == {"good", "poor", "tiny"}
    rows = {row["key"]: row for row in rows_of(clips, records, policy)}
    assert [rows[key]["state"] for key in ("good", "poor", "tiny", "short")] == ["dropped", "kept", "kept", "dropped"]
    assert [rows[key]["stage"] for key in ("good", "poor", "tiny", "short")] == ["person", "person", "person", "cut"]
    assert rows["good"]["final"] == 95 and rows["poor"]["final"] == 40 and "score 40" in rows["poor"]["causes"][0]
    assert rows["tiny"]["clip"] == "clips/tiny.mp4" and rows["tiny"]["final"] is None and rows["tiny"]["figures"]
    assert rows_of(clips, records, replace(policy, overrules={"good": HumanLabel(score=12.0)}))[0]["state"] == "kept"


def test_a_manifest_comes_back_and_tells_its_clips(tmp_path):
    rows = rows_of([video(candidate("k"), candidate("l", first=9), name="ü ü.mp4")], found("k", "l"), Policy(9))
    write_manifest(tmp_path / "m.jsonl", rows)
    assert read_manifest(tmp_path / "m.jsonl") == rows
    with pytest.raises(InvalidOption, match="missing"):
        kept_clips(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InvalidOption, match="no manifest"):
        read_manifest(tmp_path / "m.jsonl")


def test_the_parquet_table_says_the_same(tmp_path):
    import pyarrow.parquet as parquet

    clips = [video(candidate("k"), candidate("l", first=9, frames=5)), Video("z.mp4", "z", None, None, "broken")]
    rows = rows_of(clips, found("k"), Policy(9))
    write_parquet(tmp_path / "m.parquet", rows)
    table = parquet.read_table(tmp_path / "m.parquet").to_pylist()
    assert [row["key"] for row in table] == ["k", "l", "z"]
    assert table[0]["figure_sharpness"] == GOOD["sharpness"] and table[1]["figure_sharpness"] is None
    assert table[0]["score_clarity"] == 30 and json.loads(table[0]["judgement"]) == rows[0]["judgement"]
    for told, row in zip(table, rows):
        same = row.keys() - {"figures", "judgement"}
        assert {name: told[name] for name in same} == {name: row[name] for name in same}


def test_without_pyarrow_one_sentence_says_so_before_the_work(tmp_path):
    (tmp_path / "broken" / "pyarrow").mkdir(parents=True)
    (tmp_path / "broken" / "pyarrow" / "__init__.py").write_text("raise ImportError('no such symbol')")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(clip("single_face").read_bytes())
    run = in_a_process(
        "curate",
        tmp_path / "videos",
        "-o",
        tmp_path / "out",
        "--judge",
        "technical",
        "--parquet",
        PYTHONPATH=str(tmp_path / "broken"),
    )
    one_sentence(run, "pyarrow", "pip install")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--frames", 10], ["frames"]),
        (["--size", 100], ["size"]),
        (["--stride", 0], ["stride"]),
        (["--margin", "nan"], ["margin"]),
        (["--threshold", 100], ["--threshold"]),
        (["--judge", "wizard"], ["wizard"]),
        (["--rubric", "nowhere.json"], ["nowhere.json"]),
        (["--calibration", "nowhere.json"], ["nowhere.json"]),
        (["--address", "1.2.3.4:6379"], ["--address", "ray"]),
        (["--detector", "psychic"], ["psychic"]),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(arguments, words, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    given = [] if "--judge" in arguments else ["--judge", "technical"]
    assert main(["curate", str(tmp_path / "videos"), "-o", str(tmp_path / "out"), *given, *map(str, arguments)]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("vividface: ") and all(word in line for word in words), line
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_a_judge_must_be_named(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    assert main(["curate", str(tmp_path / "videos"), "-o", str(tmp_path / "out")]) == 1
    assert "--judge" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_fractions_of_rates_have_both_parts():
    from training.curation.clips import rate_text

    assert rate_text(Fraction(25)) == "25/1" and rate_text(Fraction(30000, 1001)) == "30000/1001"
