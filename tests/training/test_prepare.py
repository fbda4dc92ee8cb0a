"""Real videos to training samples: the right region, the right latents, nothing twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import clip, run_ffmpeg
from training.config import Data
from training.curation.clips import ClipRules, united_square
from training.data.shards import ShardReader, ShardWriter
from training.data.sources import PreparedClips
from training.prepare import SampleMaker, main
from vividface_core.degrade import DegradationRanges
from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.faces.parse import load_parser
from vividface_core.wan.vae import encode
from vividface_core.weights import load_restorer

FAST = [
    "--frames",
    "9",
    "--size",
    "64",
    "--variants",
    "2",
    "--pixels",
    "--inputs",
    "--device",
    "cpu",
    "--detector",
    "mtcnn",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    run_ffmpeg("-i", clip("single_face"), "-frames:v", "30", "-c", "copy", folder / "a.mp4")
    run_ffmpeg("-i", clip("no_face"), "-frames:v", "5", "-c", "copy", folder / "b.mp4")
    run_ffmpeg("-i", clip("franck"), "-frames:v", "12", "-vf", "scale=90:72", folder / "small.mp4")
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture(scope="module")
def prepared(videos, tiny_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "data"
    arguments = [str(videos), "--out", str(out), "--model", str(tiny_checkpoint), "--smallest", "40", *FAST]
    assert main(arguments) == 0
    return out, arguments


def test_samples_hold_what_training_needs(prepared):
    reader = ShardReader(prepared[0])
    assert len(reader) == 3, "thirty frames are three clips of nine"
    for place, sample in enumerate(reader):
        assert sample.keys() == {"high", "low.0", "low.1", "input.0", "input.1", "mask", "pixels", "pixel_mask"}
        assert sample["high"].shape == sample["low.0"].shape == (8, 3, 8, 8)
        assert sample["mask"].shape == (1, 3, 8, 8) and sample["pixels"].shape == (3, 9, 64, 64)
        assert sample["input.1"].shape == (3, 9, 64, 64) and sample["input.1"].dtype == torch.uint8
        assert not torch.equal(sample["low.0"], sample["low.1"])
        assert 0.1 < sample["pixel_mask"].float().mean() < 0.9
        assert reader.notes[reader.keys[place]]["first"] == 9 * place


def test_latents_are_those_of_diffusers_own_encoder(prepared, tiny_checkpoint):
    sample = ShardReader(prepared[0])[1]
    vae = load_restorer(str(tiny_checkpoint), plain=True).vae
    frames = sample["pixels"].float()[None] / 127.5 - 1
    with torch.inference_mode():
        mode = vae.encode(frames).latent_dist.mode()[0]
    wanted = (mode - 0.1) / 0.9
    # The clip was encoded before it was rounded to 8 bits.
    assert (sample["high"].float() - wanted).abs().mean() < 0.02 * wanted.abs().mean() + 0.005


@torch.inference_mode()
def test_each_degraded_clip_goes_with_its_own_latent(prepared, tiny_checkpoint):
    vae, sample = load_restorer(str(tiny_checkpoint)).vae, ShardReader(prepared[0])[0]
    encoded = [encode(vae, sample[f"input.{n}"].float()[None] / 127.5 - 1)[0] for n in range(2)]
    for n in range(2):
        own, other = ((encoded[n] - sample[f"low.{m}"].float()).abs().mean() for m in (n, 1 - n))
        assert own < 0.01 and own < 0.2 * other


def test_a_source_gives_the_degraded_frames_of_the_latent_it_drew(prepared):
    source = PreparedClips(
        Data(path=prepared[0], validation=prepared[0], frames=5),
        validation=False,
        pixels=True,
        seed=0,
        temporal_ratio=4,
        inputs=True,
    )
    stored = {name: value for name, value in ShardReader(prepared[0])[source._order[0]].items()}
    drawn = set()
    for seed in range(8):
        sample = source.sample(0, np.random.default_rng(seed))
        variant = next(n for n in range(2) if torch.equal(sample["low"], stored[f"low.{n}"][:, :2].float()))
        assert torch.equal(sample["degraded"], stored[f"input.{variant}"][:, :5].float() / 127.5 - 1)
        drawn.add(variant)
    assert drawn == {0, 1}


@pytest.mark.parametrize(
    "kept, named", [(("pixels",), "without --inputs.*--pixels --inputs"), ((), "without --pixels")]
)
def test_what_is_missing_for_a_stage_is_named_with_its_flag(kept, named, tmp_path):
    recipe = {"clips": {"frames": 5}, **dict.fromkeys(kept, True)}
    with ShardWriter(tmp_path, recipe) as writer:
        writer.add("a", {"high": torch.zeros(1)})
    with pytest.raises(UnsupportedCheckpoint, match=named):
        PreparedClips(
            Data(path=tmp_path, validation=tmp_path),
            validation=False,
            pixels=True,
            seed=0,
            temporal_ratio=4,
            inputs=True,
        )


def test_inputs_alone_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--inputs"]) == 1
    assert "--pixels as well" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_has_a_reason(prepared):
    dropped = ShardReader(prepared[0]).dropped
    assert any(reason.startswith("face of") for key, reason in dropped.items() if key.startswith("small"))
    assert not any(key.startswith("a-") for key in dropped)


def test_the_contact_sheet_shows_kept_and_dropped(prepared):
    sheet = np.asarray(Image.open(prepared[0] / "contact_sheet.jpg"))
    assert sheet.shape == (2 * 128 + 4, 8 * 128, 3)
    assert sheet[:128, : 3 * 128].std() > 20 and sheet[:116, 3 * 128 + 8 :].min() > 240
    assert sheet[132:, :128].std() > 10


def test_a_second_run_does_nothing_again(prepared, capsys):
    out, arguments = prepared
    sheet = (out / "contact_sheet.jpg").stat().st_mtime_ns
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert (out / "contact_sheet.jpg").stat().st_mtime_ns == sheet, "the picture of the first run was lost"
    assert "3 videos finished before" in said.out and "1 unreadable videos" in said.out
    assert "broken.mp4" in said.err
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before


def test_another_recipe_is_refused(prepared, capsys):
    _, arguments = prepared
    assert main([*arguments, "--variants", "3"]) == 1
    assert "variants: 2 there, 3 now" in capsys.readouterr().err


def test_degradations_depend_on_clip_and_seed_alone(prepared, videos, tiny_checkpoint):
    from training.curation.clips import FaceClip

    restorer = load_restorer(str(tiny_checkpoint))
    frames, points = torch.rand(5, 3, 64, 64), np.full((5, 5, 2), 32.0)
    points[:, 1, 0] += 16
    points[:, 3:, 1] += 16
    parser, ranges = load_parser("landmark-hull"), DegradationRanges()
    make = [SampleMaker(restorer.vae, parser, ranges, 1, False, seed) for seed in (0, 0, 1)]
    one = FaceClip("one", videos / "a.mp4", 0, 0, (0, 0, 1), points, np.zeros((5, 4)), np.ones(5))
    other = FaceClip("other", videos / "a.mp4", 0, 1, (0, 0, 1), points, np.zeros((5, 4)), np.ones(5))
    moved = replace(one, key="moved", video=videos / "elsewhere" / "a.mp4")
    cases = ((make[0], one), (make[1], moved), (make[2], one), (make[0], other))
    lows = [m(c, frames)["low.0"] for m, c in cases]
    assert torch.equal(lows[0], lows[1])
    assert not torch.equal(lows[0], lows[2]) and not torch.equal(lows[0], lows[3])


def test_the_square_holds_every_box():
    boxes = np.array([[10, 20, 50, 70], [30, 10, 80, 60]], float)
    cx, cy, side = united_square(boxes, 1.0)
    assert (cx, cy, side) == (45, 40, 70)
    assert united_square(boxes, 1.5)[2] == 105


def test_the_square_stays_inside_the_picture_if_it_fits():
    boxes = np.array([[0, 5, 40, 45]], float)
    assert united_square(boxes, 1.5, 200, 100) == (30, 30, 60)
    assert united_square(boxes, 2.0, 200, 70) == (40, 25, 80), "too large for the height: the centre stays there"


@pytest.mark.parametrize("wrong", [{"frames": 10}, {"size": 100}])
def test_rules_that_no_model_could_take(wrong):
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        ClipRules(**wrong)
