"""Identity on real people: against facexlib, transformers and closed formulas, and in the right direction."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.assets import clip, run_ffmpeg
from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint
from vividface_core.faces.arcface import load_arcface
from vividface_core.faces.detect import load_detector
from vividface_core.faces.embed import align
from vividface_core.faces.facexlib_modules import facexlib_module
from vividface_core.metrics import identity
from vividface_core.metrics import measure as measuring
from vividface_core.metrics.measure import Score, measure
from vividface_core.metrics.metric import MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.video.source import VideoFrames

FRAMES = 5
# The part of each clip that has its face in the middle of 5:4, and a moment.
PEOPLE = {
    "franck": (0, "null"),
    "cap12": (0, "crop=375:300:20:0"),
    "wolfgang": (60, "crop=450:360:205:0"),
    "single_face": (0, "crop=450:360:70:0"),
}
MOBILE = ("ids-mobile", "facecons-mobile", "vidd-mobile")


def lossless(path: Path, filters: str, *inputs: Path) -> Path:
    """What ffmpeg's filters make of the inputs, as FFV1."""
    sources = [part for source in inputs for part in ("-i", source)]
    run_ffmpeg(*sources, "-filter_complex", filters, "-an", "-c:v", "ffv1", "-pix_fmt", "yuv420p", path)
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> dict[str, Path]:
    """Real people, 240×192, a few frames each."""
    folder = tmp_path_factory.mktemp("people")
    return {
        name: lossless(
            folder / f"{name}.mkv",
            f"trim=start_frame={first}:end_frame={first + FRAMES},setpts=N/24/TB,{part},scale=240:192,setsar=1",
            clip(name),
        )
        for name, (first, part) in PEOPLE.items()
    }


def figures(output: Path, reference: Path | None, *names: str, folders: tuple[Path, ...] = ()) -> dict[str, Score]:
    result = measure(pair_up([output], reference), [METRICS[name] for name in names], MetricContext(folders=folders))
    return result.clips[0].scores


def frames_of(path: Path) -> Tensor:
    """``[T, 3, H, W]``, rounded to 8 bits."""
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()]).mul(255).round().div(255)


def alternating(folder: Path, people: dict[str, Path], strangers: tuple[int, ...]) -> Path:
    """A folder of pictures: franck, but cap12 in the frames ``strangers``."""
    from PIL import Image

    folder.mkdir()
    for index, pair in enumerate(zip(frames_of(people["franck"]), frames_of(people["cap12"]))):
        picture = pair[index in strangers].permute(1, 2, 0).mul(255).round().byte().numpy()
        Image.fromarray(picture).save(folder / f"{index:02}.png")
    return folder


def test_a_person_is_oneself_and_nobody_else(people, tmp_path):
    poor = tmp_path / "franck.mp4"
    run_ffmpeg("-i", people["franck"], "-c:v", "libx264", "-crf", 36, "-pix_fmt", "yuv420p", poor)
    same = figures(people["franck"], people["franck"], *MOBILE)
    degraded = figures(poor, people["franck"], "ids-mobile")["ids-mobile"].value
    others = [
        figures(people[name], people["franck"], "ids-mobile")["ids-mobile"].value for name in people if name != "franck"
    ]
    assert same["ids-mobile"].value == pytest.approx(1, abs=1e-6) and len(same["ids-mobile"].frames) == FRAMES
    assert 0.5 < degraded < 0.999
    assert max(others) < 0.3


@pytest.mark.parametrize("name", ["franck", "cap12"])
def test_identity_falls_as_blur_rises(people, tmp_path, name):
    values = []
    for sigma in (0.5, 1, 2, 4):
        blurred = lossless(tmp_path / f"{sigma}.mkv", f"gblur=sigma={sigma}:steps=4", people[name])
        values.append(figures(blurred, people[name], "ids-mobile")["ids-mobile"].value)
    assert all(better > worse + 0.001 for better, worse in zip(values, values[1:])), values
    assert values[0] > 0.95 and values[-1] < 0.6


def test_a_still_clip_is_wholly_consistent(people, tmp_path):
    still = lossless(tmp_path / "still.mkv", f"trim=end_frame=1,loop={FRAMES - 1}:1", people["wolfgang"])
    scores = figures(still, None, "facecons-mobile", "vidd-mobile")
    assert scores["facecons-mobile"].value == pytest.approx(1, abs=1e-6)
    assert scores["vidd-mobile"].value == pytest.approx(0, abs=1e-3)
    assert len(scores["vidd-mobile"].frames) == FRAMES and math.isnan(scores["vidd-mobile"].frames[0])


def test_another_person_in_between_breaks_consistency(people, tmp_path):
    """Also without a reference, where the face nearest to the last one is followed."""
    consistency, distance = [], []
    for strangers in ((), (4,), (2,), (1, 3)):
        mixed = alternating(tmp_path / str(len(distance)), people, strangers)
        scores = figures(mixed, None, "facecons-mobile", "vidd-mobile")
        consistency.append(scores["facecons-mobile"].value)
        distance.append(scores["vidd-mobile"].value)
    assert all(better > worse + 0.05 for better, worse in zip(consistency, consistency[1:])), consistency
    assert all(better < worse - 0.05 for better, worse in zip(distance, distance[1:])), distance
    assert consistency[0] > 0.95 and distance[0] < 0.3


def test_noise_of_its_own_in_each_frame_breaks_consistency(people, tmp_path):
    values = []
    for strength in (0, 8, 20, 40):
        noisy = lossless(tmp_path / f"{strength}.mkv", f"noise=alls={strength}:allf=t", people["single_face"])
        scores = figures(noisy, people["single_face"], "facecons-mobile", "vidd-mobile")
        values.append((scores["facecons-mobile"].value, -scores["vidd-mobile"].value))
    assert values == sorted(values, reverse=True) and values == sorted(values, key=lambda pair: -pair[1]), values
    assert values[0][0] > values[-1][0] + 0.05


def test_without_a_face_nothing_is_measured(tmp_path):
    empty = lossless(tmp_path / "empty.mkv", "trim=end_frame=3", clip("no_face"))
    for score in figures(empty, empty, *MOBILE).values():
        assert score.value is None
        assert score.reason == "no face was found in any frame"
        assert len(score.frames) == 3 and all(map(math.isnan, score.frames))
    alone = lossless(tmp_path / "alone.mkv", "trim=end_frame=1", clip("franck"))
    scores = figures(alone, alone, *MOBILE)
    assert scores["ids-mobile"].value == pytest.approx(1, abs=1e-6)
    assert scores["vidd-mobile"].value is None and "single frame" in scores["vidd-mobile"].reason


def test_frames_without_a_face_are_left_out_and_told(people, tmp_path):
    """Two grey frames in the truth and in the output: they and the one that follows have no neighbour."""
    gaps = lossless(tmp_path / "gaps.mkv", "drawbox=c=gray:t=fill:enable='between(n,2,3)'", people["franck"])
    found = [bool(faces) for faces in load_detector().detect(frames_of(gaps))]
    assert found == [True, True, False, False, True]
    scores = figures(gaps, gaps, *MOBILE)
    measured = {name: [not math.isnan(value) for value in score.frames] for name, score in scores.items()}
    assert measured["ids-mobile"] == found
    assert measured["vidd-mobile"] == measured["facecons-mobile"] == [False, True, False, False, False]
    whole = figures(people["franck"], people["franck"], "vidd-mobile")["vidd-mobile"]
    assert scores["vidd-mobile"].value == pytest.approx(whole.frames[1], abs=1e-4)
    assert scores["vidd-mobile"].notes == ("no face was found in 2 frames",)


def test_a_face_that_only_the_output_has_lost_counts(people, tmp_path):
    """Else a method would profit from each face that it destroys."""
    lost = lossless(tmp_path / "lost.mkv", "drawbox=c=gray:t=fill:enable='between(n,2,3)'", people["franck"])
    score = figures(lost, people["franck"], "ids-mobile")["ids-mobile"]
    assert all(value > 0.99 for value in [*score.frames[:2], score.frames[4]])
    assert all(value < 0.3 for value in score.frames[2:4])
    assert score.value == pytest.approx(np.mean(score.frames), abs=1e-9)
    assert "not found in 2 frames" in score.notes[0]


def test_each_face_is_aligned_once_however_many_metrics_ask(people, monkeypatch):
    seen = []
    monkeypatch.setattr(identity, "align", lambda picture, points: seen.append(1) or align(picture, points))
    figures(people["franck"], people["franck"], *MOBILE)
    assert len(seen) == 2 * FRAMES


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    """facexlib's own IR-SE50 with random weights, its norms set to what they meet, so that faces lie apart."""
    from facexlib.recognition.arcface_arch import Backbone

    torch.manual_seed(5)
    net = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se").train()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1.0
    with torch.no_grad():
        net(2 * torch.rand(6, 3, 112, 112).round() - 1)
    return net.eval()


@pytest.fixture(scope="module")
def arcface_folder(backbone, tmp_path_factory) -> Path:
    """A folder with the weights as PyTorch 0.4 saved them: a plain state dict, no zip, norms without counters."""
    folder = tmp_path_factory.mktemp("weights")
    state = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, folder / identity.ARCFACE.name, _use_new_zipfile_serialization=False)
    return folder


@torch.inference_mode()
def facexlib_vectors(backbone: nn.Module, path: Path, first_color: int = 0) -> Tensor:
    """``first_color``: 0 red, 2 blue."""
    frames = frames_of(path)
    points = [faces[0].landmarks[None] for faces in load_detector().detect(frames)]
    crops = torch.cat([align(frame, one) for frame, one in zip(frames, points)])
    return backbone((crops[:, [first_color, 1, 2 - first_color]] - 0.5) / 0.5)


def test_arcface_metrics_equal_facexlib(backbone, arcface_folder, people, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "CHUNK_FRAMES", 3)
    truth = lossless(tmp_path / "truth.mkv", "trim=end_frame=4", people["franck"])
    blurred = lossless(tmp_path / "blurred.mkv", "gblur=sigma=2", truth)
    names = ("ids", "facecons", "facecons-first", "vidd")
    scores = figures(blurred, truth, *names, folders=(arcface_folder,))
    own, true = facexlib_vectors(backbone, blurred), facexlib_vectors(backbone, truth)
    wanted = {
        "ids": (own * true).sum(1),
        "facecons": (own[1:] * own[:-1]).sum(1),
        "facecons-first": own[1:] @ own[0],
        "vidd": torch.linalg.vector_norm(own[1:] - own[:-1], dim=1),
    }
    for name, values in wanted.items():
        frames = [value for value in scores[name].frames if not math.isnan(value)]
        assert len(scores[name].frames) == 4
        assert np.allclose(frames, values, atol=1e-4), name
        assert scores[name].value == pytest.approx(float(values.mean()), abs=1e-4)
    blue_first = [facexlib_vectors(backbone, path, first_color=2) for path in (blurred, truth)]
    assert ((blue_first[0] * blue_first[1]).sum(1) - wanted["ids"]).abs().max() > 1e-3


def without_excitation(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if "fc1" not in key} | {"output_layer.3.bias": torch.zeros(7)}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: {f"module.{key}": value for key, value in state.items()}, r"missing \(input_layer.*unexpected"),
        (without_excitation, r"24 missing \(body\.0\..*1 of another shape \(output_layer\.3\.bias"),
    ],
    ids=["prefix", "parts"],
)
def test_other_weights_than_arcface_are_refused(backbone, tmp_path, spoil, told):
    path = tmp_path / identity.ARCFACE.name
    torch.save(spoil(backbone.state_dict()), path)
    with pytest.raises(UnsupportedCheckpoint, match=told):
        load_arcface(path)


def test_without_weights_the_rest_is_measured(people, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path))
    scores = figures(people["franck"], people["franck"], "ids", "ids-mobile", "facecons-clip")
    assert scores["ids-mobile"].value is not None
    for name, file in (("ids", identity.ARCFACE), ("facecons-clip", identity.CLIP)):
        assert scores[name].value is None
        assert file.name in scores[name].reason and file.address in scores[name].reason
    with pytest.raises(MissingWeights):
        load_arcface(tmp_path / identity.ARCFACE.name)


@pytest.mark.parametrize(("library", "name"), [("facexlib", "ids"), ("transformers", "facecons-clip")])
def test_a_broken_library_is_one_sentence(library, name, people, tmp_path, monkeypatch):
    (tmp_path / f"{library}.py").write_text("raise RuntimeError('no such operator')")
    for file in (identity.ARCFACE, identity.CLIP):
        (tmp_path / file.name).parent.mkdir(exist_ok=True)
        (tmp_path / file.name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    for module in [module for module in sys.modules if module.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    facexlib_module.cache_clear()  # an earlier test may have loaded the whole one
    score = figures(people["franck"], people["franck"], name, folders=(tmp_path,))[name]
    assert score.value is None
    assert library in score.reason and "no such operator" in score.reason and "\n" not in score.reason
    if library == "facexlib":
        with pytest.raises(MissingDependency):
            load_arcface(tmp_path / identity.ARCFACE.name)


@pytest.fixture(scope="module")
def clip_model():
    """transformers' CLIP with the image half of ViT-B/32 in its true size and next to no text half; random, with
    weights so large that different pictures get different features."""
    from transformers import CLIPConfig, CLIPModel

    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 8,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(6)
    model = CLIPModel(CLIPConfig(text_config=text)).eval()
    with torch.no_grad():
        for parameter in model.vision_model.encoder.parameters():
            parameter.mul_(5)
    return model


@torch.inference_mode()
def clip_consistency(model: nn.Module, pictures: Tensor) -> Tensor:
    """EvalCrafter's arithmetic, step by step, on transformers' whole model."""
    features = model.visual_projection(model.vision_model(pictures).pooler_output)
    features = features / features.norm(p=2, dim=-1, keepdim=True)
    return features[1:] @ features[0]


def test_clip_consistency_equals_evalcrafters(clip_model, people, tmp_path):
    from torchvision.transforms.functional import InterpolationMode, normalize, resize

    path = tmp_path / identity.CLIP.name
    path.parent.mkdir()
    # The published file is older than transformers' decision not to save the positions' numbers.
    positions = {"vision_model.embeddings.position_ids": torch.arange(50)[None]}
    torch.save(clip_model.state_dict() | positions, path)
    mixed = alternating(tmp_path / "mixed", people, (2, 3))
    pictures = resize(frames_of(mixed) * 255, [224, 224], InterpolationMode.BILINEAR, antialias=False)
    wanted = clip_consistency(clip_model, pictures)
    score = figures(mixed, None, "facecons-clip", folders=(tmp_path,))["facecons-clip"]
    assert math.isnan(score.frames[0])
    assert np.allclose(score.frames[1:], wanted, atol=1e-5)
    assert score.value == pytest.approx(float(wanted.mean()), abs=1e-5)
    # With CLIP's own normalisation it would be another figure.
    own = normalize(pictures / 255, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    assert (clip_consistency(clip_model, own) - wanted).abs().max() > 1e-3

    torch.save({key: value for key, value in clip_model.state_dict().items() if "visual" not in key}, path)
    with pytest.raises(UnsupportedCheckpoint, match=r"1 missing \(visual_projection\.weight\)"):
        identity.load_clip(path)
