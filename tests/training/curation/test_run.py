"""``vividface curate`` on real videos: the whole way, killed and resumed, decided anew, overruled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.assets import clip, run_ffmpeg
from tests.curation_material import BROKEN, OPTIONS, PICTURES, VIDEOS, make_videos
from tests.memory import numbers_of
from tests.openai_server import KEY, Remote
from training.curation.human_labels import HumanLabel
from training.curation.human_labels import write as write_overrules
from vividface_core.cli.main import main
from vividface_core.video.reader import probe, read_frames

FRAMES, SIZE = 9, 128


def command(videos: Path, out: Path, *more: object) -> list[str]:
    return ["curate", *map(str, (videos, "-o", out, *OPTIONS, *more))]


def curate(videos: Path, out: Path, *more: object) -> int:
    return main(command(videos, out, "--quiet", *more))


def rows_in(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every file that tells of work: which one it is and when it was written. The lock and the notes of what was
    read when do not."""
    files = [file for file in folder.rglob("*") if file.is_file() and not {"lock", "contents"} & {*file.parts}]
    return {str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def records(out: Path, stage: str) -> list[Path]:
    return list(out.glob(f"work/{stage}-*/*.json"))


def published(out: Path) -> set[str]:
    return {f"clips/{file.name}" for file in (out / "clips").iterdir()}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory) -> Path:
    """A data set made in one go."""
    out = tmp_path_factory.mktemp("whole") / "set"
    assert curate(videos, out) == 1, "one video is broken"
    return out


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """One to change, with its times."""
    return Path(shutil.copytree(whole, tmp_path / "set"))


def stop_at(videos: Path, out: Path, stage: str, count: int, how: signal.Signals = signal.SIGKILL) -> tuple[int, str]:
    """Start the program and stop it as soon as a stage has left so many records: its exit status, and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [sys.executable, "-m", "vividface_core.cli.main", *command(videos, out)],
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        end = time.monotonic() + 300
        while len(records(out, stage)) < count:
            assert run.poll() is None and time.monotonic() < end, run.stderr.read()
            time.sleep(0.002)
    finally:
        run.send_signal(how)
        said = run.communicate()[1]
    return run.returncode, said


def test_real_clips_go_the_whole_way(videos, whole):
    rows = rows_in(whole)
    clips = [row for row in rows if row["first"] is not None]
    judged = [row for row in clips if row["judgement"]]
    assert len(clips) >= 40 and len(judged) >= 30 and len({row["video"] for row in judged}) >= 12
    assert {row["video"] for row in rows} == {*VIDEOS, *PICTURES, BROKEN}
    assert rows == sorted(rows, key=lambda row: (row["video"], row["first"] or 0, row["track"] or 0))
    assert len({row["key"] for row in rows}) == len(rows)
    by_video = {row["video"]: row for row in rows}
    for name, (stage, word) in {
        "short.mp4": ("cut", "only 7 of 9"),
        "nobody/room.mp4": ("cut", "no face"),
        BROKEN: ("cut", "broken.mp4"),
        "far away.mp4": ("technical", "small"),
        "blurred.mp4": ("technical", "blurred"),
    }.items():
        row = by_video[name]
        assert row["stage"] == stage and word in row["causes"][0] and row["clip"] is None, row
    assert {row["video"] for row in rows if row["state"] == "failed"} == {BROKEN}
    for row in judged:
        final = row["judgement"]["assessment"]["final"]
        assert row["final"] == final and row["state"] == ("kept" if final > 88 else "dropped"), row
        assert "seconds" not in row["judgement"]
    alike = [row for row in rows if row["stage"] == "duplicate"]
    assert alike and all(row["duplicate_of"] in row["causes"][0] for row in alike)
    assert {row["duplicate_of"] for row in alike} <= {row["key"] for row in judged}
    assert str(videos) not in (whole / "manifest.jsonl").read_text()
    assert 3 <= sum(row["state"] == "kept" for row in rows) < len(judged)


def test_kept_clips_show_the_face_at_the_videos_pace(videos, whole):
    kept = [row for row in rows_in(whole) if row["state"] == "kept"]
    assert published(whole) == {row["clip"] for row in kept}
    for row in kept:
        info, frames = probe(whole / row["clip"]), read_frames(whole / row["clip"], 99)
        assert len(frames) == row["frames"] == FRAMES and info.upright_size == (SIZE, SIZE)
        assert row["fps"] == "{}/{}".format(*probe(videos / row["video"]).fps.as_integer_ratio())
        assert abs(info.fps / probe(videos / row["video"]).fps - 1) < 0.01
        # Pillow cuts and resizes by itself: the right place of the right frame.
        x, y, side = row["crop"]
        source = read_frames(videos / row["video"], 1, row["first"] + FRAMES - 1)[0].rgb()
        picture = Image.fromarray((source.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        if min(box) < 0 or box[2] > picture.width or box[3] > picture.height:
            continue  # Pillow has no mirrored border
        wanted = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box), float) / 255
        error = np.square(wanted - frames[-1].rgb().permute(1, 2, 0).numpy()).mean()
        assert -10 * np.log10(error) > 36, row["key"]


def test_pictures_for_people_are_there(whole):
    sheet = Image.open(whole / "contact_sheet.jpg")
    assert min(sheet.size) > 300 and np.asarray(sheet).std() > 20
    page = (whole / "review.html").read_text(encoding="utf-8")
    assert all(row["key"] in page for row in rows_in(whole) if row["state"] == "kept")
    assert "vividface curate" in page and "--threshold 88" in page


@pytest.mark.slow
def test_stopped_killed_twice_and_resumed_it_is_the_same_to_the_byte(videos, whole, tmp_path):
    out = tmp_path / "set"
    status, said = stop_at(videos, out, "cut", 3, signal.SIGINT)
    assert status == 130 and said.rstrip().endswith("the same command does the rest."), said
    stop_at(videos, out, "figures", 5)
    assert not (out / "manifest.jsonl").exists() and not records(out, "judge")
    before = stamps(out / "work")
    stop_at(videos, out, "judge", 5)
    judged = len(records(out, "judge"))
    assert 5 <= judged < len(records(whole, "judge")) and not (out / "manifest.jsonl").exists()
    middle = stamps(out / "work")
    assert curate(videos, out) == 1
    after = stamps(out / "work")
    assert (out / "manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()
    for earlier in (before, middle):
        finished = {name: stamp for name, stamp in earlier.items() if ".partial" not in name}
        assert {name: after[name] for name in finished} == finished, "something was done twice"
    names = {file.name for file in records(out, "judge")}
    assert names == {file.name for file in records(whole, "judge")}
    assert {file.name: file.read_bytes() for file in (out / "clips").iterdir()} == {
        file.name: file.read_bytes() for file in (whole / "clips").iterdir()
    }


def test_a_second_run_and_another_threshold_need_no_work(videos, copy, capsys):
    before, rows = stamps(copy / "work"), rows_in(copy)
    text = (copy / "manifest.jsonl").read_bytes()
    assert curate(videos, copy) == 1
    assert stamps(copy / "work") == before and (copy / "manifest.jsonl").read_bytes() == text
    assert curate(videos, copy, "--threshold", 60) == 1
    assert stamps(copy / "work") == before
    again = rows_in(copy)
    more = [row for row, old in zip(again, rows) if row["state"] != old["state"]]
    assert more and all(row["state"] == "kept" and 60 < row["final"] <= 88 for row in more)
    assert published(copy) == {row["clip"] for row in again} - {None}
    assert curate(videos, copy) == 1
    assert (copy / "manifest.jsonl").read_bytes() == text
    assert published(copy) == {row["clip"] for row in rows} - {None}
    said = capsys.readouterr().out
    kept = sum(row["state"] == "kept" for row in rows)
    assert f"22 videos, {sum(r['first'] is not None for r in rows)} clips: {kept} kept" in said


def test_a_person_overrules(videos, copy, capsys):
    rows = rows_in(copy)
    good = next(row for row in rows if row["state"] == "kept")
    poor = next(row for row in rows if row["stage"] == "judge" and row["state"] == "dropped")
    small = next(row for row in rows if row["video"] == "far away.mp4")
    short = next(row for row in rows if row["video"] == "short.mp4")
    words = {
        good["key"]: HumanLabel("drop", note="a wig"),
        poor["key"]: HumanLabel("keep", 95.0),
        small["key"]: HumanLabel("keep"),
        short["key"]: HumanLabel("keep"),
        "nothing-like-it": HumanLabel("drop"),
    }
    write_overrules(copy / "overrules.json", words)
    judged = stamps(copy / "work")
    assert curate(videos, copy) == 1
    told = {row["key"]: row for row in rows_in(copy)}
    assert (told[good["key"]]["state"], told[good["key"]]["overruled"]) == ("dropped", "drop")
    assert not (copy / good["clip"]).exists()
    for row in (poor, small):
        now = told[row["key"]]
        assert (now["state"], now["stage"], now["overruled"]) == ("kept", "person", "keep")
        assert now["causes"] == row["causes"] and (copy / now["clip"]).stat().st_size > 1000
    assert told[short["key"]]["state"] == "dropped"
    changed = {key for key in told if told[key] != next(row for row in rows if row["key"] == key)}
    assert changed <= words.keys()
    after = stamps(copy / "work")
    assert {name: after[name] for name in judged} == judged
    assert not any(name.startswith("judge") for name in after.keys() - judged.keys()), "a person's word costs nothing"
    said = capsys.readouterr()
    assert "nothing-like-it" in said.err and f"{short['key']} can't be kept" in said.err
    assert "2 of them by a person" in said.out
    (copy / "overrules.json").unlink()
    assert curate(videos, copy) == 1
    assert rows_in(copy) == rows, "without it all is as it was"


def test_a_replaced_and_a_renamed_video_are_noticed(videos, copy, tmp_path):
    others = tmp_path / "videos"
    others.mkdir()
    for name in ("wolfgang.mp4", "comes.mov", "short.mp4"):
        shutil.copy2(videos / name, others / name)
    out = tmp_path / "few"
    assert curate(others, out) == 0
    old = {row["video"]: row for row in rows_in(out)}
    judged = stamps(out / "work")
    shutil.copyfile(videos / "goes.mov", others / "comes.mov")
    (others / "short.mp4").rename(others / "brief.mp4")
    assert curate(others, out) == 0
    new = {row["video"]: row for row in rows_in(out)}
    assert new["wolfgang.mp4"] == old["wolfgang.mp4"] and new.keys() == {"wolfgang.mp4", "comes.mov", "brief.mp4"}
    assert all(new["comes.mov"][name] != old["comes.mov"][name] for name in ("content", "key"))
    after = stamps(out / "work")
    assert {name: after[name] for name in judged if "wolfgang" in name} == {
        name: stamp for name, stamp in judged.items() if "wolfgang" in name
    }
    assert published(out) == {row["clip"] for row in rows_in(out)} - {None}


def test_any_stage_can_be_begun_anew(videos, copy):
    text = (copy / "manifest.jsonl").read_bytes()
    before = stamps(copy / "work")
    assert curate(videos, copy, "--restart-from", "judge") == 1
    after = stamps(copy / "work")
    changed = Counter(name.split("-")[0] for name in before if before[name] != after[name])
    assert changed == {"judge": len(records(copy, "judge"))}
    assert (copy / "manifest.jsonl").read_bytes() == text


def test_a_server_is_asked_once_for_each_clip_whatever_happens(videos, copy, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", KEY)
    before = {name for name in stamps(copy / "work") if name.startswith("judge")}
    waiting, remote = {Path(name).stem for name in before}, Remote()
    arguments = [
        "curate",
        str(videos),
        "-o",
        str(copy),
        "--quiet",
        *OPTIONS[2:],
        "--threshold",
        "80",
        "--judge",
        f"openai:{remote.address}",
        "--model",
        "judge",
        "--concurrency",
        "3",
        "--tries",
        "2",
    ]
    try:
        remote.script(*["ok"] * 8, "nonsense", "nonsense", "ok", "403")
        assert main(arguments) == 1 and "scripted 403" in capsys.readouterr().err
        asked = [one["word"] for one in remote.seen()]
        remote.script()
        assert main(arguments) == 1
        asked += [one["word"] for one in remote.seen()]
        assert asked.count("ok") == len(waiting), "one good answer each, before and after the stop"
        remote.script()
        assert main(arguments) == 1 and not remote.seen()
    finally:
        remote.close()
    rows = [row for row in rows_in(copy) if row["judgement"]]
    assert {row["key"] for row in rows} == waiting and {row["final"] for row in rows} == {85}
    assert all(row["state"] == "kept" and "openai judge" in row["judge"] for row in rows)
    assert KEY not in "".join(path.read_text(errors="ignore") for path in copy.rglob("*.json*"))
    assert before <= stamps(copy / "work").keys(), "the other judge's work stays"


def test_a_dry_run_asks_nobody_and_leaves_what_is_there(videos, copy, capsys):
    before = {name: stamp for name, stamp in stamps(copy).items() if name != "curate.json"}
    assert curate(videos, copy, "--dry-run", "--judge", "openai:http://127.0.0.1:9/v1", "--model", "none") == 1
    after = stamps(copy)
    assert {name: after[name] for name in before} == before
    rows = [json.loads(line) for line in (copy / "dry-run.jsonl").read_text().splitlines()]
    judged = {row["key"] for row in rows_in(copy) if row["judgement"]}
    assert {row["key"] for row in rows if row["state"] == "kept"} == judged
    assert not any(row["judgement"] or row["clip"] for row in rows)
    assert "would go before the judge" in capsys.readouterr().out


def test_the_kept_clips_are_training_material(copy, tiny_checkpoint, tmp_path):
    from training.data.shards import ShardReader
    from training.prepare import main as prepare

    whole = (copy / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in whole if json.loads(line)["state"] == "kept"][::5]
    (copy / "manifest.jsonl").write_text("\n".join([*kept, *whole[:2]]) + "\n", encoding="utf-8")
    kept = {json.loads(line)["key"] for line in [*kept, *whole[:2]] if json.loads(line)["clip"]}
    assert (
        prepare(
            [
                "--manifest",
                str(copy / "manifest.jsonl"),
                "--out",
                str(tmp_path / "data"),
                "--model",
                str(tiny_checkpoint),
                "--frames",
                str(FRAMES),
                "--size",
                str(SIZE),
                "--pixels",
                "--device",
                "cpu",
                "--detector",
                "mtcnn",
            ]
        )
        == 0
    )
    reader = ShardReader(tmp_path / "data")
    assert len(reader) == len(kept)
    sample = reader[0]
    assert sample["pixels"].shape == (3, FRAMES, SIZE, SIZE) and 0.1 < sample["pixel_mask"].float().mean() < 0.9


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path):
    peaks = {}
    for frames in (63, 225):
        folder, out = tmp_path / str(frames), tmp_path / f"out-{frames}"
        folder.mkdir()
        run_ffmpeg(
            "-i",
            clip("franck"),
            "-frames:v",
            frames,
            "-vf",
            "scale=480:-2",
            "-an",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            folder / "a.mp4",
        )
        program = (
            "import torch\ntorch.set_num_threads(1)\nfrom vividface_core.cli.main import main\n"
            "from vividface_core.runtime.memory import peak_memory\n"
            f"main(['curate', {str(folder)!r}, '-o', {str(out)!r}, '--dry-run', '--quiet', '--frames', '9', "
            "'--size', '128', '--detector', 'mtcnn', '--min-face-side', '1000'])\nprint(peak_memory())"
        )
        (peaks[frames],) = numbers_of(program)
        rows = [json.loads(line) for line in (out / "dry-run.jsonl").read_text().splitlines()]
        assert len(rows) == frames // FRAMES, "the whole video was looked at"
    held = 162 * 480 * 384 * 3 * 4
    assert peaks[225] - peaks[63] < held / 4, {name: peak / 2**20 for name, peak in peaks.items()}
