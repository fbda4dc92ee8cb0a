from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch

from tests.assets import clip
from vividface_core.faces.detect import FaceDetection, load_detector
from vividface_core.faces.track import MAX_GAP, FaceTrack, Tracker

LAYOUT = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
SIZE = np.array([80, 100], np.float32)


def face(cx: float, cy: float = 150.0, score: float = 0.99, scale: float = 1.0) -> FaceDetection:
    corner = np.array([cx, cy], np.float32) - scale * SIZE / 2
    box = np.concatenate([corner, corner + scale * SIZE]).astype(np.float32)
    return FaceDetection(box, corner + LAYOUT * scale * SIZE, score)


class BrightnessEmbedder:
    """Knows people by the brightness at their noses: 0.2, 0.4 … are at right angles to each other. Counts its work."""

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, frame: torch.Tensor, landmarks: np.ndarray) -> np.ndarray:
        self.calls += len(landmarks)
        vectors = np.zeros((len(landmarks), 512), np.float32)
        for vector, (x, y) in zip(vectors, np.asarray(landmarks)[:, 2].astype(int)):
            vector[round(float(frame[0, y, x]) * 5)] = 1
        return vectors


def scene(*people: tuple[float, float]) -> torch.Tensor:
    """A picture with a bright or dark person at each ``(cx, brightness)``; later ones stand in front."""
    picture = torch.zeros(3, 300, 700)
    for cx, brightness in people:
        picture[:, 100:200, max(0, int(cx) - 40) : int(cx) + 40] = brightness
    return picture


def centres(track: FaceTrack) -> np.ndarray:
    return (track.boxes[:, 0] + track.boxes[:, 2]) / 2


def follow(paths, frames, hidden=lambda frame: ()):
    embedder = BrightnessEmbedder()
    tracker = Tracker(embedder)
    for frame in range(frames):
        people = [(path(frame), 0.2 * (number + 1)) for number, path in enumerate(paths)]
        seen = [face(cx) for number, (cx, _) in enumerate(people) if number not in hidden(frame)]
        tracker.update(frame, seen[:: -1 if frame % 2 else 1], scene(*people))
    return tracker.finish(), embedder


def test_two_people_who_cross_keep_their_tracks():
    paths = (lambda f: 100 + 8 * f, lambda f: 580 - 8 * f)
    # While the first is behind the second, the detector sees one face only.
    tracks, _ = follow(paths, 60, lambda f: (0,) if abs(paths[0](f) - paths[1](f)) < 70 else ())
    assert [(track.first, track.last) for track in tracks] == [(0, 60), (0, 60)]
    for track, path in zip(tracks, paths):
        assert np.abs(centres(track) - [path(f) for f in range(60)]).max() < 1
    assert tracks[0].person != tracks[1].person
    assert np.argmax(tracks[0].embedding) == 1 and np.argmax(tracks[1].embedding) == 2


def test_two_people_who_meet_and_turn_back_keep_their_tracks():
    """Constant velocity would let them pass through each other; only their looks tell that they did not."""
    paths = (lambda f: 290 - 8 * abs(f - 25), lambda f: 320 + 8 * abs(f - 25))
    tracks, _ = follow(paths, 50, lambda f: (0,) if abs(f - 25) < 4 else ())
    assert len(tracks) == 2
    for track, path in zip(tracks, paths):
        assert abs(centres(track)[-1] - path(49)) < 1


def test_lonely_faces_are_embedded_rarely():
    _, embedder = follow((lambda f: 200 + f, lambda f: 500 - f), 100)
    assert embedder.calls <= 2 * (3 + 100 // 6)


@pytest.mark.parametrize("gap", [1, 5, MAX_GAP])
def test_short_gaps_are_interpolated(gap):
    tracks, _ = follow((lambda f: 100 + 6 * f,), 40, lambda f: (0,) if 15 <= f < 15 + gap else ())
    assert len(tracks) == 1 and (tracks[0].first, tracks[0].last) == (0, 40)
    assert np.abs(centres(tracks[0]) - (100 + 6 * np.arange(40))).max() < 0.01
    assert np.abs(tracks[0].landmarks[:, 2, 0] - (100 + 6 * np.arange(40))).max() < 0.01
    assert (tracks[0].scores[15 : 15 + gap] == 0).all() and (tracks[0].scores > 0).sum() == 40 - gap


def test_a_long_absence_ends_the_track_but_not_the_person():
    gone = range(12, 12 + MAX_GAP + 3)
    tracks, _ = follow((lambda f: 100, lambda f: 500), 45, lambda f: (0,) if f in gone else ())
    assert [(track.first, track.last) for track in tracks] == [(0, 12), (gone.stop, 45), (0, 45)]
    assert [track.person for track in tracks] == [0, 0, 1]
    assert [track.id for track in tracks] == [0, 1, 2]


def test_someone_who_takes_the_place_of_another_is_another_track():
    """A dissolve, say: a face is found in every frame, and no cut."""
    tracker = Tracker(BrightnessEmbedder())
    for frame in range(60):
        tracker.update(frame, [face(200 + frame)], scene((200 + frame, 0.2 if frame < 31 else 0.8)))
    first, second = tracker.finish()
    assert (first.first, second.last, first.last) == (0, 60, second.first)
    # The look that told it comes a few frames late at most.
    assert 31 <= second.first <= 31 + 6
    assert first.person != second.person
    assert np.argmax(first.embedding) == 1 and np.argmax(second.embedding) == 4


def test_one_strange_look_does_not_end_a_track():
    tracker = Tracker(BrightnessEmbedder())
    for frame in range(60):
        tracker.update(frame, [face(200)], scene((200, 0.8 if frame in (20, 21, 40) else 0.2)))
    assert len(tracker.finish()) == 1


def test_someone_else_in_the_same_place_is_another_track():
    tracker = Tracker(BrightnessEmbedder())
    for frame in range(30):
        if not 10 <= frame < 18:
            tracker.update(frame, [face(200)], scene((200, 0.2 if frame < 10 else 0.8)))
        else:
            tracker.update(frame, [], scene())
    tracks = tracker.finish()
    assert [(track.first, track.last) for track in tracks] == [(0, 10), (18, 30)]
    assert tracks[0].person != tracks[1].person


def test_spurious_detections_are_dropped():
    tracker = Tracker(BrightnessEmbedder())
    for frame in range(20):
        found = [face(200)] + [face(204, 152)] * (frame % 2) + [face(500, score=0.5)]
        tracker.update(frame, found + [face(600, 50)] * (frame in (4, 5)), scene((200, 0.2)))
    tracks = tracker.finish()
    assert len(tracks) == 1 and len(tracks[0].boxes) == 20 and np.allclose(centres(tracks[0]), 200, atol=5)
    short = Tracker()
    for frame in range(7, 9):
        short.update(frame, [face(200)])
    assert [(track.first, track.last) for track in short.finish()] == [(7, 9)]


def test_without_pictures_places_alone_decide():
    tracker = Tracker()
    for frame in range(100, 130):
        tracker.update(frame, [face(400 + 3 * frame), face(100 + frame)])
    tracks = tracker.finish()
    assert [track.first for track in tracks] == [100, 100] and [len(track.boxes) for track in tracks] == [30, 30]
    assert centres(tracks[0])[0] < centres(tracks[1])[0] and tracks[0].embedding is None
    assert Tracker().finish() == []


def test_jitter_does_not_reach_the_crops():
    random = np.random.default_rng(1)
    tracker = Tracker()
    for frame in range(80):
        shift = random.normal(0, 1.5, 2)
        tracker.update(frame, [face(100 + 4 * frame + shift[0], 150 + shift[1], scale=1 + random.normal(0, 0.01))])
    (track,) = tracker.finish()
    raw = np.abs(np.diff(centres(track), 2)).mean()
    assert raw > 5 * np.abs(np.diff(track.crops[:, 0], 2)).mean()
    assert np.abs(track.crops[:, 0] - (100 + 4 * np.arange(80))).max() < 3


def test_json_is_lossless():
    tracks, _ = follow((lambda f: 100 + 2.3 * f,), 12)
    back = FaceTrack.from_json(json.loads(json.dumps(tracks[0].to_json())))
    for name in ("boxes", "landmarks", "scores", "crops", "embedding"):
        one, other = getattr(tracks[0], name), getattr(back, name)
        assert one.dtype == other.dtype == np.float32 and np.array_equal(one, other)
    assert (back.id, back.person, back.first, back.last) == (0, 0, 0, 12)


def test_a_whole_frame_is_a_track_too():
    track = FaceTrack.whole_frame(5, 21)
    assert (track.first, track.last, track.embedding) == (5, 21, None) and not track.boxes.any()
    back = FaceTrack.from_json(json.loads(json.dumps(track.to_json())))
    assert (back.first, back.last) == (5, 21) and back.embedding is None


def test_a_real_face_is_followed_through_a_real_clip():
    detector, tracker = load_detector(), Tracker()
    with av.open(str(clip("franck"))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == 24:
                break
            rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
            tracker.update(index, detector.detect(rgb[None])[0], rgb)
    (track,) = tracker.finish()
    assert (track.first, track.last) == (0, 24)
    assert np.linalg.norm(track.embedding) == pytest.approx(1, abs=1e-4)
    inside = np.abs(track.landmarks - track.crops[:, None, :2]) < 0.4 * track.crops[:, None, 2:]
    assert inside.all()
