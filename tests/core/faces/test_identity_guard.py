"""A restorer that draws another real person is noticed, and held back; one that doesn't is left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from benchmarks.identity_guard import put_face
from tests.assets import clip, two_people_and_a_cut
from vividface_core.cli.main import build_parser, main
from vividface_core.errors import Interrupted, InvalidOption
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import load_detector
from vividface_core.faces.embed import load_embedder
from vividface_core.faces.identity_guard import EVERY, REACH, STRETCH, THRESHOLD, IdentityGuard, TrackIdentity, warnings
from vividface_core.pipeline.analysis import find_faces
from vividface_core.pipeline.restore import Callbacks, Given, RestoreOptions, Resuming, restore_frames, restore_video
from vividface_core.restorers.base import Restorer
from vividface_core.video.reader import VideoReader
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames

SIZE, FRAMES = 128, 48
DARK = slice(19, 30)
"""Frames of the test clip in which the light is lowest."""


def read(name: str, start: int, end: int) -> torch.Tensor:
    with VideoReader(clip(name), start_frame=start, end_frame=end) as reader:
        return torch.stack([frame.rgb() for frame in reader])


class Untouched(Restorer):
    """Gives back what it gets."""

    name = "untouched"
    native_size, native_frames = SIZE, 17
    device, dtype, modules = torch.device("cpu"), torch.float32, {}

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        return clip.clone()

    def memory_for(self, frames, height, width):
        return 1

    def to(self, device=None, dtype=None):
        return self


class Stranger(Untouched):
    """Draws the person of another clip over every face, or over those in the dark only; each frame by itself."""

    name = "stranger"

    _drawings: ClassVar[dict[bytes, torch.Tensor]] = {}

    def __init__(self, *, below: float = 2.0) -> None:
        self._below, self._detector = below, load_detector("mtcnn")
        self._face = read("cap12", 100, 101)[0]
        self._points = self._detector.detect(self._face[None])[0][0].landmarks

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        return torch.stack([self._drawn(frame) if frame.mean() < self._below else frame for frame in clip])

    def _drawn(self, frame):
        key = frame.numpy().tobytes()  # many tests draw over the same frames
        if key not in self._drawings:
            found = self._detector.detect(frame[None])[0]
            drawn = put_face(frame, found[0].landmarks, self._face, self._points) if found else frame
            self._drawings[key] = drawn
        return self._drawings[key]


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """A man who sits and looks into the camera; the light goes down and comes back."""
    given = torch.nn.functional.interpolate(read("single_face", 0, FRAMES), scale_factor=0.5, mode="area")
    share = ((torch.arange(FRAMES) - 8) / 32).clamp(0, 1)
    return given * (1 - 0.6 * torch.sin(torch.pi * share) ** 2).view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def tracks(frames):
    found = find_faces(ClipFrames(frames), Shot(0, len(frames)), load_detector("mtcnn"), lambda *_: None)
    assert len(found) == 1 and (found[0].first, found[0].last) == (0, FRAMES)
    return found


@pytest.fixture(scope="module")
def level(frames, tracks) -> float:
    """Between the brightness of dark crops and of the others."""
    means = [float(crop_clip(frame, crop, SIZE).mean()) for frame, crop in zip(frames, tracks[0].crops)]
    dark, light = max(means[DARK]), min(means[: DARK.start] + means[DARK.stop :])
    assert dark < light
    return (dark + light) / 2


@pytest.fixture(scope="module")
def stranger_shown(frames, tracks):
    """By mode: frames and report of a run that draws the stranger in every frame."""
    return {mode: run(frames, tracks, Stranger(), identity_guard=mode) for mode in ("off", "warn", "blend")}


def run(frames, tracks, restorer, **options):
    return restore_frames(frames, restorer, RestoreOptions(**{"window": 17, **options}), given=Given(tracks))


def likeness(before: torch.Tensor, after: torch.Tensor, track) -> np.ndarray:
    """Cosine of every frame to its input, in whole frames and not in the crops that the guard sees."""
    embedder, alike = load_embedder(), []
    for one, other, points in zip(before, after, track.landmarks):
        a, b = (embedder.embed(picture, points[None])[0] for picture in (one, other))
        alike.append(float(a @ b))
    return np.array(alike)


def test_another_person_is_noticed_and_no_pixel_changes(frames, tracks, stranger_shown):
    (off, silent), (warned, report) = stranger_shown["off"], stranger_shown["warn"]
    assert torch.equal(off, warned)
    assert silent.identity == [] and silent.notices == []
    figure = report.identity[0]
    assert len(report.identity) == 1 and len(report.notices) == 1
    assert "Shot 1, face 0, frames 0 to 47" in report.notices[0] and "somebody else" in report.notices[0]
    assert (figure.first, figure.last, figure.looks) == (0, FRAMES, FRAMES // EVERY)
    assert figure.lowest <= figure.mean < THRESHOLD and figure.share == 1
    seen = likeness(frames, warned, tracks[0])
    assert abs(figure.mean - seen.mean()) < 0.1, "crops and frames agree"


def test_blending_brings_the_likeness_back_and_stays_inside(frames, tracks, stranger_shown):
    (warned, _), (blended, report) = stranger_shown["warn"], stranger_shown["blend"]
    assert likeness(frames, warned, tracks[0]).mean() < THRESHOLD
    assert likeness(frames, blended, tracks[0]).min() > THRESHOLD - 0.05
    figure = report.identity[0]
    assert figure.mean == stranger_shown["warn"][1].identity[0].mean, "what the restorer did, not what was made of it"
    assert 0.1 < figure.share < 0.9
    assert "blended back" in report.notices[0] and f"{figure.share:.0%}" in report.notices[0]
    touched = (warned != frames).any(1)
    assert torch.equal(blended.movedim(1, -1)[~touched], frames.movedim(1, -1)[~touched])
    assert 0.02 < touched.float().mean() < 0.7
    # It is less of the same change: between the input and the stranger, and clearly changed.
    assert (blended - frames).abs().mean() < 0.9 * (warned - frames).abs().mean()
    assert (blended != frames).any(1).flatten(1).any(1).all()


def test_the_same_person_is_left_alone(frames, tracks):
    (warned, report), (blended, also) = (run(frames, tracks, Untouched(), identity_guard=m) for m in ("warn", "blend"))
    assert torch.equal(warned, blended)
    assert report.notices == also.notices == [] and report.identity == also.identity
    assert report.identity[0].lowest == pytest.approx(1, abs=1e-4)


def test_a_small_model_s_own_restoration_is_left_alone(frames, tracks):
    from vividface_core.weights import load_restorer

    nano, few = load_restorer("vividface-nano"), frames[:17]
    part = [tracks[0].between(0, 17)]
    soft = torch.nn.functional.avg_pool2d(few, 5, 1, 2, count_include_pad=False)
    (warned, report), (blended, _) = (
        run(soft, part, nano, size=96, window=9, identity_guard=m) for m in ("warn", "blend")
    )
    assert torch.equal(warned, blended) and report.notices == [] and report.identity[0].mean > 0.4


@pytest.mark.parametrize("mode", ["warn", "blend"])
def test_windows_make_no_difference(frames, tracks, level, mode):
    """The restorer works frame by frame, so that all that could differ is the guard's."""
    wanted, report = run(frames, tracks, Stranger(below=level), identity_guard=mode, window=49)
    for window, overlap in ((5, 1), (17, 8)):
        got, other = run(frames, tracks, Stranger(below=level), identity_guard=mode, window=window, overlap=overlap)
        assert torch.equal(got, wanted) and other.identity == report.identity
    assert report.identity[0].mean > THRESHOLD, "the rest of the track is right"
    assert (wanted - frames)[DARK].abs().amax((1, 2, 3)).min() > 0.05, "each frame in the dark shows some stranger"


def test_shares_are_the_smoothed_minimum_of_what_each_look_bears(frames, tracks, level):
    """Against a search over a fine grid and plain numpy."""
    track, embedder, stranger = tracks[0], load_embedder(), Stranger(below=level)
    cuts = torch.stack([crop_clip(frame, crop, SIZE) for frame, crop in zip(frames, track.crops)])
    restored = stranger.restore(cuts)
    guard, shares = IdentityGuard(embedder, track, SIZE, blends=True), []
    for at in range(FRAMES):
        guard.look(cuts[at], restored[at])
        while len(shares) < FRAMES and guard.knows(len(shares)):
            shares.append(guard.take(len(shares)))
        assert len(shares) == FRAMES if at == FRAMES - 1 else len(shares) == max(0, at - 2 * REACH + 1)

    points = (track.landmarks - track.crops[:, None, :2]) * (SIZE / track.crops[:, None, 2:]) + SIZE / 2
    bears = np.ones(FRAMES)
    for at in range(0, FRAMES, EVERY):
        source = embedder.embed(cuts[at], points[at][None])[0]

        def alike(share: float, at=at, source=source) -> float:
            mixed = cuts[at] + share * (restored[at] - cuts[at])
            return float(source @ embedder.embed(mixed, points[at][None])[0])

        if alike(1.0) < THRESHOLD:
            bears[at] = next(share for share in np.linspace(0, 1, 129).tolist() if alike(share) < THRESHOLD)
    assert (bears < 1).sum() == len(range(DARK.start, DARK.stop, EVERY))
    eroded = np.array([bears[max(0, at - REACH) : at + REACH + 1].min() for at in range(FRAMES)])
    window = np.hanning(2 * REACH + 3)[1:-1]
    wanted = np.convolve(eroded, window)[REACH:-REACH] / np.convolve(np.ones(FRAMES), window)[REACH:-REACH]
    # The guard halves down to 1/64 and takes the safe side.
    assert np.all(shares <= wanted + 1e-6) and np.all(shares >= wanted - 1 / 64 - 1 / 128)
    assert np.abs(np.diff(shares)).max() <= 1 / (REACH + 1) + 1e-6, "no jump"
    assert shares[0] == shares[-1] == 1


def test_a_lower_strength_is_what_is_judged(frames, tracks):
    full, less = (run(frames, tracks, Stranger(), strength=s)[1].identity[0].mean for s in (1.0, 0.3))
    assert less > full + 0.2


def test_frames_without_a_found_face_are_not_judged(frames, tracks):
    track = replace(tracks[0].between(0, 20), scores=np.zeros(20, np.float32))
    assert run(frames, [track], Stranger())[1].identity == []
    track.scores[8:] = 1
    figure = run(frames, [track], Stranger(), identity_guard="blend")[1].identity[0]
    assert figure.looks == 3 and figure.share < 0.95


class StopIn(Callbacks):
    """Ends the run at a frame."""

    def __init__(self, index: int) -> None:
        self._index = index

    def frame(self, frame):
        if frame.index == self._index:
            raise Interrupted("stopped")


def test_figures_and_pictures_survive_an_interruption(tmp_path):
    source = two_people_and_a_cut(tmp_path / "in.mp4", 20, 16)
    options = RestoreOptions(preset="ffv1", window=9, identity_guard="blend", faces="index:0", size=96)
    calm = restore_video(source, tmp_path / "calm.mkv", Stranger(), options)
    output = tmp_path / "out.mkv"
    with pytest.raises(Interrupted):
        restore_video(source, output, Stranger(), options, callbacks=StopIn(25))
    work = tmp_path / ".out.mkv.vividface"
    assert [figure["shot"] for figure in json.loads((work / "identity-00000.json").read_text())] == [0]
    resumed = restore_video(source, output, Stranger(), options, resuming=Resuming(resume=True))
    assert resumed.resumed_shots == 1 and not work.exists()
    assert [(figure.shot, figure.first, figure.last) for figure in calm.identity] == [(0, 0, 20), (1, 20, 36)]
    assert resumed.identity == calm.identity and resumed.notices == calm.notices and len(calm.notices) == 2
    pictures = []
    for path in (calm.output, output):
        with VideoReader(path) as reader:
            pictures.append(torch.stack([frame.rgb() for frame in reader]))
    assert torch.equal(*pictures)


def figure_of(number: int, mean: float, lowest: float) -> TrackIdentity:
    return TrackIdentity(
        number, 1, 100 * number, 100 * number + 90, 23, mean, lowest, 100 * number + 8, 100 * number + 37
    )


def test_what_the_user_is_told():
    fine, all_of_it, part = figure_of(0, 0.8, 0.3), figure_of(1, 0.12, 0.05), figure_of(2, 0.6, 0.15)
    lines = warnings([fine, all_of_it, part], THRESHOLD, blends=False)
    assert len(lines) == 2
    assert lines[0].startswith("Shot 2, face 1, frames 100 to 189: ") and "0.12" in lines[0]
    assert lines[1].startswith("Shot 3, face 1, frames 208 to 236: ") and "0.15" in lines[1]
    many = warnings([figure_of(n, 0.1, 0.1 - n / 1000) for n in range(30)], THRESHOLD, blends=True)
    assert len(many) == 9 and many[0].startswith("Shot 23, ") and many[-1].startswith("22 more")


def test_a_bad_second_in_a_long_track_counts(frames, tracks):
    """The stranger appears for a second in the middle; the mean over the track is fine."""
    embedder, stranger, track = load_embedder(), Stranger(), tracks[0]
    cut = crop_clip(frames[0], track.crops[0], SIZE)
    drawn = stranger.restore(cut[None])[0]
    still = {name: np.repeat(getattr(track, name)[:1], 160, 0) for name in ("boxes", "landmarks", "scores", "crops")}
    guard = IdentityGuard(embedder, type(track)(0, 0, 1000, **still), SIZE)
    for at in range(160):
        guard.look(cut, drawn if 60 <= at < 60 + STRETCH * EVERY else cut)
    figure = guard.figures(0)
    assert figure.mean > 0.7 and figure.lowest < THRESHOLD
    assert (figure.worst_first, figure.worst_last) == (1060, 1060 + (STRETCH - 1) * EVERY + 1)


def test_options(capsys, tmp_path):
    for wrong in ({"identity_guard": "always"}, {"identity_threshold": 1.5}, {"identity_threshold": -0.1}):
        with pytest.raises(InvalidOption, match=next(iter(wrong))):
            RestoreOptions(**wrong)
    with pytest.raises(InvalidOption, match="whole"):
        RestoreOptions(whole_frame=True, identity_guard="blend")
    given = build_parser().parse_args(["restore", "in.mp4", "-o", "out.mp4"])
    assert (given.identity_guard, given.identity_threshold) == ("warn", THRESHOLD)
    assert RestoreOptions().identity_guard == "warn" and RestoreOptions().identity_threshold == THRESHOLD
    wrong = ["restore", str(clip("single_face")), "-o", str(tmp_path / "out.mp4"), "--identity-guard", "maybe"]
    assert main(wrong) == 1 and "warn, blend" in capsys.readouterr().err


def test_whole_frames_are_not_looked_at(frames):
    _, report = restore_frames(frames[:5], Untouched(), RestoreOptions(whole_frame=True, window=5))
    assert report.identity == [] and report.notices == []
