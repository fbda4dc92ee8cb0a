"""Every way in which the same weights come: read by content, loaded to the same numbers, or refused in words."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny import save_tiny_checkpoint, tiny_modules
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.restorers.one_step_convert import convert
from vividface_core.restorers.one_step_save import save_checkpoint_folder
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.loading import build_transformer, build_vae, load_transformer, load_vae, vae_config
from vividface_core.wan.state_dict import kind_of, read_state_dict, to_original_transformer_keys
from vividface_core.weights import download, inspect, list_checkpoints, load_restorer, where
from vividface_core.weights.catalog import TABLE

LARGE = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
"""Wan 2.1 T2V 1.3B."""
SMALL = {**LARGE, "num_attention_heads": 1, "text_dim": 24, "freq_dim": 32, "ffn_dim": 64, "num_layers": 2}
SMALL_VAE = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "temperal_downsample": [False, True, True]}


@pytest.fixture(scope="module")
def denoiser():
    from diffusers import WanTransformer3DModel

    torch.manual_seed(1)
    return WanTransformer3DModel(**SMALL).eval()


@pytest.fixture(scope="module")
def autoencoder():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(2)
    return AutoencoderKLWan(**SMALL_VAE).eval()


@torch.no_grad()
def denoised(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    latent, text = torch.randn(1, 16, 2, 4, 6, generator=generator), torch.randn(1, 5, 24, generator=generator)
    return model(latent, torch.tensor([400.0]), text, return_dict=False)[0]


@torch.no_grad()
def round_trip(model) -> torch.Tensor:
    clip = torch.rand(1, 3, 5, 16, 24, generator=torch.Generator().manual_seed(4)) * 2 - 1
    return model.decode(model.encode(clip).latent_dist.mode(), return_dict=False)[0]


def converter_vae_names() -> dict[str, str]:
    """diffusers' name → original name, found by sending the original names through diffusers' converter."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    residual = [f"residual.{part}" for part in ("0.gamma", "2.weight", "2.bias", "3.gamma", "6.weight", "6.bias")]
    block = [*residual, "shortcut.weight", "shortcut.bias"]
    resample = ["resample.1.weight", "resample.1.bias", "time_conv.weight", "time_conv.bias"]
    attention = ["norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias"]
    names = [f"{conv}.{end}" for conv in ("conv1", "conv2") for end in ("weight", "bias")]
    for half, blocks in (("encoder", "downsamples"), ("decoder", "upsamples")):
        names += [f"{half}.{end}" for end in ("conv1.weight", "conv1.bias", "head.0.gamma", "head.2.weight")]
        names += [f"{half}.head.2.bias", *(f"{half}.middle.1.{end}" for end in attention)]
        names += [f"{half}.middle.{index}.{end}" for index in (0, 2) for end in residual]
        count, stage = (11, 3) if half == "encoder" else (15, 4)
        for index in range(count):
            kind = resample if index % stage == stage - 1 else block
            names += [f"{half}.{blocks}.{index}.{end}" for end in kind]
    # The converter hands values through, so a value that is its own old name shows where it went.
    return convert_wan_vae_to_diffusers({name: name for name in names})


def original_vae(model) -> dict[str, torch.Tensor]:
    names = converter_vae_names()
    return {names[key]: tensor.clone() for key, tensor in model.state_dict().items()}


def original_transformer(model) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in to_original_transformer_keys(model.state_dict()).items()}


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def test_original_names_are_the_inverse_of_the_converter_on_all_of_the_large_model():
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    with torch.device("meta"):
        state = WanTransformer3DModel(**LARGE).state_dict()
    original = to_original_transformer_keys(state)
    assert len(original) == len(state) == 825
    assert kind_of(original) == "wan-dit-original" and kind_of(state) == "wan-dit-diffusers"
    assert {"blocks.29.cross_attn.norm_k.weight", "head.modulation", "blocks.7.norm3.bias"} <= original.keys()
    back = convert_wan_transformer_to_diffusers(dict(original))
    assert back.keys() == state.keys() and all(back[key] is state[key] for key in state)
    model = build_transformer(original)
    assert {key: model.config[key] for key in LARGE} == LARGE
    assert sum(p.numel() for p in model.parameters()) == 1_418_996_800


def test_the_large_autoencoder_is_inferred_from_its_shapes():
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        model = AutoencoderKLWan()
    inferred = vae_config(original_vae(model), "x")
    ours = dict(model.config) | {"decoder_base_dim": 96}
    assert inferred == {key: ours[key] for key in inferred}
    assert dict(build_vae(original_vae(model)).config)["latents_mean"][0] == -0.7571


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "pipe.dit.", "model.diffusion_model.", "module.model."])
@pytest.mark.parametrize("nesting", [(), ("state_dict",), ("module",), ("model", "params_ema")])
def test_a_denoiser_pickle_behind_prefixes_and_wrappers(tmp_path, denoiser, prefix, nesting):
    content = prefixed(original_transformer(denoiser), prefix)
    for name in reversed(nesting):
        content = {"epoch": 3, name: content}
    torch.save(content, tmp_path / "model.ckpt")
    torch.testing.assert_close(denoised(load_transformer(tmp_path / "model.ckpt")), denoised(denoiser), rtol=0, atol=0)


def test_other_files_of_a_denoiser(tmp_path, denoiser):
    wanted = denoised(denoiser)
    original = original_transformer(denoiser)
    save_file(original, tmp_path / "original.safetensors")
    save_file(prefixed(original, "model.diffusion_model."), tmp_path / "repackaged.safetensors")
    save_file(prefixed(original, "model.diffusion_model.") | {"vae.conv1.bias": torch.ones(2)}, tmp_path / "all.bin")
    torch.save(original, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    denoiser.save_pretrained(tmp_path / "one")
    denoiser.save_pretrained(tmp_path / "shards", max_shard_size="500KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    denoiser.save_pretrained(tmp_path / "pipe" / "transformer")
    names = ("original.safetensors", "repackaged.safetensors", "all.bin", "old.pth", "one", "shards", "pipe")
    for name in (*names, "shards/diffusion_pytorch_model.safetensors.index.json"):
        model = load_transformer(tmp_path / name)
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        # Mapped tensors lie at other addresses, and kernels round by alignment: the numbers are equal, not the bits.
        assert torch.allclose(denoised(model), wanted, atol=1e-5), name


def test_files_of_an_autoencoder(tmp_path, autoencoder):
    wanted = round_trip(autoencoder)
    original = original_vae(autoencoder)
    torch.save(original, tmp_path / "Wan2.1_VAE.pth")
    save_file(original, tmp_path / "repackaged.safetensors")
    save_file(prefixed(autoencoder.state_dict(), "model."), tmp_path / "diffusers.safetensors")
    autoencoder.save_pretrained(tmp_path / "folder")
    for name in ("Wan2.1_VAE.pth", "repackaged.safetensors", "diffusers.safetensors", "folder"):
        model = load_vae(tmp_path / name)
        assert torch.equal(round_trip(model), wanted), name
        assert list(model.config.latents_std) == list(autoencoder.config.latents_std)


def test_an_unusual_autoencoder_needs_its_config(tmp_path):
    vae, _ = tiny_modules()
    vae.save_pretrained(tmp_path / "vae")
    assert load_vae(tmp_path / "vae").config.latents_std == [0.9] * 8
    (tmp_path / "vae" / "config.json").unlink()
    with pytest.raises(UnsupportedCheckpoint, match="config.json"):
        load_vae(tmp_path / "vae")


def faulty(name, state):
    first = "blocks.1.ffn.0.weight"
    if name == "missing":
        del state[first]
    elif name == "unexpected":
        state["blocks.1.extra.weight"] = torch.ones(1)
        first = "blocks.1.extra.weight"
    elif name == "shape":
        state[first] = state[first][:-1].clone()
    return first if name == "unexpected" else "blocks.1.ffn.net.0.proj.weight"


@pytest.mark.parametrize("name", ["missing", "unexpected", "shape"])
def test_a_denoiser_that_does_not_fit_names_the_tensor(tmp_path, denoiser, name):
    state = original_transformer(denoiser)
    key = faulty(name, state)
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match=key.replace(".", r"\.")) as raised:
        load_transformer(tmp_path / "broken.safetensors")
    assert "broken.safetensors" in str(raised.value)


def test_one_kind_given_for_another(tmp_path, denoiser, autoencoder):
    save_file(original_transformer(denoiser), tmp_path / "dit.safetensors")
    save_file(original_vae(autoencoder), tmp_path / "vae.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="no Wan autoencoder, but a wan-dit-original"):
        load_vae(tmp_path / "dit.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="no Wan denoiser, but a wan-vae-original"):
        load_transformer(tmp_path / "vae.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="no Wan denoiser"):
        load_restorer(tmp_path / "vae.safetensors")


class Payload:
    """What a harmful pickle looks like: reading it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("content", ["text", "code", "no tensors", "short safetensors", "empty", "other network"])
def test_files_that_are_no_checkpoint(tmp_path, content):
    path = tmp_path / "model.ckpt"
    if content == "text":
        path.write_text("not a checkpoint")
    elif content == "code":
        torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Payload(tmp_path / "harm")}, path)
    elif content == "no tensors":
        torch.save({"epoch": 1}, path)
    elif content == "short safetensors":
        save_file({"a": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif content == "empty":
        path.touch()
    else:
        torch.save({"conv.weight": torch.ones(1)}, path)
    with pytest.raises(UnsupportedCheckpoint, match="model.ckpt"):
        load_restorer(path)
    with pytest.raises(UnsupportedCheckpoint, match="model.ckpt"):
        inspect(path)
    assert not (tmp_path / "harm").exists()


def test_a_missing_shard_is_named(tmp_path, denoiser):
    denoiser.save_pretrained(tmp_path, max_shard_size="500KB")
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(MissingWeights, match="00002-of"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("place", ["../outside.safetensors", "/outside.safetensors", 3])
def test_an_index_may_name_its_neighbours_only(tmp_path, place):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"conv.weight": place}}))
    with pytest.raises(UnsupportedCheckpoint, match="index"):
        read_state_dict(tmp_path)


@pytest.fixture
def official(tmp_path, denoiser, autoencoder):
    """A models folder with "vividface" in it, as its files are published; returns the models folder."""
    folder = tmp_path / "models" / "vividface"
    folder.mkdir(parents=True)
    torch.save(prefixed(original_transformer(denoiser), "module."), folder / "vividface.ckpt")
    torch.save(original_vae(autoencoder), folder / "Wan2.1_VAE.pth")
    EmptyPrompt(torch.linspace(-1, 1, 24)[None]).save(folder / "empty_prompt.safetensors")
    return folder.parent


@pytest.fixture
def clip():
    return torch.rand(5, 3, 16, 32, generator=torch.Generator().manual_seed(5))


def test_the_official_files_and_the_converted_folder_restore_alike(tmp_path, official, clip):
    files = load_restorer("vividface", folders=[official])
    assert (files.native_size, files.native_frames, files.velocity_scale) == (512, 81, 1.0)
    restored = files.restore(clip)
    assert not torch.allclose(restored, clip, atol=1e-2)
    source = official / "vividface"
    made = convert(
        dit=source / "vividface.ckpt",
        vae=source / "Wan2.1_VAE.pth",
        output=tmp_path / "own",
        prompt=source / "empty_prompt.safetensors",
        dtype=torch.float32,
    )
    for name in (made, source, source / "vividface.ckpt"):
        assert torch.equal(load_restorer(name).restore(clip), restored)
    assert torch.equal(load_restorer("own", folders=[tmp_path]).restore(clip), restored)
    half = load_restorer(source, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and next(half.modules["decoder"].parameters()).dtype == torch.bfloat16


def test_an_incomplete_official_folder_says_what_to_do(official):
    folder = official / "vividface"
    (folder / "empty_prompt.safetensors").unlink()
    with pytest.raises(MissingWeights, match="umt5"):
        load_restorer("vividface", folders=[official])
    (folder / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(MissingWeights, match=r"Wan2\.1_VAE\.pth.*https://"):
        load_restorer("vividface", folders=[official])
    (folder / "vividface.ckpt").unlink()
    with pytest.raises(UnsupportedCheckpoint, match="no checkpoint of a known system"):
        load_restorer(folder)


def test_convert_refuses_what_does_not_fit(tmp_path, official):
    source = official / "vividface"
    files = {"dit": source / "vividface.ckpt", "vae": source / "Wan2.1_VAE.pth", "output": tmp_path / "own"}
    with pytest.raises(InvalidOption, match="umt5.*prompt"):
        convert(**files)
    EmptyPrompt(torch.ones(1, 25)).save(tmp_path / "wide.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="25 wide, the denoiser wants 24"):
        convert(**files, prompt=tmp_path / "wide.safetensors")
    assert not (tmp_path / "own").exists()


def test_prompt_files(tmp_path):
    row = torch.randn(1, 24)
    padded = torch.cat([row, torch.zeros(511, 24)])[None]
    save_file({"context": padded}, tmp_path / "padded.safetensors")
    torch.save({"context": padded.bfloat16()}, tmp_path / "half.pth")
    assert torch.equal(EmptyPrompt.load(tmp_path / "padded.safetensors").rows, row)
    assert torch.equal(EmptyPrompt.load(tmp_path / "half.pth").rows, row.bfloat16().float())
    EmptyPrompt(torch.zeros(1, 24)).save(tmp_path / "zero.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="zero.safetensors"):
        EmptyPrompt.load(tmp_path / "zero.safetensors")
    with pytest.raises(MissingWeights, match="absent.safetensors"):
        EmptyPrompt.load(tmp_path / "absent.safetensors")


def test_listing(official, tmp_path, denoiser, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "nowhere"))
    save_tiny_checkpoint(official / "mine")
    save_file(original_transformer(denoiser), official / "wan.safetensors")
    save_file({"conv.weight": torch.ones(1)}, official / "other.safetensors")
    (official / "notes.txt").write_text("hello")
    (official / "broken.ckpt").write_text("hello")
    lines = {entry.name: str(entry) for entry in list_checkpoints([official])}
    assert set(lines) == {*TABLE, "mine", "wan.safetensors"}, "what can't be a model isn't listed"
    assert {"vividface-nano", "vividface", "wan2.1-t2v-1.3b"} <= set(TABLE)
    assert all("\n" not in line for line in lines.values())
    assert str(official / "vividface") in lines["vividface"]
    assert "wan-dit-original" in lines["wan.safetensors"] and "MB" in lines["mine"]
    assert "Apache-2.0" in lines["vividface-nano"]
    elsewhere = {entry.name: str(entry) for entry in list_checkpoints()}
    assert "not here" in elsewhere["vividface"] and "mine" not in elsewhere


def test_inspect(official):
    found = inspect(save_tiny_checkpoint(official / "mine"))
    assert (found.kind, found.config["t_star"], found.here) == ("checkpoint folder", 400, True)
    stored = sum(4 * p.numel() for module in tiny_modules() for p in module.parameters())
    assert stored < found.size < stored + 100_000
    assert inspect(official / "vividface" / "Wan2.1_VAE.pth").kind == "wan-vae-original"


def test_where_and_unknown_names(official, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(official))
    assert where("vividface") == official / "vividface"
    assert where(tmp_path) == tmp_path
    for call in (where, load_restorer, download):
        with pytest.raises(InvalidOption, match="'no-such-model'.*vividface-nano"):
            call("no-such-model")
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "empty"))
    with pytest.raises(MissingWeights, match=r"models download vividface.*https://.*vividface\.ckpt"):
        where("vividface")


def test_a_folder_of_another_model_class_is_refused(tmp_path, denoiser):
    denoiser.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": "WanVACETransformer3DModel"}))
    with pytest.raises(UnsupportedCheckpoint, match="WanVACETransformer3DModel"):
        load_transformer(tmp_path)


def test_parts_of_different_families_are_refused(tmp_path, denoiser):
    vae, _ = tiny_modules()
    meta = {"system": "vividface"}
    with pytest.raises(UnsupportedCheckpoint, match="8 latent channels.*takes 16"):
        save_checkpoint_folder(tmp_path / "mixed", vae, denoiser, torch.ones(1, 24), meta, dtype=torch.float32)
    assert not list(tmp_path.iterdir())
