"""The correction by human scores: SciPy's isotonic regression and correlations, and what it refuses."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scipy import stats

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.mllm.calibration import (
    Agreement,
    Calibration,
    HumanScore,
    agreement,
    fit_calibration,
    read_human_scores,
)

WHOSE = {"rubric": "vividface@0123", "judge": "judge-a"}


def rows(judge, human):
    return [HumanScore(f"{number}.mp4", float(y), float(x)) for number, (x, y) in enumerate(zip(judge, human))]


def generous(seed: int, count: int = 40):
    """A judge that gives most clips 80 to 95, and people who use the whole scale; both noisy."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, count)
    judge = np.clip(np.round(78 + 16 * quality + rng.normal(0, 1, count)), 0, 100)
    human = np.clip(np.round(100 * quality**2 + rng.normal(0, 5, count)), 0, 100)
    return judge, human


def test_the_fit_is_the_best_monotone_one_at_the_judges_scores():
    minimum = pytest.importorskip("scipy.optimize").minimize
    judge, human = [70, 80, 80, 90, 95, 99], [20, 50, 30, 35, 90, 80]
    fit = fit_calibration(rows(judge, human), **WHOSE)
    unique = sorted(set(judge))

    def loss(values):
        return sum((values[unique.index(x)] - y) ** 2 for x, y in zip(judge, human))

    order = [{"type": "ineq", "fun": lambda v, i=i: v[i + 1] - v[i]} for i in range(len(unique) - 1)]
    best = minimum(loss, np.linspace(20, 80, len(unique)), constraints=order, method="SLSQP").x
    assert [fit.correct(x, **WHOSE) for x in unique] == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_corrections_never_fall_and_stay_in_range(seed):
    judge, human = generous(seed)
    fit = fit_calibration(rows(judge, human), **WHOSE)
    grid = np.linspace(0, 100, 2001)
    corrected = np.array([fit.correct(score, **WHOSE) for score in grid])
    assert (np.diff(corrected) >= 0).all() and corrected.min() >= 0 and corrected.max() <= 100
    xs, ys = map(np.array, zip(*fit.knots))
    inside = grid[(grid >= xs[0]) & (grid <= xs[-1])]
    assert [fit.correct(score, **WHOSE) for score in inside] == pytest.approx(np.interp(inside, xs, ys), abs=1e-6)
    assert fit.correct(xs[0] - 5, **WHOSE) == pytest.approx(max(ys[0] - 5, 0))
    assert fit.rows == 40 and len(fit.knots) <= len(set(judge))


def test_before_and_after_are_scipys_figures_of_clips_left_out():
    judge, human = generous(7)
    fit = fit_calibration(rows(judge, human), **WHOSE)
    left_out = []
    for place in range(len(judge)):
        others = [row for number, row in enumerate(rows(judge, human)) if number != place]
        left_out.append(fit_calibration(others, **WHOSE).correct(judge[place], **WHOSE))
    for told, scores in ((fit.before, judge), (fit.after, left_out)):
        assert told.spearman == pytest.approx(stats.spearmanr(scores, human).statistic)
        assert told.kendall == pytest.approx(stats.kendalltau(scores, human).statistic)
        assert told.mae == pytest.approx(np.abs(np.array(scores) - human).mean())
    seen = np.abs([fit.correct(x, **WHOSE) - y for x, y in zip(judge, human)]).mean()
    assert seen < fit.after.mae < fit.before.mae / 3


def test_a_judge_that_knows_nothing_is_seen_through():
    rng = np.random.default_rng(3)
    gains = []
    for _ in range(8):
        judge, human = rng.uniform(0, 100, 40), rng.uniform(0, 100, 40)
        fit = fit_calibration(rows(judge, human), **WHOSE)
        seen = [fit.correct(x, **WHOSE) for x in judge]
        # It looks better on the clips that it was fitted to than on one that was left out.
        assert np.abs(np.subtract(seen, human)).mean() < fit.after.mae
        gains.append((agreement(seen, human).spearman or 0, fit.after.spearman or 0))
    assert np.mean(gains, axis=0)[0] > np.mean(gains, axis=0)[1] + 0.2


def test_ranks_of_what_is_all_alike_are_not_made_up():
    assert agreement([3, 3, 3], [1, 2, 3]) == Agreement(None, None, 1.0)
    flat = fit_calibration(rows([1, 2, 3, 4, 5], [50] * 5), **WHOSE)
    # Left out, the first and the last clip lie a point beyond the others, whose shift they get.
    assert flat.before.spearman is None and flat.after == Agreement(None, None, 0.4)
    assert flat.correct(3.3, **WHOSE) == 50


def test_a_stored_calibration_corrects_alike_and_only_its_own(tmp_path):
    fit = fit_calibration(rows(*generous(2)), **WHOSE)
    fit.write(tmp_path / "fit.json")
    again = Calibration.read(tmp_path / "fit.json")
    assert again == fit
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]
    for other in ({**WHOSE, "rubric": "vividface@4567"}, {**WHOSE, "judge": "judge-b"}):
        with pytest.raises(InvalidOption, match="fitted for the"):
            again.correct(90, **other)
    with pytest.raises(InvalidOption):
        again.correct(float("nan"), **WHOSE)
    with pytest.raises(UnwritableVideo):
        fit.write(tmp_path / "none" / "fit.json")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "other"},
        {"knots": [[1, 2]]},
        {"knots": [[1, 2], [1, 3]]},
        {"knots": [[1, 2], [2, 1]]},
        {"knots": None},
        {"after": {}},
        {"rows": "many"},
        {"knots": [[1, float("nan")], [2, 3]]},
    ],
)
def test_a_damaged_calibration_is_refused(change, tmp_path):
    stored = {**fit_calibration(rows(*generous(2)), **WHOSE).to_json(), **change}
    (tmp_path / "fit.json").write_text(json.dumps(stored))
    with pytest.raises(InvalidOption, match="fit.json"):
        Calibration.read(tmp_path / "fit.json")


def test_files_that_are_no_calibration(tmp_path):
    for name, content in (("a.json", "{"), ("b.json", "[]"), ("c.json", "3")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InvalidOption, match=name):
            Calibration.read(tmp_path / name)
    with pytest.raises(InvalidOption, match="none.json"):
        Calibration.read(tmp_path / "none.json")


# Tables.

PLAIN = "video,human,judge\na.mp4,80,91\nb.mp4,70.5,88\nc.mp4,60,\n"
READ = [HumanScore("a.mp4", 80, 91), HumanScore("b.mp4", 70.5, 88), HumanScore("c.mp4", 60)]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";").replace(".5", ",5"),
        PLAIN.replace(",", "\t"),
        "Judge_Score , notes,Video,Human_Score\n91,x,a.mp4,80\n88,,b.mp4,70.5\n\n,y,c.mp4, 60 \n,,,\n",
        'video,human,judge\n"a.mp4",80,91\n"b.mp4","70.5",88\nc.mp4,60\n',
    ],
)
def test_tables_as_people_save_them(text, tmp_path):
    (tmp_path / "scores.csv").write_bytes(text.encode())
    assert read_human_scores(tmp_path / "scores.csv") == READ


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "no column 'video'"),
        ("a.mp4,80\nb.mp4,70\n", "no column 'video'"),
        ("video,score\na.mp4,80\n", "no column 'human'"),
        ("video,human\na.mp4,good\n", "line 2: the human score 'good' is no number"),
        ("video,human\na.mp4,\n", "line 2: the human score '' is no number"),
        ("video,human\na.mp4,nan\n", "'nan' is no number"),
        ("video,human\na.mp4,101\n", "'101' is no number from 0 to 100"),
        ("video,human\na.mp4,-1\n", "'-1' is no number"),
        ("video,human,judge\na.mp4,80,?\n", "the judge score '?' is no number"),
        ("video,human\na.mp4,80\nb.mp4,80\na.mp4,70\n", "line 4: a.mp4 stands in line 2 already"),
        ("video,human\n,80\n", "line 2 names no video"),
    ],
)
def test_wrong_tables_are_refused_with_the_line(text, told, tmp_path):
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidOption) as refused:
        read_human_scores(tmp_path / "scores.csv")
    assert told in str(refused.value) and "scores.csv" in str(refused.value)


def test_tables_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.csv").write_bytes("video,human\ncafé.mp4,3\n".encode("latin-1"))
    for name in ("none.csv", "latin.csv"):
        with pytest.raises(InvalidOption, match=name):
            read_human_scores(tmp_path / name)


def test_what_nothing_can_be_fitted_to():
    good = rows([80, 85, 90, 92, 95], [10, 20, 30, 40, 50])
    fit_calibration(good, **WHOSE)
    for bad, told in (
        (good[:4], "4 clips"),
        ([*good, good[0]], "0.mp4 has two human scores"),
        ([*good, HumanScore("x.mp4", 50)], "x.mp4 has no score of the judge"),
        ([*good, HumanScore("x.mp4", 120, 50)], "human score of x.mp4 is 120"),
        ([*good, HumanScore("x.mp4", 50, float("nan"))], "judge's score of x.mp4 is nan"),
        (rows([80] * 6, range(6)), "gave all clips 80"),
    ):
        with pytest.raises(InvalidOption) as refused:
            fit_calibration(bad, **WHOSE)
        assert told in str(refused.value)


def test_the_order_of_clips_makes_no_difference():
    table = rows(*generous(4))
    shuffled = table.copy()
    random.Random(0).shuffle(shuffled)
    one, other = fit_calibration(table, **WHOSE), fit_calibration(shuffled, **WHOSE)
    assert one.knots == pytest.approx(np.array(other.knots)) and one.after.mae == pytest.approx(other.after.mae)
