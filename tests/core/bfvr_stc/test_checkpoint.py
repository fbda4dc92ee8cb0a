"""Released files and own folders: recognised by content, loaded exactly or refused in one sentence."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.core.bfvr_stc.drawn import NARROW, clip, drawn, narrow_autoencoder, narrow_codeformer, released_shapes
from vividface_core.bfvr_stc import CodeFormer3D, VQAutoEncoder3D
from vividface_core.bfvr_stc.checkpoint import CARD, CONFIG, WEIGHTS, detect, load, save
from vividface_core.bfvr_stc.state_dict import unused_shapes
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint


def released(path, key="params_ema", **changes):
    """A narrow stage II file as the released trainer writes it, with all that nothing uses; ``None`` leaves out."""
    shapes = {**unused_shapes(64), **{name: v.shape for name, v in narrow_codeformer().state_dict().items()}}
    state = {name: drawn(name, shape) for name, shape in shapes.items()} | changes
    state = {name: value for name, value in state.items() if value is not None}
    torch.save({key: state} if key else state, path)
    return path


@pytest.mark.parametrize("layers, heads, kind", [(9, 2, "restore"), (6, 4, "deflicker")])
def test_files_of_the_released_width_load_strictly(tmp_path, layers, heads, kind):
    path = tmp_path / "some.pth"
    shapes = released_shapes(layers)
    # A constant of its own for each tensor, small in the file.
    state = {name: torch.tensor(float(number)).expand(shape) for number, (name, shape) in enumerate(shapes.items())}
    torch.save({"params_ema": state}, path)
    net, known = load(path)
    assert (known.kind, known.native_size, known.native_frames) == (kind, 512, 24)
    assert (
        (known.network["n_head"], known.network["residual"])
        == (heads, "released")
        == (
            net.config["n_head"],
            net.residual,
        )
    )
    assert not net.training and isinstance(net, CodeFormer3D)
    ours = net.state_dict()
    assert ours.keys() == shapes.keys() - unused_shapes(256).keys()
    for number, (name, shape) in enumerate(shapes.items()):
        if name in ours:
            assert list(ours[name].shape) == shape and bool((ours[name] == number).all()), name


@pytest.mark.parametrize("key", ["params_ema", "params", None])
def test_a_released_file_gives_what_its_weights_give(tmp_path, key):
    net, known = load(released(tmp_path / "x.pth", key), n_head=2)
    x = clip(4, 64)
    with torch.no_grad():
        assert torch.equal(net(x).out, narrow_codeformer("released")(x).out)
    assert known.network["img_size"] == 64 and not known.card


def test_averaged_weights_come_first(tmp_path):
    path = released(tmp_path / "x.pth")
    state = torch.load(path)["params_ema"]
    torch.save({"params": {name: value + 1 for name, value in state.items()}, "params_ema": state}, path)
    net, _ = load(path, n_head=2)
    assert torch.equal(net.position_emb_s, state["position_emb_s"])


def test_stage_one_is_an_autoencoder(tmp_path):
    stage_one = narrow_autoencoder()
    torch.save({"params_ema": stage_one.state_dict()}, tmp_path / "x.pth")
    known = detect(tmp_path / "x.pth")
    assert known.kind == "autoencoder" and not known.restores and known.native_size == 256
    net, _ = load(tmp_path / "x.pth")
    assert type(net) is VQAutoEncoder3D
    with torch.no_grad():
        assert torch.equal(net(clip(2, 32)).out, stage_one(clip(2, 32)).out)
    with pytest.raises(InvalidOption, match="stage II"):
        load(tmp_path / "x.pth", residual="frames")


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"s_ft_layers.1.norm2.bias": None}, "1 missing"),
        ({"surplus": torch.zeros(2)}, "1 unexpected"),
        ({"fuse_convs_dict.32.scale.0.weight": torch.zeros(2)}, "1 unexpected"),
        ({"s_feat_emb.weight": torch.zeros(64, 63)}, "1 unexpected"),
        ({"t_idx_pred_layer.1.weight": torch.zeros(63, 64)}, "another shape"),
        ({"position_emb_t": torch.zeros(63, 64)}, "another shape"),
        ({"position_emb_s": torch.zeros(63, 64)}, "no square"),
        ({"encoder.blocks.18.bias": torch.zeros(64, dtype=torch.int64)}, "floating-point"),
    ],
)
def test_other_tensors_are_refused(tmp_path, changes, told):
    with pytest.raises(UnsupportedCheckpoint, match=told):
        load(released(tmp_path / "x.pth", **changes), n_head=2)


def test_heads_that_nothing_tells_are_asked_for(tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match="Give n_head"):
        load(released(tmp_path / "x.pth"))
    with pytest.raises(UnsupportedCheckpoint, match="3 heads"):
        load(released(tmp_path / "x.pth"), n_head=3)
    net, _ = load(released(tmp_path / "x.pth"), n_head=4, residual="frames")
    assert (net.config["n_head"], net.residual) == (4, "frames")


class _Shell:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_with_code_is_not_opened(tmp_path):
    state = torch.load(released(tmp_path / "x.pth"))
    torch.save({**state, "more": _Shell()}, tmp_path / "x.pth")
    with pytest.raises(UnsupportedCheckpoint, match="foreign code"):
        load(tmp_path / "x.pth")
    assert detect(tmp_path / "x.pth") is None


def test_what_is_not_ours_is_none(tmp_path, tiny_checkpoint):
    (tmp_path / "noise.pth").write_bytes(b"noise")
    save_file({"encoder.blocks.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for path in (tmp_path, tmp_path / "noise.pth", tmp_path / "other.safetensors", tiny_checkpoint):
        assert detect(path) is None
    with pytest.raises(MissingWeights):
        detect(tmp_path / "nothing.pth")
    for path, told in ((tiny_checkpoint, "no checkpoint folder"), (tmp_path / "other.safetensors", "no weights of")):
        with pytest.raises(UnsupportedCheckpoint, match=told):
            load(path)


@pytest.mark.parametrize("residual", ["frames", "released"])
@pytest.mark.parametrize("kind", ["restore", "deflicker_brightness", "deflicker_pixel"])
def test_own_folders_keep_what_shapes_do_not_tell(tmp_path, residual, kind):
    net = narrow_codeformer(residual, n_head=4)
    folder = save(tmp_path / "ours", net, kind=kind, native_frames=16, meta={"licence": "x"}, dtype=torch.float32)
    card = json.loads((folder / CARD).read_text())
    assert card == {
        "licence": "x",
        "format": 1,
        "system": "bfvr_stc",
        "kind": kind,
        "native_size": 64,
        "native_frames": 16,
        "residual": residual,
        "n_head": 4,
    }
    assert not {"residual", "n_head"} & json.loads((folder / CONFIG).read_text()).keys()
    # The file of weights alone tells as much.
    for path in (folder, folder / WEIGHTS):
        loaded, known = load(path)
        assert known == detect(path) and known.card == card and known.kind == kind
        assert loaded.config == net.config
        assert all(torch.equal(loaded.state_dict()[name], value) for name, value in net.state_dict().items())
        with pytest.raises(InvalidOption, match="card says"):
            load(path, residual="frames" if residual == "released" else "released")


def test_half_precision_and_stage_one(tmp_path):
    net = narrow_autoencoder()
    folder = save(tmp_path / "ours", net)
    assert {value.dtype for value in load_file(folder / WEIGHTS).values()} == {torch.float16}
    loaded, known = load(folder, dtype=torch.float32)
    assert known.kind == "autoencoder" and {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert all((loaded.state_dict()[name] - value).abs().max() < 1e-2 for name, value in net.state_dict().items())
    with torch.no_grad():
        net.generator.blocks[0].weight[0] = 1e6
    with pytest.raises(UnsupportedCheckpoint, match="too large"):
        save(tmp_path / "ours", net)
    # The older one is still whole, and nothing is left beside it.
    assert torch.equal(load(folder)[0].generator.blocks[0].weight, loaded.generator.blocks[0].weight.half())
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_newer_folder_replaces_an_older_one_and_leaves_other_files(tmp_path):
    folder = save(tmp_path / "ours", narrow_autoencoder())
    (folder / "notes.txt").touch()
    save(folder, narrow_codeformer("frames"), kind="restore")
    assert detect(folder).kind == "restore" and (folder / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_kind_and_network_belong_together(tmp_path):
    for net, kind in ((narrow_autoencoder(), "restore"), (narrow_codeformer(), "autoencoder")):
        with pytest.raises(InvalidOption, match="can't be saved"):
            save(tmp_path / "ours", net, kind=kind)


@pytest.mark.parametrize(
    "entry, told",
    [
        ({"format": 2}, "format 2"),
        ({"kind": "sharpen"}, "sharpen"),
        ({"residual": None}, "residual None"),
        ({"n_head": "2"}, "n_head '2'"),
        ({"native_frames": 0}, "native_frames 0"),
        ({"n_head": 5}, "5 heads"),
    ],
)
def test_a_card_that_says_nonsense_is_refused(tmp_path, entry, told):
    folder = save(tmp_path / "ours", narrow_codeformer("frames"), kind="restore")
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **entry}))
    with pytest.raises(UnsupportedCheckpoint, match=told):
        load(folder)


def test_a_folder_without_arguments_is_refused(tmp_path):
    folder = save(tmp_path / "ours", narrow_codeformer("frames"), kind="restore")
    (folder / CONFIG).write_text(json.dumps({"nf": 32, "colour": "red"}))
    with pytest.raises(UnsupportedCheckpoint, match="can't be built|no network"):
        load(folder)
    (folder / CONFIG).unlink()
    for read in (load, detect):
        with pytest.raises(UnsupportedCheckpoint, match="config.json"):
            read(folder)


@pytest.mark.parametrize(
    "options",
    [
        {**NARROW},
        {"nf": 16, "ch_mult": (1, 2, 2), "emb_dim": 24, "codebook_size": 8, "attn_resolutions": (64, 128)},
        {"nf": 8, "ch_mult": (1, 3), "emb_dim": 16, "codebook_size": 8, "res_blocks": 1, "attn_resolutions": ()},
    ],
)
def test_arguments_are_told_by_the_shapes(tmp_path, options):
    net = CodeFormer3D(**options, n_head=2, n_layers=9, img_size=64, residual="released")
    torch.save({"params": net.state_dict()}, tmp_path / "x.pth")
    loaded, _ = load(tmp_path / "x.pth")
    same = {**net.config, "attn_resolutions": sorted(net.config["attn_resolutions"])}
    assert {**loaded.config, "attn_resolutions": sorted(loaded.config["attn_resolutions"])} == same
