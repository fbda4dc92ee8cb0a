"""A film of four shots of the same two people: who they are, and another strength for one of them."""

from __future__ import annotations

import re

import av
import numpy as np
import pytest

from tests.assets import two_people_in_four_shots
from tests.command import one_sentence, vividface
from vividface_core.errors import InvalidOption
from vividface_core.pipeline.options import RestoreOptions, parse_strengths

FRAMES = 9


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return two_people_in_four_shots(tmp_path_factory.mktemp("film") / "four.mp4", FRAMES)


def luma(path) -> np.ndarray:
    with av.open(str(path)) as source:
        return np.stack([frame.to_ndarray()[:360] for frame in source.decode(video=0)]).astype(int)


@pytest.fixture(scope="module")
def restored(film, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("restored")

    def run(name: str, tracks: str, *words: object):
        output = folder / f"{name}.mkv"
        if not output.exists():
            coding = ["--preset", "ffv1", "--size", 64, "--identity-guard", "off"]
            told = vividface("restore", film, "-o", output, "--model", tiny_checkpoint, *coding, *words)
            assert told.returncode == 0, told.stderr
            assert f", 4 shots, {tracks} (" in told.stdout
        return luma(output)

    return run


def each(restored):
    """Restored are the first person only, and the second one only."""
    return [restored(f"{number}", "4 face tracks of 1 person", "--faces", f"person:{number}") for number in (1, 2)]


def test_two_people_are_found_not_eight_and_drawn(film, tmp_path):
    from PIL import Image

    sheet = tmp_path / "sheet.png"
    run = vividface("faces", film, "-o", sheet)
    assert run.returncode == 0, run.stderr
    told = re.findall(r"^person (\d): (\d+) frames in 4 of 4 shots, (\d+) pixels$", run.stdout, re.M)
    assert [(number, frames) for number, frames, _ in told] == [("1", str(4 * FRAMES)), ("2", str(4 * FRAMES))]
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and picture.width > 800
        seen = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # Franck sits before a bright blue wall: it must be on the sheet, though frames themselves aren't drawn.
    assert ((seen[:, 2] > 180) & (seen[:, 0] < 90)).mean() > 0.02
    one_sentence(vividface("faces", film, "-o", sheet), "sheet.png", "exists already")


def test_a_person_is_restored_in_all_shots_and_the_other_left_alone(film, restored):
    source, (first, second) = luma(film), each(restored)
    changed = [(source != one).any(axis=(1, 2)) for one in (first, second)]
    assert changed[0].all() and changed[1].all()
    both = (source != first) & (source != second)
    assert not both.any(), "two people side by side have no pixel in common"
    for shot in range(4):
        part = slice(shot * FRAMES, (shot + 1) * FRAMES)
        middles = [np.argwhere((source[part] != one[part]).any(0))[:, 1].mean() for one in (first, second)]
        # The first one stands left in the first and third shot.
        assert (middles[0] < 320) == (shot % 2 == 0) and (middles[1] < 320) == (shot % 2 == 1)


def test_the_second_at_half_strength_the_first_fully(film, restored):
    source, full = luma(film), restored("full", "8 face tracks of 2 people")
    half = restored("half", "8 face tracks of 2 people", "--strength", "1=1.0,2=0.5")
    all_half = restored("all-half", "8 face tracks of 2 people", "--strength", "0.5")
    first, second = (source != one for one in each(restored))
    assert np.array_equal(half[first], full[first])
    assert np.array_equal(half[second], all_half[second])
    assert np.array_equal(half[~first & ~second], source[~first & ~second])
    # Half of each change, but for what is cut off at black and white.
    change, shown = (np.abs(one[second] - source[second]).mean() for one in (full, half))
    assert change > 4 and 0.45 < shown / change < 0.6


def test_numbers_that_nobody_has_are_told_before_anything_is_restored(film, tiny_checkpoint, tmp_path):
    output = tmp_path / "out.mp4"
    for words in (["--faces", "person:3"], ["--strength", "1,3=0.5"]):
        run = vividface("restore", film, "-o", output, "--model", tiny_checkpoint, "--size", 64, *words)
        one_sentence(run, "There is no person 3", "2 people were found", "vividface faces")
    run = vividface("restore", film, "-o", output, "--model", tiny_checkpoint, "--strength", "2:0.5")
    one_sentence(run, "strength", "1=1.0,2=0.5")
    run = vividface("restore", film, "-o", output, "--model", tiny_checkpoint, "--whole-frame", "--strength", "2=0.5")
    one_sentence(run, "Whole frames")
    assert not output.exists()


def test_nobody_is_restored_at_strength_0(film, restored):
    assert np.array_equal(luma(film), restored("none", "0 face tracks", "--strength", "1,1=0,2=0"))


def test_strengths_as_they_are_written():
    assert parse_strengths("0.8") == (0.8, ())
    assert parse_strengths("1=1.0,2=0.5") == (1.0, ((1, 1.0), (2, 0.5)))
    assert parse_strengths(" 0.25 , 3=0 ") == (0.25, ((3, 0.0),))
    for nonsense in ("", "a", "1=", "=1", "0.5,0.6", "x=0.5", "1=0.5=2"):
        with pytest.raises(InvalidOption, match="strength is"):
            parse_strengths(nonsense)
    for pairs, word in ((((0, 0.5),), "numbered from 1"), (((2, 1.5),), "person 2"), (((1, 0.1), (1, 0.2)), "two")):
        with pytest.raises(InvalidOption, match=word):
            RestoreOptions(person_strengths=pairs)
    options = RestoreOptions(strength=0.0, person_strengths=((2, 0.5),))
    assert (options.strength_of(1), options.strength_of(2), options.strongest) == (0.0, 0.5, 0.5)


def test_a_threshold_that_parts_everybody(film, tmp_path):
    run = vividface("faces", film, "-o", tmp_path / "sheet.jpg", "--same-person", "1", "--quiet")
    assert run.returncode == 0, run.stderr
    assert len(re.findall("^person", run.stdout, re.M)) == 8
    one_sentence(vividface("faces", film, "-o", tmp_path / "s.png", "--same-person", "2"), "same_person")
    one_sentence(vividface("faces", film, "-o", film), "the input itself")
    one_sentence(vividface("faces", film, "-o", tmp_path / "sheet.txt"), ".png")
