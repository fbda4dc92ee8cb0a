"""``vividface calibrate`` as a person uses it, against SciPy's figures."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.curated import FACES, data_set
from training.curation import human_labels
from training.curation.human_labels import HumanLabel
from training.data.manifest import write_manifest
from vividface_core.cli.main import main
from vividface_core.errors import InvalidOption
from vividface_core.mllm.calibration import Calibration, read_human_scores
from vividface_core.mllm.results import Scored, find
from vividface_core.mllm.rubric import RUBRIC, rubric_version


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Videos, data set and rows of two faces that were judged, and one that wasn't."""
    return data_set(tmp_path_factory.mktemp("curated"), 3)


@pytest.fixture
def rows(curated):
    return copy.deepcopy(curated[2])


@pytest.fixture(scope="module")
def scored(curated, tmp_path_factory):
    """Real scores of eight videos, by the command, as JSON and JSONL."""
    root = tmp_path_factory.mktemp("scored")
    faces = [str(curated[0] / name) for name in list(FACES)[:2]]
    assert (
        main(
            [
                "score",
                *faces,
                "--judge",
                "technical",
                "--frame-pixels",
                "30000",
                "--json",
                str(root / "s.json"),
                "--jsonl",
                str(root / "s.jsonl"),
                "--quiet",
            ]
        )
        == 0
    )
    told = json.loads((root / "s.json").read_text())["videos"]
    return root, {Path(video["video"]): video["final"] for video in told}


def human_of(finals: dict, wobble=(3, -2, 5, 0, -4, 2, 1, -3)) -> dict:
    return {name: round(max(0.0, score**2 / 100 + change), 1) for (name, score), change in zip(finals.items(), wobble)}


def table(path: Path, human: dict) -> Path:
    path.write_text("video,human\n" + "".join(f'"{name}",{score}\n' for name, score in human.items()), encoding="utf-8")
    return path


@pytest.mark.parametrize("source", ["s.json", "s.jsonl"])
@pytest.mark.parametrize("named", [str, lambda path: path.name, lambda path: path.stem])
def test_calibrate_tells_and_stores_what_scipy_finds(scored, tmp_path, capsys, source, named):
    root, finals = scored
    human = human_of(finals)
    people = table(tmp_path / "h.csv", {named(path): score for path, score in human.items()})
    target, both = tmp_path / "c.json", tmp_path / "both.csv"
    assert main(["calibrate", str(people), "--scores", str(root / source), "-o", str(target), "--csv", str(both)]) == 0
    said = capsys.readouterr().out
    own, given = list(finals.values()), list(human.values())
    left_out = [left_one_out(own, given, place) for place in range(len(own))]
    for line, scores in (("before", own), ("after", left_out)):
        figures = re.search(rf"{line} +(\S+) +(\S+) +(\S+)", said).groups()
        assert figures == (
            f"{stats.spearmanr(scores, given).statistic:.3f}",
            f"{stats.kendalltau(scores, given).statistic:.3f}",
            f"{np.mean(np.abs(np.subtract(scores, given))):.2f}",
        )
    stored = Calibration.read(target)
    assert (stored.rows, stored.rubric) == (8, rubric_version(RUBRIC)) and stored.judge in said
    assert (
        main(
            [
                "score",
                str(next(iter(finals))),
                "--judge",
                "technical",
                "--frame-pixels",
                "30000",
                "--calibration",
                str(target),
                "--quiet",
            ]
        )
        == 0
    ), "the judge that it is for takes it"
    assert {row.judge for row in read_human_scores(both)} == set(own)


def left_one_out(own, given, place):
    """By SciPy's isotonic regression and NumPy's interpolation."""
    from scipy.optimize import isotonic_regression

    pairs = [(x, y) for number, (x, y) in enumerate(zip(own, given)) if number != place]
    xs = sorted({x for x, _ in pairs})
    means = [np.mean([y for x, y in pairs if x == at]) for at in xs]
    fit = isotonic_regression(means, weights=[sum(x == at for x, _ in pairs) for at in xs]).x
    inside = min(max(own[place], xs[0]), xs[-1])
    return float(np.clip(np.interp(inside, xs, fit) + own[place] - inside, 0, 100))


def test_scores_of_the_review_page_calibrate_a_curations_judge(curated, rows, tmp_path, capsys):
    out = tmp_path / "set"
    out.mkdir()
    write_manifest(out / "manifest.jsonl", rows)
    judged = [row for row in rows if row["judgement"]]
    # Scores as corrected by an earlier calibration, which must not be fitted again.
    write_manifest(out / "manifest.jsonl", [{**row, "final": 1.0} if row["judgement"] else row for row in rows])
    human = human_of({row["key"]: row["judgement"]["assessment"]["final"] for row in judged})
    human_labels.write(out / "overrules.json", {key: HumanLabel("keep", score) for key, score in human.items()})
    assert main(["calibrate", str(out), "-o", str(tmp_path / "c.json")]) == 0
    stored = Calibration.read(tmp_path / "c.json")
    assert stored.judge == judged[0]["judge"] and stored.rows == len(judged) >= 6
    expected = stats.spearmanr([row["judgement"]["assessment"]["final"] for row in judged], list(human.values()))
    assert stored.before.spearman == pytest.approx(expected.statistic)
    assert f"{expected.statistic:.3f}" in capsys.readouterr().out
    human_labels.write(out / "overrules.json", {judged[0]["key"]: HumanLabel("keep")})
    assert main(["calibrate", str(out / "overrules.json"), "-o", str(tmp_path / "c.json")]) == 1
    assert "Nobody gave a clip a score" in capsys.readouterr().err


def refused(capsys, *arguments) -> str:
    assert main(["calibrate", *map(str, arguments)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("vividface: ")
    return said[0]


def test_what_calibrate_refuses(scored, tmp_path, capsys):
    root, finals = scored
    names, target = {path.name: score for path, score in human_of(finals).items()}, tmp_path / "c.json"
    few, good = dict(list(names.items())[:4]), table(tmp_path / "good.csv", names)
    scores = ("--scores", root / "s.json", "-o", target)
    assert "There are 4 clips" in refused(capsys, table(tmp_path / "few.csv", few), *scores)
    said = refused(capsys, table(tmp_path / "more.csv", {**names, "gone.mp4": 1, "lost": 2}), *scores)
    assert "Of 10 human scores 2 can't" in said and "gone.mp4 isn't among the scores" in said
    assert "--scores" in refused(capsys, good, "-o", target)
    assert "no judge" in refused(capsys, good, *scores, "--judge", "gpt").lower()
    assert "the human scores itself" in refused(capsys, good, "--scores", root / "s.json", "-o", good)
    assert "does not exist" in refused(capsys, good, "--scores", root / "s.json", "-o", tmp_path / "no" / "c.json")
    assert "can't be read" in refused(capsys, good, "--scores", root / "none.json", "-o", target)
    assert (
        "holds no video" in refused(capsys, good, "--scores", good.with_suffix(".txt"), "-o", target)
        if (good.with_suffix(".txt").write_text('{"a": 1}\n'))
        else False
    )
    first = next(iter(names))
    (tmp_path / "judge.csv").write_text(f"video,human,judge\n{first},3,1\n")
    assert "the table says that the judge gave 1" in refused(capsys, tmp_path / "judge.csv", *scores)
    assert not target.exists()


def test_several_judges_or_like_names_must_be_told_apart(scored, tmp_path, capsys):
    root, finals = scored
    lines = (root / "s.jsonl").read_text().splitlines()
    other = [json.dumps({**json.loads(line), "judge": "other@1"}) for line in lines]
    (tmp_path / "two.jsonl").write_text("\n".join([*lines, *other]) + '\n{"video": "cut off by a cr')
    good = table(tmp_path / "good.csv", {path.name: score for path, score in human_of(finals).items()})
    command = (good, "--scores", tmp_path / "two.jsonl", "-o", tmp_path / "c.json")
    assert "other@1" in refused(capsys, *command)
    assert main(["calibrate", *map(str, command), "--judge", "technical"]) == 0
    capsys.readouterr()
    twice = [{**json.loads(line), "video": f"elsewhere/{json.loads(line)['name']}"} for line in lines]
    (tmp_path / "twice.jsonl").write_text("\n".join([*lines, *map(json.dumps, twice)]))
    said = refused(capsys, good, "--scores", tmp_path / "twice.jsonl", "-o", tmp_path / "d.json")
    assert "may be" in said and "elsewhere/" in said and not (tmp_path / "d.json").exists()


def test_a_clip_has_a_name_of_its_own_besides_its_videos(rows):
    clips = [
        Scored(key, (key, f"clips/{key}.mp4", f"{key}.mp4", "a/v.mp4", "v.mp4", "v"), "j", "r", 1.0)
        for key in ("v-0", "v-1")
    ]
    assert find("v-1", clips) is clips[1] and find("clips\\v-0.mp4", clips) is clips[0]
    with pytest.raises(InvalidOption, match="v-0 or v-1"):
        find("v.mp4", clips)
    with pytest.raises(InvalidOption, match="isn't among"):
        find("V-1", clips)
