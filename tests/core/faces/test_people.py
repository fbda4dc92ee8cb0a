"""People over cuts: hand-made tracks whose likeness is known."""

from __future__ import annotations

import numpy as np
import pytest

from vividface_core.errors import InvalidOption
from vividface_core.faces.people import find_people
from vividface_core.faces.select import people_of, select
from vividface_core.faces.track import FaceTrack


def track(first: int, frames: int, looks: list[float] | None, person: int = 0, side: float = 50) -> FaceTrack:
    boxes = np.tile(np.array([0, 0, side, 1.2 * side], np.float32), (frames, 1))
    empty = np.zeros((frames, 5, 2), np.float32), np.ones(frames, np.float32), np.zeros((frames, 3), np.float32)
    vector = None if looks is None else np.array(looks, np.float32) / np.linalg.norm(looks)
    return FaceTrack(person, person, first, boxes, *empty, embedding=vector)


def numbers(shots, threshold: float) -> list[list[int]]:
    return [[one.person for one in tracks] for tracks in find_people(shots, threshold)[0]]


ANNA, BERT = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


def test_the_same_looks_are_one_person_and_the_longest_seen_comes_first():
    shots = [
        [track(0, 10, BERT, 0), track(0, 10, ANNA, 1)],
        [track(10, 30, ANNA, 0)],
        [track(40, 5, BERT, 0, side=80), track(40, 5, ANNA, 1)],
    ]
    renumbered, people = find_people(shots, 0.5)
    assert [[one.person for one in tracks] for tracks in renumbered] == [[2, 1], [1], [2, 1]]
    assert [person.frames for person in people] == [45, 15]
    assert [len(person.tracks) for person in people] == [3, 2]
    assert people[1].size == 50, "10 frames of 50 pixels, 5 of 80"
    assert people[0].likeness(people[1]) == pytest.approx(0)
    assert [one.id for one in renumbered[0]] == [0, 1], "places in the shot stay"


def test_likeness_is_the_mean_over_frames_and_the_threshold_decides():
    # cos 60° = 0.5 to Anna; cos 30° = 0.866 to Bert.
    between = [np.cos(np.radians(60)), np.sin(np.radians(60)), 0]
    shots = [[track(0, 30, ANNA)], [track(30, 10, BERT)], [track(40, 10, between)]]
    assert numbers(shots, 0.9) == [[1], [2], [3]]
    assert numbers(shots, 0.6) == [[1], [2], [2]]
    # Bert and the one between are joined first; to Anna they are (0 + 0.5) / 2 = 0.25 together.
    assert numbers(shots, 0.26) == [[1], [2], [2]]
    assert numbers(shots, 0.24) == [[1], [1], [1]]
    _, people = find_people(shots, 0.6)
    assert people[0].likeness(people[1]) == pytest.approx(0.25)


def test_two_faces_at_one_time_are_two_people_however_alike():
    twins = [[track(0, 10, ANNA, 0), track(5, 10, ANNA, 1)], [track(15, 10, ANNA, 0)]]
    found = numbers(twins, 0.3)
    assert sorted(found[0]) == [1, 2] and found[1][0] in (1, 2)
    # Joined to one of the twins, the third can't be joined to the other.
    assert len(find_people(twins, 0.3)[1]) == 2


def test_what_the_tracker_holds_for_one_person_stays_together():
    away_and_back = [track(0, 5, ANNA, 3), track(20, 5, BERT, 3)]
    assert numbers([away_and_back], 0.9) == [[1, 1]]


def test_a_face_whose_looks_are_unknown_is_a_person_of_its_own():
    shots = [[track(0, 9, ANNA)], [track(9, 5, None)], [track(14, 6, ANNA)]]
    renumbered, people = find_people(shots, 0.3)
    assert [[one.person for one in tracks] for tracks in renumbered] == [[1], [2], [1]]
    assert people[0].likeness(people[1]) is None
    assert numbers([[track(0, 9, None)], [track(9, 5, None)]], 0.0) == [[1], [2]]
    assert find_people([[], []], 0.3) == ([[], []], [])


def test_a_choice_by_number():
    (tracks,), _ = find_people([[track(0, 9, ANNA, 0), track(0, 9, BERT, 1), track(10, 9, BERT, 1)]], 0.3)
    assert [one.first for one in select(tracks, "person:1")] == [0, 10], "18 frames before 9"
    assert [one.first for one in select(tracks, "person:2, 1")] == [0, 0, 10]
    assert select(tracks, "person:3") == []
    assert people_of("person:2,5") == {2, 5} and people_of("all") == set()
    for nonsense in ("person", "person:", "person:0", "person:-1", "person:a", "person:1,,2"):
        with pytest.raises(InvalidOption, match="list of numbers from 1"):
            select(tracks, nonsense)
