"""What can't work is said before a model is looked for, in one sentence; no option is silently ignored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.assets import clip
from vividface_core.cli.main import main

CASES = [
    (["--faces", "prettiest"], "prettiest"),
    (["--faces", "index:x"], "index:x"),
    (["--faces", "ref:nowhere.jpg"], "nowhere.jpg"),
    (["--faces", "ref:noise.txt"], "noise.txt"),
    (["--faces", "ref:grey.png"], "shows no face"),
    (["--whole-frame", "--faces", "largest"], "--faces"),
    (["--whole-frame", "--faces", "all"], "--faces"),
    (["--whole-frame", "--min-face", "10"], "--min-face"),
    (["--whole-frame", "--detector", "mtcnn"], "--detector"),
    (["--as-released", "--faces", "largest"], "--faces"),
    (["--as-released", "--window", "9"], "one window"),
    (["--model-size"], "whole_frame"),
    (["--as-released", "--model-size", "--scale", "2"], "leave out"),
    (["--detector", "viola"], "viola"),
    (["--min-face", "-1"], "min_face"),
    (["--min-face", "nan"], "min_face"),
    (["--overlap", "-1"], "overlap"),
    (["--window", "9", "--overlap", "9"], "overlap"),
    (["--preset", "prores"], "out.mp4"),
    (["--preset", "betamax"], "betamax"),
    (["--side-by-side", "side.gif"], ".mp4"),
]


@pytest.mark.parametrize("words, told", CASES, ids=[" ".join(words) for words, _ in CASES])
def test_said_before_the_model_is_looked_for(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.txt").write_text("no picture")
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    before = sorted(tmp_path.iterdir())
    assert main(["restore", str(clip("single_face")), "-o", "out.mp4", "--model", "no-such-model", *words]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and told in said[0] and "no-such-model" not in said[0], said
    assert sorted(tmp_path.iterdir()) == before
