"""Parts of videos, frames in memory, given tracks and masks."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
import torch

from tests.assets import clip, run_ffmpeg
from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.faces.detect import load_detector
from vividface_core.faces.masks import BlendMask, face_masks
from vividface_core.faces.parse import load_parser
from vividface_core.pipeline.analysis import find_faces, find_shots
from vividface_core.pipeline.restore import Given, RestoreOptions, restore_frames, restore_video
from vividface_core.restorers.base import Restorer
from vividface_core.video.source import ClipFrames, VideoFrames


class Darker(Restorer):
    """Changes every pixel by a known amount."""

    name = "darker"
    native_size, native_frames = 64, 9
    device, dtype, modules = torch.device("cpu"), torch.float32, {}

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        return (clip - 0.2).clamp(0, 1)

    def memory_for(self, frames, height, width):
        return 1

    def to(self, device=None, dtype=None):
        return self


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds of a face with a tone, 25 frames a second."""
    path = tmp_path_factory.mktemp("part") / "face.mkv"
    run_ffmpeg(
        "-i",
        clip("single_face"),
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:duration=2",
        "-t",
        "2",
        "-r",
        "25",
        "-vf",
        "scale=320:-2",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "pcm_s16le",
        path,
    )
    return path


def rgb(path):
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def times(path, kind):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        found = [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None]
    return found


@pytest.mark.parametrize("start, end, step, count", [(10, 30, 1, 20), (10, 30, 3, 7), (45, None, 1, 5), (0, 9, 2, 5)])
def test_a_part_is_the_same_frames_with_their_sound(video, tmp_path, start, end, step, count):
    part = VideoFrames(video, start, end, step)
    assert part.count == (count if end else None), "Matroska doesn't tell how many frames it holds"
    restore_video(part, tmp_path / "out.mkv", Darker(), RestoreOptions(preset="ffv1", strength=0.0))
    assert torch.equal(rgb(tmp_path / "out.mkv"), rgb(video)[start:end:step])
    shown = times(tmp_path / "out.mkv", "video")
    assert shown == pytest.approx([number * step / 25 for number in range(count)], abs=0.0011)
    seconds = ((end or 50) - start) / 25
    heard = times(tmp_path / "out.mkv", "audio")
    assert heard[0] < 0.1 and abs(heard[-1] - seconds) < 0.11
    assert part.info.fps == Fraction(25, step)


def test_parts_that_are_not_there(video):
    with pytest.raises(UnreadableVideo, match="no frame from number 50"):
        assert VideoFrames(video, 50).info
    with pytest.raises(UnreadableVideo, match="none from number 5000"):
        VideoFrames(clip("single_face"), 5000)
    with pytest.raises(InvalidOption, match="1 or more"):
        VideoFrames(video, step=0)


def test_frames_in_memory_give_what_the_file_gives(video, tmp_path):
    """Independent of the file's path through YUV: an 8-bit RGB file of the same frames."""
    frames = rgb(video)[:12]
    untouched = frames.clone()
    out, result = restore_frames(frames, Darker())
    assert result.tracks == 1 and result.frames == 12 and torch.equal(frames, untouched)
    changed = (out != frames).any(1)
    assert 0.02 < changed.float().mean() < 0.7
    assert (out - frames)[changed[:, None].expand_as(out)].abs().max() <= 0.2001
    restore_video(VideoFrames(video, 0, 12), tmp_path / "out.mkv", Darker(), RestoreOptions(preset="ffv1"))
    assert (rgb(tmp_path / "out.mkv") - out).abs().mean() < 0.004, "the file is YUV 4:2:0 with 8 bits"


def test_values_that_no_byte_holds_stay_outside_the_face():
    frames = rgb(clip("single_face"))[:3] * 0.987654321
    out, _ = restore_frames(frames, Darker())
    same = (out == frames).all(1)
    assert same.float().mean() > 0.3


def test_a_mask_limits_what_shows(video):
    frames = rgb(video)[:6]
    free, _ = restore_frames(frames, Darker())
    half = torch.zeros(1, *frames.shape[-2:])
    half[..., : frames.shape[-1] // 2] = 1
    held, _ = restore_frames(frames, Darker(), given=Given(mask=BlendMask(half)))
    left, right = slice(0, frames.shape[-1] // 2), slice(frames.shape[-1] // 2, None)
    assert torch.equal(held[..., left], free[..., left])
    assert torch.equal(held[..., right], frames[..., right]) and not torch.equal(free[..., right], frames[..., right])


def test_masks_that_do_not_fit(video):
    frames = rgb(video)[:6]
    with pytest.raises(InvalidOption, match="4 masks for 6 frames"):
        BlendMask(torch.ones(4, 10, 10), 6)
    with pytest.raises(InvalidOption, match="4 masks"):
        restore_frames(frames, Darker(), given=Given(mask=BlendMask(torch.ones(4, 10, 10))))
    with pytest.raises(InvalidOption, match="frames, height, width"):
        BlendMask(torch.ones(4, 3, 10, 10))


def test_given_tracks_are_used_and_cut_at_shots(video):
    frames, detector = rgb(video)[:10], load_detector("mtcnn")
    source = ClipFrames(frames)
    (shot,) = find_shots(source, lambda *_: None)
    (track,) = find_faces(source, shot, detector, lambda *_: None)
    out, result = restore_frames(frames, Darker(), given=Given([track.between(2, 5)]))
    assert result.tracks == 1
    touched = [bool((out[i] != frames[i]).any()) for i in range(10)]
    assert touched == [2 <= i < 5 for i in range(10)]
    assert track.between(20, 30) is None
    nobody, result = restore_frames(frames, Darker(), given=Given([]))
    assert torch.equal(nobody, frames) and result.tracks == 0
    with pytest.raises(InvalidOption, match="leave out one"):
        restore_frames(frames, Darker(), RestoreOptions(whole_frame=True), given=Given([track]))


def test_face_masks_lie_on_the_faces(video):
    frames, detector = rgb(video)[:4], load_detector("mtcnn")
    source = ClipFrames(frames)
    (track,) = find_faces(source, find_shots(source, lambda *_: None)[0], detector, lambda *_: None)
    masks = list(face_masks(source.read(), [track], load_parser("landmark-hull"), 128))
    assert len(masks) == 4 and masks[0].shape == frames.shape[-2:]
    for mask, box in zip(masks, track.boxes):
        x0, y0, x1, y1 = box.round().astype(int)
        inside = mask[y0:y1, x0:x1].mean()
        assert inside > 0.8 and mask.sum() < 4 * (x1 - x0) * (y1 - y0) and mask.min() == 0 and mask.max() <= 1


def test_a_clip_of_the_wrong_shape_is_refused():
    with pytest.raises(InvalidOption, match="frames, 3, height"):
        ClipFrames(torch.zeros(4, 10, 10, 3))
