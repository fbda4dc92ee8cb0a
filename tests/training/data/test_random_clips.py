"""Random training clips: the same for the same number, moving, with masks that follow the face."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from training.config import Data
from training.data.manifest import write_manifest
from training.data.people import grouped, held_back
from training.data.random_clips import Material, RandomClips, as_a_sensor_sees
from training.data.shards import ShardReader
from training.data.sources import PreparedClips
from training.data.synthetic_motion import Move, cut, smooth_path
from training.material_videos import write_videos
from training.nano.cache import main as cache
from training.nano.find_faces import main as find_faces
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.video.reader import VideoReader
from vividface_core.wan.loading import load_vae
from vividface_core.wan.vae import encode


def config(folder, **values):
    return Data(**{"kind": "clips", "path": folder, "frames": 9, "size": 64, **values})


def draw(source, number, seed=0):
    return source.sample(number, np.random.default_rng((seed, number)))


def test_faces_are_found_with_masks_in_every_frame(material):
    source = RandomClips(config(material))
    assert {"00000", "00002"} <= set(source._material.faces) | {"00000"}
    mask = source._material.mask("00002")
    assert mask.shape == (17, 90, 160) and all(0.01 < float(frame.float().mean()) < 0.5 for frame in mask)
    assert source._material.mask("00001") is None


def test_samples_have_their_shapes_and_ranges(material):
    source = RandomClips(config(material))
    for number in range(12):
        sample = draw(source, number)
        assert sample["clean"].shape == sample["degraded"].shape == (3, 9, 64, 64)
        assert sample["pixel_mask"].shape == (1, 9, 64, 64) and sample["pixel_mask"].dtype == torch.uint8
        assert -1 <= sample["clean"].min() and sample["clean"].max() <= 1
        assert (sample["clean"] - sample["degraded"]).abs().mean() > 1e-3
        assert sample["pixel_mask"].any()


def test_the_same_number_is_the_same_sample_also_in_a_worker(material):
    source = RandomClips(config(material))
    travelled = pickle.loads(pickle.dumps(source))
    for number in (0, 5):
        one, other = draw(source, number), draw(travelled, number)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(draw(source, 0)["clean"], draw(source, 1)["clean"])


def test_stills_move_and_can_stand_still(material):
    moving, standing = (RandomClips(config(material, faces=0.0, still_warp=warp)) for warp in (1.0, 0.0))
    for source, moves in ((moving, True), (standing, False)):
        source._keys = ["00001"]
        steps = [float(draw(source, n)["clean"].diff(dim=1).abs().mean()) for n in range(8)]
        # Light may change over any clip, so one that stands still isn't quite without differences.
        assert (np.median(steps) > 0.005) == moves, steps


def test_masks_lie_on_the_face(material):
    """Around a known face the mask covers its middle and leaves the corners free."""
    source = RandomClips(config(material, faces=1.0, size=96, canvas=96, still_warp=0.2))
    source._faces = ["00002"]
    for number in range(6):
        mask = draw(source, number)["pixel_mask"][0].float()
        assert mask[:, 40:56, 40:56].mean() > 0.9
        assert mask[:, :6, :6].mean() < 0.1 and mask[:, -6:, -6:].mean() < 0.35


def test_validation_clips_are_never_trained_on(material):
    source, held = (RandomClips(config(material), validation=validation) for validation in (False, True))
    assert not set(source._keys) & set(held._keys)
    assert set(source._keys) | set(held._keys) == {"00000", "00001", "00002", "00003"}


def test_an_unprepared_folder_says_what_to_do(tmp_path):
    with pytest.raises(MissingWeights, match=r"training\.nano\.prepare"):
        RandomClips(config(tmp_path))


def test_a_move_without_strength_is_a_plain_crop():
    picture = torch.rand(1, 3, 80, 120)
    move = Move.sample(3, np.array([60.0, 40.0]), 64.0, 0.0, np.random.default_rng(0))
    got = cut(picture, move.grid(64, 80, 120), 64.0)
    assert torch.allclose(got, picture[:, :, 8:72, 28:92].expand(3, -1, -1, -1), atol=2e-4)


def test_a_strip_that_shrinking_would_leave_nothing_of_is_cut_as_it_is():
    move = Move.sample(2, np.array([60.0, 40.0]), 300.0, 0.0, np.random.default_rng(0))
    strip = torch.full((2, 3, 3, 120), 0.25)
    assert torch.allclose(cut(strip, move.grid(64, 3, 120), 300.0), torch.full((2, 3, 64, 64), 0.25), atol=1e-6)


def test_paths_are_smooth():
    path = smooth_path(81, np.random.default_rng(3))
    assert path.shape == (81,) and np.abs(np.diff(path)).max() < 0.35


def test_cached_clips_are_the_encoded_samples(material, tiny_checkpoint, tmp_path):
    """The same clips as on the fly, through the autoencoder; a second run adds nothing, another recipe is refused."""
    arguments = [
        str(material),
        "--vae",
        str(tiny_checkpoint / "vae"),
        "--out",
        str(tmp_path / "cache"),
        "--samples",
        "4",
        "--size",
        "64",
        "--canvas",
        "64",
        "--workers",
        "0",
        "--device",
        "cpu",
        "--seed",
        "3",
    ]
    assert cache(arguments) == 0
    reader = ShardReader(tmp_path / "cache")
    assert len(reader) == 4 and reader[0]["high"].shape == (8, 3, 8, 8) and reader[0]["mask"].shape == (1, 3, 8, 8)
    source = RandomClips(config(material, canvas=64, faces=0.8, zoom=(0.2, 0.6)))
    sample = source.sample(2, np.random.default_rng((3, 0, 2)))
    vae = load_vae(tiny_checkpoint / "vae")
    with torch.inference_mode():
        for part, name in (("clean", "high"), ("degraded", "low.0")):
            assert torch.allclose(encode(vae, sample[part][None])[0], reader[2][name].float(), atol=5e-3)
    before = (tmp_path / "cache" / "00000.safetensors").read_bytes()
    assert cache(arguments) == 0
    assert (tmp_path / "cache" / "00000.safetensors").read_bytes() == before
    assert cache([*arguments, "--zoom", "0.5", "0.9"]) == 1
    data = Data(path=tmp_path / "cache", frames=5, validation=tmp_path / "cache")
    shorter = PreparedClips(data, validation=False, pixels=False, seed=0, temporal_ratio=4)
    assert shorter.sample(0, np.random.default_rng(0))["low"].shape == (8, 2, 8, 8)
    with pytest.raises(UnsupportedCheckpoint, match="without --pixels"):
        PreparedClips(data, validation=False, pixels=True, seed=0, temporal_ratio=4)


def test_real_world_footage_greys_both_and_leaves_some_clean(material):
    """With the wider preset a grey input has a grey target; the clean part is the target itself."""
    source = RandomClips(config(material, degradation="real_world", frames=5))
    kinds = {"grey": 0, "clean": 0, "colour": 0}
    for number in range(120):
        sample = draw(source, number)
        clean, degraded = sample["clean"], sample["degraded"]
        spread = [float((x.amax(0) - x.amin(0)).max()) * 127.5 for x in (clean, degraded)]
        assert (spread[0] < 1e-3) <= (spread[1] <= 6), "a grey target never goes with a coloured input"
        kind = "grey" if spread[0] < 1e-3 else "clean" if torch.equal(clean, degraded) else "colour"
        kinds[kind] += 1
    assert kinds["grey"] >= 1 and kinds["clean"] >= 4 and kinds["colour"] > 80, kinds


def test_parts_of_a_mixture_are_drawn_as_often_as_a_run_wants(material):
    shares = {word: 0 for word in ("light", "paper", "web", "twice", "interlaced", "ringing", "grain", "grey")}
    source = RandomClips(config(material, degradation="real_world", shares=shares, frames=5))
    for number in range(8):
        sample = draw(source, number)
        assert torch.equal(sample["clean"], sample["degraded"]), "clean is all that is left"
    for wrong, says in (({"fog": 3}, "'fog'"), ({**shares, "clean": 0}, "no share")):
        with pytest.raises(InvalidOption, match=says):
            RandomClips(config(material, degradation="real_world", shares=wrong))
    with pytest.raises(InvalidOption, match="no mixture"):
        RandomClips(config(material, shares={"web": 3}))


def test_only_clips_that_are_not_degraded_have_a_camera_s_noise(material):
    values = {"degradation": "real_world", "still_warp": 0.0, "size": 32, "frames": 3}
    plain, noisy = (RandomClips(config(material, camera_noise=noise, **values)) for noise in (0.0, 6.0))
    strengths = []
    for number in range(60):
        without, sample = draw(plain, number), draw(noisy, number)
        if not torch.equal(without["clean"], without["degraded"]):
            assert torch.equal(without["clean"], sample["clean"])
            continue
        assert torch.equal(sample["clean"], sample["degraded"])
        # Where nothing is clipped at black or white.
        grey = (without["clean"].abs() < 0.7).all(1, keepdim=True).expand_as(without["clean"])
        strengths.append(float((sample["clean"] - without["clean"])[grey].std()) * 127.5)
    # Drawn between 0 and 6, and measured on few pixels.
    assert len(strengths) > 2 and 3 < max(strengths) < 7.5


def test_a_camera_s_noise_is_fine_or_as_coarse_as_in_an_enlarged_picture():
    grey, alike, deviations = torch.full((2, 3, 60, 64), 0.5), [], []
    for seed in range(40):
        noise = (as_a_sensor_sees(grey, 4.0, np.random.default_rng(seed)) - grey)[:, 0]
        left, right = noise[..., :-1].flatten(), noise[..., 1:].flatten()
        alike.append(float(torch.corrcoef(torch.stack([left, right]))[0, 1]))
        deviations.append(float(noise.std()) * 255)
    fine = sum(abs(one) < 0.1 for one in alike)
    assert 10 < fine < 30 and max(alike) > 0.7, "neighbours have much in common where noise was enlarged"
    assert 3 < max(deviations) < 4.2 and min(deviations) < 1
    assert as_a_sensor_sees(grey, 0.0, np.random.default_rng(0)) is grey


def test_small_faces_can_be_left_out(material):
    faces = RandomClips(config(material))._material.faces
    largest = max(box[2] for boxes in faces.values() for box in boxes)
    source = RandomClips(config(material, smallest_face=largest - 1))
    for key in source._faces:
        assert all(box[2] >= largest - 1 for box in source._boxes[key])
    assert sum(map(len, source._boxes.values())) == 1


def test_people_and_files_are_kept_whole_on_one_side():
    """Numbered variants of a file and look-alike faces are one group, whole groups are held back, and which ones
    doesn't depend on the order of the clips."""
    face = np.eye(512, dtype=np.float32)
    origin = {f"{n:05d}": {"file": f"clip{n // 3}-{n % 3}.webp"} for n in range(600)}
    origin |= {"00600": {"file": "other.jpg"}}
    looks = {"00000": face[:1], "00600": face[:1], "00030": face[1:2]}
    groups = grouped(origin, looks)
    assert groups["00000"] == groups["00002"] == groups["00600"] != groups["00030"]
    assert len(set(groups.values())) == 200
    faces = {"00000": [[0, 0, 300]], "00030": [[0, 0, 300]], "00060": [[0, 0, 120]]}
    held = held_back(groups, faces, {"00030"})
    assert all(groups[a] != groups[b] for a in held for b in set(groups) - held)
    assert len({groups[key] for key in held}) == 8 + 3, "every 25th of those without a face, one of each other kind"
    backwards = dict(reversed(groups.items()))
    assert held_back(backwards, faces, {"00030"}) == held


def test_material_as_videos_is_what_it_was_and_rejected_clips_are_not_trained_on(material, tmp_path):
    assert write_videos(material, tmp_path / "films") == 1 == write_videos(material, tmp_path / "films")
    with VideoReader(tmp_path / "films" / "00002.mkv") as reader:
        frames = torch.stack([frame.rgb() for frame in reader])
    assert torch.equal((frames * 255).round().byte().permute(0, 2, 3, 1), Material(material).clip("00002"))

    def left(*states: str) -> list[str]:
        rows = [
            {"key": f"00002-{n:06d}-0", "video": "00002.mkv", "state": state, "clip": None}
            for n, state in enumerate(states)
        ]
        write_manifest(tmp_path / "manifest.jsonl", rows)
        data = Data(
            kind="clips", path=material, validation=material, frames=5, size=64, manifest=tmp_path / "manifest.jsonl"
        )
        assert RandomClips(data, validation=True)._keys == Material(material).keys
        return RandomClips(data)._keys

    assert left("kept", "dropped") == ["00000", "00001", "00002", "00003"]
    assert left("dropped", "failed") == ["00000", "00001", "00003"]


def test_faces_looked_for_in_fewer_and_smaller_pictures_are_the_same_ones(material, tmp_path, monkeypatch):
    for file in ("clips.safetensors", "clips.json"):
        (tmp_path / file).symlink_to(material / file)
    arguments = ["find_faces", str(tmp_path), "--smallest", "60", "--every", "8", "--shrink", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    find_faces()
    quick, slow = Material(tmp_path), Material(material)
    assert quick.faces.keys() == slow.faces.keys()
    for key, crops in quick.faces.items():
        for crop, other in zip(crops, slow.faces[key]):
            assert np.abs(np.subtract(crop, other)).max() < 0.1 * other[2]
        one, whole = quick.mask(key).bool(), slow.mask(key).bool()
        assert one.shape == whole.shape and float((one & whole).sum() / (one | whole).sum()) > 0.7
