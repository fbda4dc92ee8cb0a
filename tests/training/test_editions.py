"""Editions of the small model, taken out of a history and measured beside each other."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import torch
import torch.nn.functional as F
from skimage import data as pictures

from tests.paths import REPOSITORY
from training.editions import FOLDER, Edition, main, measure, table, take
from training.evaluate import Measures
from training.evaluation.restoring import as_used
from vividface_core.degrade import DegradationRanges
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import load_detector
from vividface_core.weights import load_restorer


class Astronaut:
    name, person = "astronaut", "N"

    def cut(self, frames, size, detector):
        whole = torch.from_numpy(pictures.astronaut()).permute(2, 0, 1)[None] / 255
        cut = [whole[..., 10 + step : 210 + step, 120:320] for step in range(frames)]
        return F.interpolate(torch.cat(cut), (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A repository with two editions; the second one's denoiser does nothing."""
    folder = tmp_path_factory.mktemp("history")
    git(folder, "init", "--quiet")
    shutil.copytree(REPOSITORY / FOLDER, folder / FOLDER)
    card = folder / FOLDER / "vividface.json"
    revisions = []
    for scale in (1.0, 0.0):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"velocity_scale": scale}))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", f"scale {scale}")
        revisions.append(git(folder, "rev-parse", "HEAD"))
    return folder, revisions


def test_each_edition_is_that_of_its_revision(history, tmp_path):
    folder, revisions = history
    for number, (revision, scale) in enumerate(zip(revisions, (1.0, 0.0))):
        model = take(Edition(revision, "what is new"), tmp_path / str(number), folder)
        assert json.loads((model / "vividface.json").read_text())["velocity_scale"] == scale
    assert take(Edition("", "what is new"), tmp_path, folder) == folder / FOLDER
    with pytest.raises(InvalidOption, match="0123abc isn't in the history here"):
        take(Edition("0123abc", "what is new"), tmp_path, folder)


def test_editions_are_measured_by_their_own_weights(history):
    folder, revisions = history
    clip = Astronaut()
    rows = measure([Edition(revisions[0], "a"), Edition(revisions[1], "b"), Edition("", "c")], [clip], 3, folder)
    truth = clip.cut(3, 256, None)
    low = DegradationRanges().sample(1000)(truth)
    detector = load_detector("mtcnn")
    expected = Measures(detector)(as_used(load_restorer("vividface-nano"))(low), truth)
    assert rows[0]["output"]["psnr"] == pytest.approx(expected["psnr"], abs=0.01)
    assert rows[1]["output"] != rows[0]["output"]
    assert {**rows[2]["output"], "seconds": 0} == {**rows[1]["output"], "seconds": 0}
    assert rows[0]["input"]["psnr"] == rows[1]["input"]["psnr"]
    known = {revisions[0]: {**rows[0], "edition": 7, "new": "before"}}
    again = measure([Edition("", "c"), Edition(revisions[0], "a")], [clip], 3, folder, known)
    assert again[1] == {**rows[0], "edition": 2}
    gain = rows[0]["output"]["psnr"] - rows[0]["input"]["psnr"]
    assert f"| 1 | a | {gain:+.2f} |" in table(rows)


@pytest.mark.parametrize(
    "text, words",
    [(None, "isn't a file that --json wrote"), ("[]", "isn't a file"), ('{"frames": 5, "editions": []}', "5 frames")],
    ids=["missing", "something else", "other clips"],
)
def test_what_is_known_of_other_clips_is_refused_before_the_work(tmp_path, capsys, text, words):
    path = tmp_path / "known.json"
    if text is not None:
        path.write_text(text)
    assert main(["--known", str(path)]) == 1
    assert words in capsys.readouterr().err
