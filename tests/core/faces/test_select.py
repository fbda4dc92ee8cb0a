from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from tests.assets import clip
from vividface_core.errors import InvalidOption, NoFaceFound
from vividface_core.faces.detect import load_detector
from vividface_core.faces.embed import load_embedder
from vividface_core.faces.select import check_spec, read_picture, select
from vividface_core.faces.track import FaceTrack, Tracker


def track(number: int, size: float, person: int | None = None) -> FaceTrack:
    boxes = np.tile(np.array([0, 0, size, 1.3 * size], np.float32), (9, 1))
    boxes[0] *= 5  # one wild box doesn't make a face large
    person = number if person is None else person
    empty = np.zeros((9, 5, 2), np.float32), np.ones(9, np.float32), np.zeros((9, 3), np.float32)
    return FaceTrack(number, person, 0, boxes, *empty)


TRACKS = [track(0, 40), track(1, 90), track(2, 20), track(3, 60, person=1)]


def chosen(spec: str, **options) -> list[int]:
    return [one.id for one in select(TRACKS, spec, **options)]


def test_choices():
    assert chosen("all") == [0, 1, 2, 3]
    assert chosen("largest") == [1, 3], "the same person's other track belongs to it"
    assert chosen("index:2,0") == [0, 2]
    assert chosen("index: 1, 7") == [1]
    assert chosen("all", min_size=40) == [0, 1, 3]
    assert chosen("index:0,2", min_size=30) == [0]


@pytest.mark.parametrize("spec", ["", "biggest", "index", "index:", "index:a", "index:-1", "index:1,,2", "ref:", "ref"])
def test_nonsense_is_refused_even_without_tracks(spec):
    for tracks in ([], TRACKS):
        with pytest.raises(InvalidOption) as caught:
            select(tracks, spec)
        assert repr(spec) in str(caught.value) and "largest" in str(caught.value)


def test_the_reference_must_exist_and_be_a_picture(tmp_path):
    with pytest.raises(InvalidOption, match="nobody.png"):
        select([], f"ref:{tmp_path}/nobody.png")
    (tmp_path / "words.png").write_text("no picture")
    check_spec(f"ref:{tmp_path}/words.png")
    with pytest.raises(InvalidOption, match="words.png"):
        select(TRACKS, f"ref:{tmp_path}/words.png", detector=load_detector(), embedder=load_embedder())


def frames(name: str, numbers: range) -> list[torch.Tensor]:
    found = []
    with av.open(str(clip(name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index >= numbers.stop:
                break
            if index in numbers:
                found.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255)
    return found


def save(picture: torch.Tensor, path) -> str:
    from PIL import Image

    Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
    return f"ref:{path}"


def test_a_picture_picks_its_person(tmp_path):
    detector, embedder = load_detector(), load_embedder()
    tracks = []
    for number, name in enumerate(("franck", "cap12")):
        tracker = Tracker(embedder)
        for index, rgb in enumerate(frames(name, range(4))):
            tracker.update(index, detector.detect(rgb[None])[0], rgb)
        (found,) = tracker.finish()
        found.id = number
        tracks.append(found)
    for number, name in enumerate(("franck", "cap12")):
        spec = save(frames(name, range(40, 48, 8))[0], tmp_path / f"{name}.png")
        picked = select(tracks, spec, detector=detector, embedder=embedder)
        assert [one.id for one in picked] == [number]
    no_face = save(torch.full((3, 120, 160), 0.5), tmp_path / "wall.png")
    with pytest.raises(NoFaceFound, match="wall.png"):
        select(tracks, no_face, detector=detector, embedder=embedder)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_pictures_stand_upright(tmp_path, orientation, turns):
    from PIL import Image

    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "phone.jpg", quality=95, exif=exif)
    expected = torch.rot90(torch.from_numpy(stored).permute(2, 0, 1).float() / 255, turns, (1, 2))
    picture = read_picture(tmp_path / "phone.jpg")
    assert picture.shape == expected.shape and (picture - expected).abs().mean() < 0.02
