"""FasterVQA against its authors' code and against torchvision's Video Swin Transformer.

The authors' weights can't be part of a test. So a formula makes weights of the same names and shapes, another one
makes clips, and the figures and digests below are what the authors' code gave for them: commit 9f264e43 of
github.com/VQAssessment/FAST-VQA-and-FasterVQA, run unchanged but for stand-ins for libraries that it imports and
doesn't use on this way (decord's reader gave the formula's frames; timm's DropPath does nothing at test time), with
PyTorch 2.13 on a CPU, and NumPy's and PyTorch's chance seeded with 42 just before a clip is sampled.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

import numpy as np
import pytest
import torch

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.metrics.fastervqa import ENTRIES, WEIGHTS, FragmentSampler, middle_frames, segment_frames
from vividface_core.metrics.metric import Chunk, ClipFacts, MetricContext
from vividface_core.metrics.networks.fragment_swin import FragmentSwin, load_fragment_swin

NAMES = "4e0223e375f89717d007672bbc9d762d5f56cd9f29c82c85044e529f9abd5627"
"""SHA-256 of the sorted lines ``name [shape]`` of the authors' network's state dict."""
METRICS = {metric.name: metric for metric in ENTRIES}


def formula_weights() -> dict[str, torch.Tensor]:
    """Every tensor out of NumPy's frozen generator, in the order of sorted names; none is zero or of low rank."""
    rng, state = np.random.RandomState(20221012), {}
    for name, parameter in sorted(FragmentSwin().state_dict().items()):
        shape = tuple(parameter.shape)
        values = rng.uniform(-1, 1, shape)
        if "norm" in name and name.endswith("weight"):
            values = 1 + 0.3 * values
        elif name.endswith("bias_table"):
            values = 1.5 * values
        elif name.endswith("bias"):
            values = 0.3 * values
        else:
            values = values * (3 / np.prod(shape[1:])) ** 0.5 * (2 if "qkv" in name else 1)
        state[name] = torch.from_numpy(values.astype(np.float32))
    state["vqa_head.fc_last.bias"][:] = 1.34  # brings scores to where the logistic curve is steep
    return state


def formula_frame(index: int, height: int, width: int) -> np.ndarray:
    """``[H, W, 3]`` uint8."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((3 * x * x + 5 * y * y + (index % 11 + 1) * x * y + 97 * index + 331 * c) // 16 % 256).astype(np.uint8)


def chunks(count: int, height: int, width: int, size: int):
    """The formula's clip as a run hands it out: first index and ``[n, 3, H, W]`` 0…1."""
    for first in range(0, count, size):
        frames = [formula_frame(index, height, width) for index in range(first, min(first + size, count))]
        yield first, torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a checkpoint laid out like the authors', results beside the weights."""
    folder = tmp_path_factory.mktemp("metrics")
    index = {
        f"{name.rpartition('.')[0]}.relative_position_index": torch.zeros(392, 392, dtype=torch.int64)
        for name in FragmentSwin().state_dict()
        if name.endswith("relative_position_bias_table")
    }
    content = {"state_dict": {**formula_weights(), **index}, "validation_results": (np.float64(0.8), np.float64(0.7))}
    torch.save(content, folder / WEIGHTS.name)
    return folder


@pytest.fixture(scope="module")
def context(folder):
    return MetricContext(folders=[folder])


def facts(count: int, height: int, width: int) -> ClipFacts:
    return ClipFacts("clip", count, width, height, 25.0, False)


def test_names_and_shapes_are_the_authors(folder):
    state = torch.load(folder / WEIGHTS.name, weights_only=False)["state_dict"]
    lines = "\n".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES


@pytest.mark.parametrize(
    ("name", "clip", "size", "raw"),
    [
        ("fastervqa", (100, 260, 330), 16, 0.16491137444972992),  # FusionDataset, options/fast/f3dvqa-b.yml
        ("fastervqa", (20, 150, 200), 20, 0.07739530503749847),  # shorter and smaller than what is looked at
        ("fastervqa-middle", (100, 260, 330), 7, 0.15096092224121094),  # vqa.py
    ],
)
def test_scores_equal_the_authors(name, clip, size, raw, context):
    meter = METRICS[name].make(context, facts(*clip))
    for first, frames in chunks(*clip, size):
        assert not list(meter.update(Chunk(first, frames, None, None)))
    result = meter.compute()
    # sigmoid_rescale of vqa.py
    assert result.value == pytest.approx(1 / (1 + np.exp(-(raw - 0.14759505) / 0.03613452)), abs=1e-4)
    different = len({*segment_frames(20).tolist()})
    assert result.notes == (
        (f"only {different} different frames were looked at, not 32: the clip is short",) if clip[0] == 20 else ()
    )


@pytest.mark.parametrize(
    ("clip", "choose", "digest"),
    [
        ((100, 260, 330), segment_frames, "de1b7ff641d69ec40bd9d652ab796ee5054f979d1614ab014ddeb5515697701c"),
        ((100, 260, 330), middle_frames, "383200dd3e4541989e153fb58b505fbdbd578e585ec2fa8f4048a1fc27b689d0"),
        ((7, 224, 224), segment_frames, "b725f33de3384fd0bb5490f1900f2fc6cfaba208ccf2ef602b209bc220374de5"),
        ((63, 231, 230), segment_frames, "1d0aada58b3198261b043e79a7dc4792dfc11799f4e608e858c49e4d3082b2a0"),
        ((40, 512, 512), segment_frames, "0c4b879e45f23323136e8519de8e83dd19a99a2efebce6462c9c132cf8c5c038"),
    ],
)
@pytest.mark.parametrize("size", [9, 100])
def test_fragments_equal_the_authors_to_the_bit_in_whatever_chunks(clip, choose, digest, size):
    count, height, width = clip
    sampler = FragmentSampler(height, width, choose(count))
    for first, frames in chunks(*clip, size):
        sampler.add(first, frames)
    values = sampler.video.permute(1, 2, 3, 0).contiguous().to(torch.uint8)
    assert hashlib.sha256(values.numpy().tobytes()).hexdigest() == digest


def test_an_unfinished_clip_has_no_fragments():
    sampler = FragmentSampler(224, 224, segment_frames(40))
    sampler.add(0, torch.zeros(30, 3, 224, 224))
    with pytest.raises(ValueError, match="before frame 30"):
        sampler.video  # noqa: B018


def test_with_equal_biases_the_network_is_torchvisions(folder):
    """If both tables of a layer are one, the gate has no say: an ordinary Video Swin Transformer, save for the head."""
    video = pytest.importorskip("torchvision.models.video")
    net, reference = load_fragment_swin(folder / WEIGHTS.name), video.swin3d_t(weights=None).eval()
    state = net.fragments_backbone.state_dict()
    for name in state:
        if "fragment_position" in name:
            state[name].copy_(state[name.replace("fragment_position", "relative_position")])
    renamed = {_torchvision_name(name): tensor for name, tensor in state.items() if "fragment_position" not in name}
    left = reference.load_state_dict(renamed, strict=False)
    assert not left.unexpected_keys
    assert all(re.search(r"relative_position_index|^head\.", name) for name in left.missing_keys)
    clip = torch.randn(1, 3, 32, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = reference.norm(reference.features(reference.patch_embed(clip)))
        found = net.fragments_backbone(clip)
    assert wanted.abs().max() > 1
    assert torch.allclose(found, wanted, atol=1e-4)


def _torchvision_name(name: str) -> str:
    """There, stages and merges stand in one row, and the MLP is numbered with its activation and dropout."""
    name = re.sub(r"^layers\.(\d)\.blocks\.", lambda match: f"features.{2 * int(match[1])}.", name)
    name = re.sub(r"^layers\.(\d)\.downsample\.", lambda match: f"features.{2 * int(match[1]) + 1}.", name)
    return name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


def test_weights_are_found_behind_a_prefix(tmp_path, folder):
    state = formula_weights()
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "other.pth")
    loaded = load_fragment_swin(tmp_path / "other.pth").state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


def test_what_does_not_fit_is_named(tmp_path):
    path, state = tmp_path / WEIGHTS.name, formula_weights()
    state["vqa_head.fc_new.bias"] = state.pop("vqa_head.fc_hid.bias")
    state["vqa_head.fc_last.bias"] = torch.zeros(2)
    torch.save({"state_dict": state}, path)
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_fragment_swin(path)
    for part in (str(path), "fc_hid.bias missing", "fc_new.bias unexpected", "fc_last.bias of another shape"):
        assert part in str(caught.value)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UnsupportedCheckpoint, match="fragments_backbone.patch_embed.proj.weight.*holds 1 unfamiliar"):
        load_fragment_swin(path)


def test_numpy_of_old_beside_the_weights_is_left_out_and_code_is_refused(tmp_path):
    """The release was written with NumPy 1, whose numbers have another maker's name."""
    path = tmp_path / WEIGHTS.name
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "validation_results": (np.float64(0.8),)}, buffer)
    for old, error in ((b"cnumpy.core.multiarray\nscalar\n", "unfamiliar tensors"), (b"cos\nsystem\n", "foreign code")):
        with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.namelist():
                content = source.read(entry)
                changed = re.sub(rb"cnumpy\.(_core|core)\.multiarray\nscalar\n", old, content)
                assert changed.count(old) == entry.endswith("data.pkl")
                target.writestr(entry, changed)
        with pytest.raises(UnsupportedCheckpoint, match=error):
            load_fragment_swin(path)
    assert not any("scalar" in str(known) for known in torch.serialization.get_safe_globals())


def test_missing_weights_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path))
    with pytest.raises(MissingWeights, match=f"{WEIGHTS.name} is missing.*{re.escape(WEIGHTS.address)}"):
        METRICS["fastervqa"].make(MetricContext(folders=[tmp_path]), facts(40, 512, 512))


def test_frames_smaller_than_a_fragment_have_no_figure(context):
    meter = METRICS["fastervqa"].make(context, facts(40, 512, 31))
    meter.update(Chunk(0, torch.zeros(40, 3, 512, 31), None, None))
    result = meter.compute()
    assert np.isnan(result.value) and "less than 32 px" in result.notes[0]
