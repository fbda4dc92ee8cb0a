"""The light modules hold what diffusers' modules hold, and a restoration needs nothing of diffusers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.tiny import tiny_modules
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.wan import transformer_weights, vae_weights
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.fast_vae.streams import decoder_stream, encoder_stream
from vividface_core.wan.vae import StreamingDecoder, StreamingEncoder, decode, encode
from vividface_core.weights import load_restorer, where

NANO = {
    part: json.loads((where("vividface-nano") / part / "config.json").read_text()) for part in ("vae", "transformer")
}
VAES = {
    "wan 2.1": {"base_dim": 16},
    "with attention on the way": {"base_dim": 16, "attn_scales": [1.0, 0.25]},
    "wan 2.2": {
        "base_dim": 16,
        "decoder_base_dim": 24,
        "z_dim": 48,
        "dim_mult": [1, 2, 4, 4],
        "is_residual": True,
        "temperal_downsample": [False, True, True],
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "latents_mean": [0.0] * 48,
        "latents_std": [1.0] * 48,
    },
    "nano": NANO["vae"],
}
TRANSFORMERS = {
    "small": {"num_attention_heads": 2, "num_layers": 2, "ffn_dim": 96},
    "with an image": {
        "num_attention_heads": 2,
        "num_layers": 1,
        "image_dim": 64,
        "added_kv_proj_dim": 256,
        "pos_embed_seq_len": 7,
        "cross_attn_norm": False,
    },
    "nano": NANO["transformer"],
}


def shapes(model) -> list[tuple[str, torch.Size]]:
    return [(name, value.shape) for name, value in model.state_dict().items()]


def plain(config) -> dict:
    return {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in config.items()
        if name[0] != "_"
    }


def both(name: str, config: dict):
    """diffusers' module and the light one, without memory."""
    import diffusers

    ours = {**vars(vae_weights), **vars(transformer_weights)}[name]
    with torch.device("meta"):
        return getattr(diffusers, name).from_config(dict(config)), ours.from_config(config)


@pytest.mark.parametrize("config", VAES.values(), ids=VAES.keys())
def test_the_autoencoder_has_diffusers_names_shapes_and_config(config):
    theirs, ours = both("AutoencoderKLWan", config)
    assert shapes(ours) == shapes(theirs)
    assert plain(ours.config) == plain(theirs.config)
    with pytest.raises(AttributeError):
        assert ours.config.no_such_argument


@pytest.mark.parametrize("config", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_the_denoiser_has_diffusers_names_shapes_and_config(config):
    theirs, ours = both("WanTransformer3DModel", config)
    assert dict(shapes(ours)) == dict(shapes(theirs))
    assert plain(ours.config) == plain(theirs.config)
    assert set(ours._keep_in_fp32_modules) == set(theirs._keep_in_fp32_modules)


@pytest.mark.parametrize("width", [16, 64, 128])
@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 1, 1)])
def test_rotations_are_diffusers_to_the_last_bit(width, patch):
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    latent = torch.zeros(1, 16, 5, 6, 8)
    wanted, found = WanRotaryPosEmbed(width, patch, 64)(latent), transformer_weights.Rotations(width, patch, 64)(latent)
    assert all(torch.equal(one, other) for one, other in zip(wanted, found, strict=True))


@pytest.mark.parametrize("width", [32, 256, 33])
def test_time_features_are_diffusers_to_the_last_bit(width):
    from diffusers.models.embeddings import Timesteps

    times = torch.tensor([400.0, 0.0, 3.5])
    wanted = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)(times)
    assert torch.equal(transformer_weights.TimeFeatures(width)(times), wanted)


def light(model: torch.nn.Module) -> torch.nn.Module:
    """A light module around the tensors of diffusers'."""
    ours = {**vars(vae_weights), **vars(transformer_weights)}[type(model).__name__].from_config(model.config)
    ours.load_state_dict(model.state_dict())
    return ours.eval()


@pytest.mark.parametrize("layout", ["wan 2.1", "wan 2.2"])
def test_called_itself_it_computes_what_diffusers_does(layout):
    """Hooks, gradients and other devices lead past the fast streams, to the modules' own forward."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan.from_config(VAES[layout]).eval()
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        latent = encode(vae, frames)
        pictures = decode(vae, latent)
        assert torch.equal(encode(light(vae), frames), latent)
        assert torch.equal(decode(light(vae), latent), pictures)


def test_a_hook_leads_to_the_plain_stream_and_is_called():
    vae, _ = tiny_modules()
    ours, seen = light(vae), []
    assert type(encoder_stream(ours.requires_grad_(False))) is not StreamingEncoder
    ours.decoder.mid_block.register_forward_hook(lambda *_: seen.append(1))
    stream, latent = decoder_stream(ours), torch.randn(1, 8, 2, 4, 4)
    assert type(stream) is StreamingDecoder
    with torch.no_grad():
        assert torch.equal(stream.push(latent), StreamingDecoder(vae).push(latent)) and seen


def test_gradients_pass_through_the_light_modules():
    vae, _ = tiny_modules()
    ours, latent = light(vae), torch.randn(1, 8, 2, 4, 4)
    for model in (vae, ours):
        decode(model, latent).square().mean().backward()
    found, wanted = ours.decoder.conv_in.weight.grad, vae.decoder.conv_in.weight.grad
    assert wanted.abs().max() > 0 and torch.equal(found, wanted)


def test_a_restorer_of_light_modules_is_that_of_diffusers_modules():
    vae, transformer = tiny_modules()
    prompt, pictures = EmptyPrompt(torch.randn(1, 16)), torch.rand(6, 3, 40, 48)
    wanted = OneStepRestorer(vae, transformer, prompt).restore(pictures)
    assert torch.equal(OneStepRestorer(light(vae), light(transformer), prompt).restore(pictures), wanted)


def test_plain_is_diffusers_and_the_default_is_not():
    import diffusers

    assert isinstance(load_restorer(plain=True).vae, diffusers.AutoencoderKLWan)
    assert isinstance(load_restorer().vae, vae_weights.AutoencoderKLWan)


HEAVY = ("diffusers", "transformers", "peft", "accelerate", "torchvision", "scipy", "sympy", "torch._dynamo")
"""What a restoration with the embedded model has no use for."""


def test_a_restoration_imports_nothing_heavy(tmp_path):
    """Also beside a broken diffusers: nothing of it is asked for."""
    for name in ("diffusers", "transformers", "peft"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} is broken')")
    run_ffmpeg("-i", clip("single_face"), "-frames:v", 12, "-c", "copy", tmp_path / "x.mp4")
    code = (
        "import sys\n"
        "from vividface_core.cli.main import main\n"
        f"code = main(['restore', {str(tmp_path / 'x.mp4')!r}, '-o', {str(tmp_path / 'y.mp4')!r}, '--window', '9'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "sys.exit(code)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == "[]"
    assert (tmp_path / "y.mp4").stat().st_size > 10_000
